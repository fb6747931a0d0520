import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// The trie's specification: look at every prefix, keep the longest that fits.
private typealias PrefixTable = [IPPrefix: PeerReference]

extension PrefixTable {
  fileprivate func peer(for address: IPAddress) -> PeerReference? {
    filter { $0.key.contains(address) }.max { $0.key.length < $1.key.length }?.value
  }
}

extension SeededRandom {
  /// An address out of few, so that prefixes nest, touch and meet again.
  fileprivate mutating func address(isIPv6: Bool) -> IPAddress {
    guard isIPv6 else { return .v4(UInt32(below(4)) << 30 | UInt32(below(8)) << 8 | UInt32(below(4))) }
    return .v6(high: UInt64(below(4)) << 62 | UInt64(below(8)) << 3, low: UInt64(below(4)) << 63 | UInt64(below(8)))
  }

  fileprivate mutating func prefix() -> IPPrefix {
    let isIPv6 = below(2) == 1
    return IPPrefix(address(isIPv6: isIPv6), length: below(isIPv6 ? 129 : 33))
  }
}

@Suite struct `The allowed IPs` {
  private func differences(
    _ snapshots: Snapshots, _ which: Int, _ table: PrefixTable, _ random: inout SeededRandom
  ) -> [String] {
    var found: [String] = []
    for _ in 0..<25 {
      let address = random.address(isIPv6: random.below(2) == 1)
      let peer = snapshots.peer(for: address, in: which), expected = table.peer(for: address)
      if peer != expected { found.append("\(address): slot \(peer?.slot ?? 99) in place of \(expected?.slot ?? 99)") }
    }
    return found
  }

  @Test(arguments: seeds) func `agree with a linear scan, and no snapshot changes before its commit or after it`(
    seed: UInt64
  ) {
    var random = SeededRandom(seed: seed)
    let peers = (0..<5).map { PeerReference.create(slot: UInt32($0)) }
    defer { for peer in peers { peer.destroy() } }
    var trie = AllowedIPs()
    var table: PrefixTable = [:]
    // Old and new editions take turns: what one shows, the other's commits must leave alone.
    let snapshots = Snapshots()
    var published: [PrefixTable] = [[:], [:]]
    var replaced: [AllowedIPs.Replaced] = []
    for round in 0..<60 {
      for _ in 0...random.below(12) {
        let known = table.keys.sorted { "\($0)" < "\($1)" }
        let prefix = known.isEmpty || random.below(3) > 0 ? random.prefix() : known[random.below(known.count)]
        if random.below(3) == 0 {
          trie.remove(prefix)
          table[prefix] = nil
        } else {
          let peer = peers[random.below(peers.count)]
          _ = trie.insert(prefix, for: peer)
          table[prefix] = peer
        }
        let owner = trie.owner(of: prefix)?.peer
        #expect(owner == table[prefix])
      }
      for index in 0..<2 {
        let wrong = differences(snapshots, index, published[index], &random)
        #expect(wrong.isEmpty, "before commit \(round), edition \(index): \(wrong)")
      }
      let which = round % 2
      replaced.append(which == 0 ? trie.commit(to: snapshots.first) : trie.commit(to: snapshots.second))
      published[which] = table
      let wrong = differences(snapshots, which, table, &random)
      #expect(wrong.isEmpty, "after commit \(round): \(wrong)")
      // What the older edition still shows was replaced by the last two commits at most.
      while replaced.count > 2 { trie.reclaim(replaced.removeFirst()) }
    }
    for prefix in table.keys { trie.remove(prefix) }
    replaced += [trie.commit(to: snapshots.first), trie.commit(to: snapshots.second)]
    for nodes in replaced { trie.reclaim(nodes) }
    let left = trie.nodeCount
    #expect(left == 0)
  }

  private final class Snapshots {
    let first = AllowedIPs.Snapshot(), second = AllowedIPs.Snapshot()

    func peer(for address: IPAddress, in which: Int) -> PeerReference? {
      which == 0
        ? first.peer(for: address.bits, isIPv6: address.isIPv6) : second.peer(for: address.bits, isIPv6: address.isIPv6)
    }
  }

