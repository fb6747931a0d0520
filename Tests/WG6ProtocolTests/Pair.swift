import WG6Crypto
import WG6Protocol
import WG6Simulation

/// Two hosts that know each other: alice at 10.0.0.1 behind fd00::1, bob at 10.0.0.2 behind fd00::2.
struct Pair {
  let world: World
  let alice: Host
  let bob: Host

  init(seed: UInt64, presharedKey: PresharedKey? = nil, bobKnowsAlice: Bool = true, keepalive: UInt16 = 0) {
    world = World(seed: seed)
    alice = world.addHost("alice", at: .v4(0x0A00_0001))
    bob = world.addHost("bob", at: .v4(0x0A00_0002))
    alice.add(bob, allowedIPs: [Pair.prefix(2)], presharedKey: presharedKey, keepalive: keepalive)
    bob.add(alice, allowedIPs: [Pair.prefix(1)], presharedKey: presharedKey, knowsEndpoint: bobKnowsAlice)
  }

  static func prefix(_ host: UInt64) -> IPPrefix {
    IPPrefix(.v6(high: 0xFD00 << 48, low: host), length: 128)
  }

  /// A numbered packet from alice to bob.
  func toBob(_ number: Int = 0, size: Int = 64) -> [UInt8] { ipv6Packet(from: 1, to: 2, number: number, size: size) }
  /// A numbered packet from bob to alice.
  func toAlice(_ number: Int = 0, size: Int = 64) -> [UInt8] { ipv6Packet(from: 2, to: 1, number: number, size: size) }
}

/// An IPv6 packet between fd00::`source` and fd00::`destination` that carries its number.
func ipv6Packet(from source: UInt8, to destination: UInt8, number: Int, size: Int = 64) -> [UInt8] {
  precondition(size >= 48)
  var packet = [UInt8](repeating: 0, count: size)
  packet[0] = 0x60
  packet[4] = UInt8((size - 40) >> 8)
  packet[5] = UInt8((size - 40) & 0xFF)
  packet[6] = 59
  packet[7] = 64
  packet[8] = 0xFD
  packet[23] = source
  packet[24] = 0xFD
  packet[39] = destination
  for index in 0..<8 { packet[40 + index] = UInt8(truncatingIfNeeded: number >> (56 - 8 * index)) }
  return packet
}
