import Synchronization

/// Which peer a prefix belongs to: a path-compressed binary trie for each family, longest prefix wins.
///
/// The data threads see an immutable snapshot. A change copies the nodes on its path, inside a transaction that may
/// touch one prefix or a million; `commit` publishes both roots and gives back what the old snapshot no longer shares,
/// to be freed when no thread can be looking at it.
@safe struct AllowedIPs: ~Copyable {
  // SAFETY: nodes belong to the pool; a published one is not written again, an unpublished one is the control path's.
  private var v4: UnsafeMutablePointer<TrieNode>?
  private var v6: UnsafeMutablePointer<TrieNode>?
  private var pool = TrieNodePool()
  private var edition: UInt32 = 1
  private var stamp: UInt32 = 0
  private var origin = AllowedIPOrigin.set
  private var replaced: [UnsafeMutablePointer<TrieNode>] = unsafe []

  /// What the data threads look at.
  struct Snapshot: ~Copyable {
    fileprivate let v4 = Atomic<UInt>(0)
    fileprivate let v6 = Atomic<UInt>(0)

    /// The peer that `address` belongs to.
    func peer(for address: AddressBits, isIPv6: Bool) -> PeerReference? {
      var next = unsafe UnsafeMutablePointer<TrieNode>(
        bitPattern: isIPv6 ? v6.load(ordering: .acquiring) : v4.load(ordering: .acquiring))
      var best: PeerReference?
      while let node = unsafe next {
        let length = unsafe Int(node.pointee.length)
        guard unsafe node.pointee.bits.commonPrefixLength(with: address) >= length else { break }
        if let peer = unsafe node.pointee.peer { best = peer }
        guard length < (isIPv6 ? 128 : 32) else { break }
        unsafe next = address.bit(at: length) ? node.pointee.right : node.pointee.left
      }
      return best
    }
  }

  /// Gives `prefix` to `peer`, taking it from whoever has it.
  ///
  /// - Returns: a stamp that tells this giving from earlier and later ones of the same prefix.
  mutating func insert(_ prefix: IPPrefix, for peer: PeerReference, from origin: AllowedIPOrigin = .set) -> UInt32 {
    stamp &+= 1
    self.origin = origin
    let bits = prefix.address.bits
    if prefix.address.isIPv6 {
      unsafe v6 = insert(into: v6, bits, prefix.length, peer)
    } else {
      unsafe v4 = insert(into: v4, bits, prefix.length, peer)
    }
    return stamp
  }

  /// Takes `prefix`, exactly this one, from whoever has it.
  mutating func remove(_ prefix: IPPrefix) {
    guard owner(of: prefix) != nil else { return }
    if prefix.address.isIPv6 {
      unsafe v6 = remove(from: v6, prefix.address.bits, prefix.length)
    } else {
      unsafe v4 = remove(from: v4, prefix.address.bits, prefix.length)
    }
  }

  /// Who has `prefix`, exactly this one, by which giving, and what that came from.
  func owner(of prefix: IPPrefix) -> (peer: PeerReference, stamp: UInt32, origin: AllowedIPOrigin)? {
    let bits = prefix.address.bits
    var next = unsafe prefix.address.isIPv6 ? v6 : v4
    while let node = unsafe next, unsafe Int(node.pointee.length) <= prefix.length {
      guard unsafe node.pointee.bits.commonPrefixLength(with: bits) >= Int(node.pointee.length) else { return nil }
      if unsafe Int(node.pointee.length) == prefix.length {
        return unsafe node.pointee.peer.map { unsafe ($0, node.pointee.stamp, node.pointee.origin) }
      }
      unsafe next = bits.bit(at: Int(node.pointee.length)) ? node.pointee.right : node.pointee.left
    }
    return nil
  }

  /// The longest prefix that has all of `prefix` in it and that no route has given, and its peer.
  func configured(covering prefix: IPPrefix) -> (peer: PeerReference, length: Int)? {
    let bits = prefix.address.bits
    var best: (peer: PeerReference, length: Int)?
    var next = unsafe prefix.address.isIPv6 ? v6 : v4
    while let node = unsafe next, unsafe Int(node.pointee.length) <= prefix.length {
      let length = unsafe Int(node.pointee.length)
      guard unsafe node.pointee.bits.commonPrefixLength(with: bits) >= length else { break }
      if let peer = unsafe node.pointee.peer, unsafe node.pointee.origin != .route { best = (peer, length) }
      guard length < prefix.length else { break }
      unsafe next = bits.bit(at: length) ? node.pointee.right : node.pointee.left
    }
    return best
  }

  /// Publishes all changes since the last time.
  ///
  /// - Returns: nodes for `reclaim`, once no thread can be looking at them.
  mutating func commit(to snapshot: borrowing Snapshot) -> Replaced {
    unsafe snapshot.v4.store(UInt(bitPattern: v4), ordering: .releasing)
    unsafe snapshot.v6.store(UInt(bitPattern: v6), ordering: .releasing)
    edition &+= 1
    defer { unsafe replaced = [] }
    return unsafe Replaced(nodes: replaced)
  }

  mutating func reclaim(_ replaced: Replaced) {
    unsafe replaced.nodes.forEach { unsafe pool.free($0) }
  }

  /// Nodes that the current snapshot no longer holds.
  @safe struct Replaced {
    fileprivate let nodes: [UnsafeMutablePointer<TrieNode>]
    var isEmpty: Bool { unsafe nodes.isEmpty }
  }