  @Test func `a node that a reader may see is not used again before it is reclaimed`() {
    let peer = PeerReference.create(slot: 0)
    defer { peer.destroy() }
    var trie = AllowedIPs()
    let old = AllowedIPs.Snapshot(), current = AllowedIPs.Snapshot()
    for number: UInt64 in 0..<300 { _ = trie.insert(Pair.prefix(number), for: peer) }
    _ = trie.commit(to: old)
    for number: UInt64 in 0..<300 { trie.remove(Pair.prefix(number)) }
    let replaced = trie.commit(to: current)
    for number: UInt64 in 0..<900 { _ = trie.insert(IPPrefix(.v4(UInt32(number) << 8), length: 24), for: peer) }
    let found = (0..<300).allSatisfy { old.peer(for: Pair.prefix($0).address.bits, isIPv6: true) == peer }
    #expect(found)
    let before = trie.nodeCount
    trie.reclaim(replaced)
    let after = trie.nodeCount
    // Three hundred leaves and the forks between them.
    #expect(before - after == 599)
  }

  @Test func `a fork that leads one way goes at once`() {
    let peer = PeerReference.create(slot: 0)
    defer { peer.destroy() }
    var trie = AllowedIPs()
    for number: UInt64 in 1...2 { _ = trie.insert(Pair.prefix(number), for: peer) }
    let both = trie.nodeCount
    trie.remove(Pair.prefix(1))
    let one = trie.nodeCount
    #expect(both == 3 && one == 1)
  }

  @Test func `what was reclaimed is used again before there is more of it`() {
    let peer = PeerReference.create(slot: 0)
    defer { peer.destroy() }
    var trie = AllowedIPs()
    let snapshot = AllowedIPs.Snapshot()
    for _ in 0..<100 {
      for number: UInt64 in 0..<100 { _ = trie.insert(Pair.prefix(number), for: peer) }
      trie.reclaim(trie.commit(to: snapshot))
      for number: UInt64 in 0..<100 { trie.remove(Pair.prefix(number)) }
      trie.reclaim(trie.commit(to: snapshot))
    }
    // A hundred leaves, the forks between them, and copies of both.
    let room = trie.nodeCapacity
    #expect(room <= 512)
  }

  @Test func `are listed in the order they were given, and once given again at the end`() {
    let bench = Bench(seed: 1)
    let node = bench.addNode()
    var random = SeededRandom(seed: 9)
    let key = PrivateKey(using: &random).publicKey, thief = PrivateKey(using: &random).publicKey
    var change = PeerUpdate(key)
    change.allowedIPs =
      (0..<200).map { .add(Pair.prefix(UInt64($0))) } + [.add(Pair.prefix(3)), .remove(Pair.prefix(5))]
    node.apply(change)
    var theft = PeerUpdate(thief)
    theft.allowedIPs = [.add(Pair.prefix(7)), .add(Pair.prefix(6))]
    node.apply(theft)
    let expected = (0..<200).filter { ![3, 5, 6, 7].contains($0) } + [3]
    let peers = node.device.status().peers
    #expect(peers[0].allowedIPs == expected.map { Pair.prefix(UInt64($0)) })
    #expect(peers[1].allowedIPs == [Pair.prefix(7), Pair.prefix(6)])
    // What is another's can't be taken away in our name.
    var change2 = PeerUpdate(key)
    change2.allowedIPs = [.remove(Pair.prefix(7))]
    node.apply(change2)
    #expect(node.device.status().peers[1].allowedIPs.count == 2)
  }

  /// The limit is not about speed: anything quadratic would take hours.
  @Test(.timeLimit(.minutes(10))) func `a hundred and thirty thousand prefixes come, move, and go`() {
    let bench = Bench(seed: 2)
    let node = bench.addNode()
    var random = SeededRandom(seed: 3)
    let keys = [PrivateKey(using: &random).publicKey, PrivateKey(using: &random).publicKey]
    let prefixes = (0..<130_560).map { IPPrefix(.v4(UInt32($0) << 8), length: 24) }
    for key in keys {
      var change = PeerUpdate(key)
      change.allowedIPs = prefixes.map { .add($0) }
      node.apply(change)
    }
    let counts = node.device.status().peers.map(\.allowedIPs.count)
    #expect(counts == [0, 130_560])
    var removal = PeerUpdate(keys[1])
    removal.removes = true
    node.apply(removal)
    let left = node.device.allowedIPs.nodeCount
    #expect(left == 0)
  }
}
