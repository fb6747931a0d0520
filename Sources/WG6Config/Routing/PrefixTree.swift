import WG6Protocol

/// Prefixes of one family, each below the longest other one that contains it.
struct PrefixTree: Sendable {
  struct Node: Sendable {
    let prefix: IPPrefix
    let range: AddressRange
    /// What the prefix stands for: whoever made the tree knows.
    let entry: Int
    fileprivate(set) var parent: Int?
    /// One past the last node below this one.
    fileprivate(set) var end: Int
  }

  /// By first address, the shorter prefix first: each node stands before those below it, and they follow it directly.
  private(set) var nodes: [Node]

  /// The tree of prefixes, each of which occurs once.
  init(_ prefixes: [(prefix: IPPrefix, entry: Int)]) {
    nodes = prefixes.map { Node(prefix: $0.prefix, range: $0.prefix.range, entry: $0.entry, parent: nil, end: 0) }
      .sorted { ($0.range.first, $0.prefix.length) < ($1.range.first, $1.prefix.length) }
    var open: [Int] = []
    for index in nodes.indices {
      while let last = open.last, nodes[last].range.last < nodes[index].range.first {
        nodes[open.removeLast()].end = index
      }
      nodes[index].parent = open.last
      open.append(index)
    }
    for index in open { nodes[index].end = nodes.count }
  }

  /// The node of the longest prefix with `number` in it.
  func node(containing number: UInt128) -> Int? {
    var (low, high) = (0, nodes.count)
    while low < high {
      let middle = (low + high) / 2
      if nodes[middle].range.first <= number { low = middle + 1 } else { high = middle }
    }
    // Of all that begin before it, the last one or one above that.
    var node = low > 0 ? low - 1 : nil
    while let index = node, nodes[index].range.last < number { node = nodes[index].parent }
    return node
  }

  /// The nodes directly below `index`; without one, those that are below none.
  func children(of index: Int?) -> some Sequence<Int> {
    let end = index.map { nodes[$0].end } ?? nodes.count
    let first = index.map { $0 + 1 } ?? 0
    return sequence(state: first) { next in
      guard next < end else { return nil }
      defer { next = nodes[next].end }
      return next
    }
  }
}
