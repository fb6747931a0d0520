import WG6Crypto
import WG6Protocol

/// Which addresses go through a tunnel and to which of its peers, exclusions computed out.
///
/// An address goes to the peer with the longest of the AllowedIPs that have it, leaving aside the peers that exclude it;
/// to nobody where the interface does. A prefix that nothing is cut out of stays as it was written. One with holes is
/// replaced by the fewest prefixes that go round them, chosen so that a plain longest-prefix match over what all peers
/// have still comes to that answer.
///
/// Without exclusions it costs as much as sorting the prefixes.
public struct Coverage: Sendable {
  /// For each peer of the file, by its place in `configuration.peers`: what the device is configured with, in the order of
  /// the file. What a later peer takes over is with that one alone; of several sections for one key the last has it all.
  public private(set) var allowedIPs: [[IPPrefix]]
  /// All addresses that go through the tunnel.
  public private(set) var covered: PrefixSet
  /// The addresses in somebody's AllowedIPs that nobody gets.
  public private(set) var excluded: PrefixSet

  /// What `lan` stands for; `nil` for a file that does not say it.
  public let localNetworks: [IPPrefix]?

  let entries: [AllowedIPEntry]
  let v4: PrefixTree
  let v6: PrefixTree
  let exclusions: ExclusionTable
  /// What stands for the entries with holes.
  private(set) var pieces: [Int: [IPPrefix]] = [:]

  /// `connected`: the machine's directly connected networks. `lan` stands for those that are local (`LocalScope`).
  public init(_ configuration: ConfigurationFile, connected: [IPPrefix]) {
    self.init(configuration, connected: connected, leavingOut: [])
  }

  /// The same with `addresses` excluded as if [Interface] said so.
  private init(_ configuration: ConfigurationFile, connected: [IPPrefix], leavingOut addresses: [IPAddress]) {
    let entries = AllowedIPEntry.standing(in: configuration)
    func tree(isIPv6: Bool) -> PrefixTree {
      PrefixTree(entries.indices.filter { entries[$0].prefix.isIPv6 == isIPv6 }.map { (entries[$0].prefix, $0) })
    }
    self.entries = entries
    (v4, v6) = (tree(isIPv6: false), tree(isIPv6: true))
    localNetworks =
      configuration.excludesLAN ? LocalScope.networks(among: connected, besides: configuration.innerNetworks) : nil
    exclusions = ExclusionTable(configuration, connected: connected, leavingOut: addresses)
    allowedIPs = []
    (covered, excluded) = (PrefixSet(), PrefixSet())
    for isIPv6 in [false, true] { cutHoles(isIPv6: isIPv6) }
    var allowedIPs = [[IPPrefix]](repeating: [], count: configuration.peers.count)
    for (index, entry) in entries.enumerated() { allowedIPs[entry.peer] += pieces[index] ?? [entry.prefix] }
    // What is of this link alone is never cut, and leads no route.
    for (place, peer) in configuration.peers.enumerated() {
      for derived in peer.derivedIPs where derived.isOfLink && !allowedIPs[place].contains(derived.prefix) {
        allowedIPs[place].append(derived.prefix)
      }
    }
    self.allowedIPs = allowedIPs
  }

  /// What to export. wg-quick keeps a tunnel's own datagrams outside where it sees a prefix of length 0; where only pieces
  /// of that are left, the peers' `endpoints` have to be left out too.
  public init(exporting configuration: ConfigurationFile, connected: [IPPrefix], endpoints: [IPAddress]) {
    self.init(configuration, connected: connected)
    let exposed = endpoints.filter { hasDefaultRoute(isIPv6: $0.isIPv6) && !excluded[$0.isIPv6].isEmpty }
    if configuration.table == .automatic, !exposed.isEmpty {
      self = Coverage(configuration, connected: connected, leavingOut: exposed)
    }
  }

  func tree(isIPv6: Bool) -> PrefixTree { isIPv6 ? v6 : v4 }