  /// Nodes in use, for tests and benchmarks.
  var nodeCount: Int { pool.used }
  /// Nodes that there is memory for, for tests.
  var nodeCapacity: Int { pool.capacity }

  // MARK: Path copying

  private mutating func insert(
    into root: UnsafeMutablePointer<TrieNode>?, _ bits: AddressBits, _ length: Int, _ peer: PeerReference
  ) -> UnsafeMutablePointer<TrieNode> {
    guard let root = unsafe root else { return unsafe leaf(bits, length, peer) }
    let rootLength = unsafe Int(root.pointee.length)
    let common = unsafe min(root.pointee.bits.commonPrefixLength(with: bits), rootLength, length)
    if common == rootLength {
      let node = unsafe writable(root)
      if common == length {
        unsafe node.pointee.peer = peer
        unsafe node.pointee.stamp = stamp
        unsafe node.pointee.origin = origin
      } else if bits.bit(at: common) {
        unsafe node.pointee.right = insert(into: node.pointee.right, bits, length, peer)
      } else {
        unsafe node.pointee.left = insert(into: node.pointee.left, bits, length, peer)
      }
      return unsafe node
    }
    // The new prefix stands above the root, or both part below a fork.
    let above = unsafe common == length ? leaf(bits, length, peer) : leaf(bits.masked(to: common), common, nil)
    if unsafe root.pointee.bits.bit(at: common) {
      unsafe above.pointee.right = root
    } else {
      unsafe above.pointee.left = root
    }
    if common < length {
      let below = unsafe leaf(bits, length, peer)
      if bits.bit(at: common) { unsafe above.pointee.right = below } else { unsafe above.pointee.left = below }
    }
    return unsafe above
  }

  /// Precondition: the prefix is there.
  private mutating func remove(
    from root: UnsafeMutablePointer<TrieNode>?, _ bits: AddressBits, _ length: Int
  ) -> UnsafeMutablePointer<TrieNode>? {
    guard let root = unsafe root else { return nil }
    let node = unsafe writable(root)
    if unsafe Int(node.pointee.length) == length {
      unsafe node.pointee.peer = nil
    } else if unsafe bits.bit(at: Int(node.pointee.length)) {
      unsafe node.pointee.right = remove(from: node.pointee.right, bits, length)
    } else {
      unsafe node.pointee.left = remove(from: node.pointee.left, bits, length)
    }
    // A fork needs two ways to go.
    guard unsafe node.pointee.peer == nil, unsafe node.pointee.left == nil || node.pointee.right == nil else {
      return unsafe node
    }
    let only = unsafe node.pointee.left ?? node.pointee.right
    unsafe discard(node)
    return unsafe only
  }

  private mutating func leaf(
    _ bits: AddressBits, _ length: Int, _ peer: PeerReference?
  ) -> UnsafeMutablePointer<TrieNode> {
    let node = unsafe pool.allocate()
    unsafe node.initialize(
      to: TrieNode(
        bits: bits, left: nil, right: nil, peer: peer, stamp: stamp, edition: edition, length: UInt8(length),
        origin: origin))
    return unsafe node
  }

  /// The node itself where this transaction made it, a copy of it otherwise.
  private mutating func writable(_ node: UnsafeMutablePointer<TrieNode>) -> UnsafeMutablePointer<TrieNode> {
    if unsafe node.pointee.edition == edition { return unsafe node }
    let copy = unsafe pool.allocate()
    unsafe copy.initialize(to: node.pointee)
    unsafe copy.pointee.edition = edition
    unsafe replaced.append(node)
    return unsafe copy
  }

  private mutating func discard(_ node: UnsafeMutablePointer<TrieNode>) {
    // `node` is writable: nobody outside this transaction has seen it.
    unsafe pool.free(node)
  }
}

/// Seven words: a prefix, its two subtrees, its peer (none for a fork).
@safe private struct TrieNode {
  let bits: AddressBits
  var left: UnsafeMutablePointer<TrieNode>?
  var right: UnsafeMutablePointer<TrieNode>?
  var peer: PeerReference?
  var stamp: UInt32
  /// The transaction that made this node, and may still write it.
  var edition: UInt32
  /// Of the prefix: 0 to 32, or to 128.
  let length: UInt8
  /// Of the peer's prefix; in a byte that would be padding.
  var origin: AllowedIPOrigin
}

/// Nodes out of slabs, so that a million of them cost a million times 56 bytes and no more.
@safe private struct TrieNodePool: ~Copyable {
  private static let nodesASlab = 512
  private var slabs: [UnsafeMutablePointer<TrieNode>] = unsafe []
  private var free: [UnsafeMutablePointer<TrieNode>] = unsafe []
  private(set) var used = 0
  var capacity: Int { unsafe slabs.count * TrieNodePool.nodesASlab }

  deinit {
    unsafe slabs.forEach { unsafe $0.deallocate() }
  }

  mutating func allocate() -> UnsafeMutablePointer<TrieNode> {
    if unsafe free.isEmpty {
      let slab = UnsafeMutablePointer<TrieNode>.allocate(capacity: TrieNodePool.nodesASlab)
      unsafe slabs.append(slab)
      unsafe free.append(contentsOf: (0..<TrieNodePool.nodesASlab).reversed().map { unsafe slab + $0 })
    }
    used += 1
    return unsafe free.removeLast()
  }

  mutating func free(_ node: UnsafeMutablePointer<TrieNode>) {
    used -= 1
    unsafe free.append(node)
  }
}
