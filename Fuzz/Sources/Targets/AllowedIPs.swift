import WG6Crypto
import WG6Simulation

@testable import WG6Config
@testable import WG6Protocol

extension FuzzTarget {
  /// Whose packet it is: the device's trie and its lists against a list that is searched from end to end. The input is a
  /// sequence of changes and look-ups.
  static let allowedIPs = FuzzTarget("allowedips") { input in
    var play = AllowedIPsPlay(input)
    play.run()
  }
}

private struct AllowedIPsPlay {
  private static let peers = (UInt8(1)...3).map { PublicKey(InlineArray(repeating: $0)) }

  private var input: FuzzedBytes
  private let device = Device(using: SeededRandom(seed: 1))
  private let now = Now(monotonic: Limits.second, wall: 1_700_000_000 * Limits.second)
  /// In the order in which they were given.
  private var given: [(prefix: IPPrefix, peer: PublicKey)] = []
  private var known: Set<PublicKey> = []

  init(_ input: FuzzedBytes) { self.input = input }

  mutating func run() {
    for _ in 0..<64 where !input.isEmpty {
      if input.below(3) == 0 { lookUp(address()) } else { change() }
    }
    for entry in given { lookUp(entry.prefix.address) }
  }

  private mutating func address() -> IPAddress {
    // Few bits that differ, at the ends of the words: that is where prefixes meet.
    let top = UInt64(input.byte()) << 56
    return input.below(2) == 0
      ? .v4(UInt32(top >> 32) | UInt32(input.byte() & 3))
      : .v6(high: top | UInt64(input.byte() & 3), low: UInt64(input.byte() & 0xC3) << 56 | UInt64(input.byte() & 3))
  }

  private mutating func prefix() -> IPPrefix {
    let address = address()
    return IPPrefix(address, length: input.below(address.bitWidth + 1))
  }

  private mutating func change() {
    let peer = AllowedIPsPlay.peers[input.below(3)]
    var change = PeerUpdate(peer)
    let kind = input.byte()
    change.removes = kind & 0x0F == 1
    change.updatesOnly = kind & 0x10 != 0
    change.replacesAllowedIPs = kind & 0x20 != 0
    for _ in 0..<Int(kind >> 6) {
      change.allowedIPs.append(input.below(4) == 0 ? .remove(prefix()) : .add(prefix()))
    }
    note(change)
    var update = DeviceUpdate()
    update.peers = [change]
    device.apply(update, now: now)
    check()
  }

  /// The same for the list.
  private mutating func note(_ change: PeerUpdate) {
    if change.removes {
      given.removeAll { $0.peer == change.publicKey }
      known.remove(change.publicKey)
      return
    }
    if change.updatesOnly, !known.contains(change.publicKey) { return }
    known.insert(change.publicKey)
    if change.replacesAllowedIPs { given.removeAll { $0.peer == change.publicKey } }
    for entry in change.allowedIPs {
      switch entry {
      case .add(let prefix):
        given.removeAll { $0.prefix == prefix }
        given.append((prefix, change.publicKey))
      case .remove(let prefix):
        given.removeAll { $0.prefix == prefix && $0.peer == change.publicKey }
      }
    }
  }

  private func check() {
    let status = device.status()
    claim(Set(status.peers.map(\.publicKey)) == known, "the peers are those that were added")
    for peer in status.peers {
      let expected = given.filter { $0.peer == peer.publicKey }.map(\.prefix)
      claim(peer.allowedIPs == expected, "\(peer.allowedIPs), expected \(expected)")
    }
    claim(device.allowedIPs.nodeCount <= 2 * given.count, "\(device.allowedIPs.nodeCount) nodes of \(given.count)")
  }

  private func lookUp(_ address: IPAddress) {
    let best = given.filter { $0.prefix.contains(address) }.max { $0.prefix.length < $1.prefix.length }
    let found = device.plane.allowedIPs.peer(for: address.bits, isIPv6: address.isIPv6)
    let owner = found.flatMap { reference in device.peersByKey.first { $0.value.reference == reference }?.key }
    claim(
      owner == best?.peer, "\(address) is \(String(describing: owner))'s, expected \(String(describing: best?.peer))")
  }
}