  /// Finds the holes of a family's prefixes, from the longest ones up, and what goes round them.
  private mutating func cutHoles(isIPv6: Bool) {
    let tree = tree(isIPv6: isIPv6)
    // Of a node: its addresses that go to a shorter prefix or nowhere, because everybody excludes them who has them by a
    // prefix as long as this one, or longer. Most nodes have none.
    var holes: [Int: AddressRanges] = [:]
    for index in tree.nodes.indices.reversed() where !exclusions.isEmpty {
      let node = tree.nodes[index]
      let blocked = exclusions.blocked(for: entries[node.entry].peer, in: node.range, isIPv6: isIPv6)
      guard !blocked.isEmpty else { continue }
      let below = tree.decided(in: tree.children(of: index), holes)
      var hole = blocked
      hole.subtract(below)
      guard !hole.isEmpty else { continue }
      holes[index] = hole
      pieces[node.entry] = AddressRanges.pieces(of: node.range, around: hole, blocked, below, isIPv6: isIPv6)
    }
    covered[isIPv6] = tree.decided(in: tree.children(of: nil), holes)
    excluded[isIPv6] = AddressRanges(tree.children(of: nil).flatMap { holes[$0]?.ranges ?? [] })
  }
}

extension PrefixTree {
  /// What `nodes`, neighbours in ascending order, and those below them decide.
  fileprivate func decided(in nodes: some Sequence<Int>, _ holes: [Int: AddressRanges]) -> AddressRanges {
    var result = AddressRanges()
    for index in nodes {
      if let hole = holes[index] {
        var rest = AddressRanges([self.nodes[index].range])
        rest.subtract(hole)
        for range in rest.ranges { result.append(range) }
      } else {
        result.append(self.nodes[index].range)
      }
    }
    return result
  }
}

extension AddressRanges {
  /// The largest prefixes in `range` that keep out of `hole` and have an address that is `range`'s own to decide: one that
  /// is neither `blocked` for it nor decided by longer prefixes, which are `below`.
  ///
  /// A piece may well reach over a longer prefix of somebody's: that one, being longer, still wins. A piece inside such a
  /// prefix Q is there for an address that Q's peer excludes, so Q's own pieces beside it are smaller, and win as well.
  fileprivate static func pieces(
    of range: AddressRange, around hole: AddressRanges, _ blocked: AddressRanges, _ below: AddressRanges, isIPv6: Bool
  ) -> [IPPrefix] {
    var allowed = AddressRanges([range])
    var own = allowed
    allowed.subtract(hole)
    own.subtract(blocked)
    own.subtract(below)
    var pieces: [IPPrefix] = []
    allowed.appendPrefixes(to: &pieces, isIPv6: isIPv6)
    return pieces.filter { own.intersects($0.range) }
  }
}

/// An element of AllowedIPs that counts in the end.
struct AllowedIPEntry: Sendable {
  let prefix: IPPrefix
  /// The place of the peer in the file: of its last section, where it has several.
  let peer: Int
  let line: Int

  /// What is left when each section has taken over, and given up, what it says; in the order of the file.
  static func standing(in configuration: ConfigurationFile) -> [AllowedIPEntry] {
    let places = configuration.placesOfPeers
    var entries: [AllowedIPEntry?] = []
    var owners: [IPPrefix: Int] = [:]
    owners.reserveCapacity(2 * configuration.peers.count)
    func give(up index: Int) {
      if let entry = entries[index] { owners[entry.prefix] = nil }
      entries[index] = nil
    }
    for (index, section) in configuration.peers.enumerated() {
      let peer = places[section.publicKey] ?? index
      // An earlier section for the same key is there to be replaced only where this is not the only one.
      if section.replacesAllowedIPs, configuration.repeatedPeers.contains(section.publicKey) {
        for index in entries.indices where entries[index]?.peer == peer { give(up: index) }
      }
      for (change, line) in zip(section.allowedIPs, section.allowedIPLines) {
        switch change {
        case .add(let prefix):
          let owner = owners[prefix]
          if let owner, entries[owner]?.peer == peer { continue }
          if let owner { give(up: owner) }
          owners[prefix] = entries.count
          entries.append(AllowedIPEntry(prefix: prefix, peer: peer, line: line))
        case .remove(let prefix):
          if let owner = owners[prefix], entries[owner]?.peer == peer { give(up: owner) }
        }
      }
    }
    for (place, peer) in configuration.peers.enumerated() {
      for derived in peer.derivedIPs where !derived.isOfLink && owners[derived.prefix] == nil {
        owners[derived.prefix] = entries.count
        entries.append(AllowedIPEntry(prefix: derived.prefix, peer: place, line: derived.line))
      }
    }
    return entries.compactMap { $0 }
  }
}

extension ConfigurationFile {
  /// Where each peer's last section is among `peers`.
  var placesOfPeers: [PublicKey: Int] {
    Dictionary(peers.enumerated().map { ($1.publicKey, $0) }) { $1 }
  }
}
