import Benchmark

@testable import WG6Protocol

/// Whose address is this, among so many prefixes; and has this counter been seen.
func benchmarkLookUps() {
  for isIPv6 in [false, true] {
    for count in [1, 10, 100, 1000, 10_000, 100_000, 1_000_000] {
      let name = "look up an IPv\(isIPv6 ? 6 : 4) address among \(count) prefixes"
      Benchmark.measure(name, of: { Prefixes(count, isIPv6: isIPv6) }) { prefixes, operations in
        for index in 0..<operations { blackHole(prefixes.owner(index)) }
      }
    }
  }
  for (name, flip) in [("in order", 0), ("pairs swapped", 1 as UInt64)] {
    Benchmark.measure("replay window, counters \(name)", of: { Window() }) { state, operations in
      Window.enter(operations, flip, into: &state.window, from: &state.counter)
    }
  }
}

private final class Window {
  var window = ReplayWindow()
  var counter: UInt64 = 0

  /// By reference, once for all, as the data path has it: an object's properties are guarded at each access.
  static func enter(_ count: Int, _ flip: UInt64, into window: inout ReplayWindow, from counter: inout UInt64) {
    for _ in 0..<count {
      blackHole(window.accept(counter ^ flip))
      counter += 1
    }
  }
}

/// Random prefixes as long as a network's, /24 and /64, of which some coincide among a million of IPv4; and 4,096 addresses
/// in them.
private final class Prefixes {
  private var table = AllowedIPs()
  private let snapshot = AllowedIPs.Snapshot()
  private let addresses: [AddressBits]
  private let isIPv6: Bool
  private let peer = PeerReference.create(slot: 0)

  init(_ count: Int, isIPv6: Bool) {
    self.isIPv6 = isIPv6
    var random = Xorshift()
    let addresses = (0..<count).map { _ in
      isIPv6
        ? IPAddress.v6(high: 0x2001_0DB8_0000_0000 | random.next() >> 32, low: random.next())
        : IPAddress.v4(UInt32(truncatingIfNeeded: random.next()))
    }
    for address in addresses {
      _ = table.insert(IPPrefix(address, length: isIPv6 ? 64 : 24), for: peer)
    }
    let replaced = table.commit(to: snapshot)
    table.reclaim(replaced)
    // Looked up in an order that no cache can guess, as often as need be over again.
    self.addresses = (0..<4096).map { _ in addresses[Int(random.next() % UInt64(count))].bits }
  }

  deinit { peer.destroy() }

  func owner(_ index: Int) -> PeerReference? {
    snapshot.peer(for: addresses[index & 4095], isIPv6: isIPv6)
  }
}

/// The same numbers each time.
struct Xorshift: RandomNumberGenerator {
  private var state: UInt64 = 88_172_645_463_325_252

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
