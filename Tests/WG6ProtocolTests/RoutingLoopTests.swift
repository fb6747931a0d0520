import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `A device whose own datagrams are routed into it` {
  private let bench = Bench(seed: 31)

  /// alice, who has a session with bob, and a datagram of hers to him that never got there.
  private func lost() -> (alice: Node, datagram: [UInt8]) {
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    var peer = PeerUpdate(bob.key.publicKey)
    peer.allowedIPs = [.add(IPPrefix(.v4(0x0A00_0000), length: 8))]
    alice.apply(peer)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    alice.push([alice.packet(to: bob, number: 1)])
    return (alice, alice.outbox.removeLast().bytes)
  }

  /// What the network makes of a datagram from 10.0.0.1 to 10.0.0.2.
  private func ipv4(_ datagram: [UInt8], flags: UInt8 = 0, offset: UInt8 = 0, options: Int = 0) -> [UInt8] {
    let header: [UInt8] = [0x45 + UInt8(options), 0, 0, 0, 0, 1, flags, offset, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    var packet = header + Array(repeating: 1, count: options * 4) + [202, 108, 202, 108, 0, 0, 0, 0] + datagram
    packet[2] = UInt8(packet.count >> 8)
    packet[3] = UInt8(packet.count & 0xFF)
    return packet
  }

  /// The same to bob's address inside; `fragment` is the extension header's offset and flag.
  private func ipv6(_ datagram: [UInt8], fragment: [UInt8]? = nil) -> [UInt8] {
    var packet = Array(ipv6Packet(from: 1, to: 2, number: 0)[..<40])
    packet[6] = fragment == nil ? 17 : 44
    if let fragment { packet += [17, 0] + fragment + [0, 0, 0, 9] }
    packet += [202, 108, 202, 108, 0, 0, 0, 0] + datagram
    packet[4] = UInt8((packet.count - 40) >> 8)
    packet[5] = UInt8((packet.count - 40) & 0xFF)
    return packet
  }

  @Test func `drops and counts them, whole or the first piece, and answers nothing`() {
    let (alice, datagram) = lost()
    let returning = [
      ipv4(datagram), ipv4(datagram, options: 3), ipv4(datagram, flags: 0x20), ipv6(datagram),
      ipv6(datagram, fragment: [0, 1]),
    ]
    for (index, packet) in returning.enumerated() {
      alice.push([packet])
      #expect(alice.drops(.routingLoop) == UInt64(index + 1))
    }
    #expect(alice.outbox.isEmpty && alice.errors.isEmpty)
  }

  @Test func `carries others' datagrams, as tunnels in tunnels have them`() {
    let (alice, datagram) = lost()
    var others = datagram
    others[4] ^= 1
    var handshake = datagram
    handshake[0] = 2
    let passing = [
      ipv4(others), ipv6(others), ipv4(handshake), ipv4(datagram, offset: 1), ipv4(datagram, flags: 0x20, offset: 9),
      ipv6(datagram, fragment: [0, 9]), ipv4(Array(datagram[..<7])), ipv6([]),
    ]
    for packet in passing { alice.push([packet]) }
    #expect(alice.drops(.routingLoop) == 0)
    #expect(alice.outbox.count == passing.count)
  }
}
