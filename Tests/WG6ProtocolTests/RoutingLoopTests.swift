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

  @Test func `sends nothing that a tunnel on the way to the peer could carry in pieces alone`() {
    let (alice, datagram) = lost()
    alice.outbox = []
    alice.device.routesChanged { .init(interface: 2, tunnelMTU: $0.isIPv6 ? nil : 1420) }
    // 1,420 less 20, 8 and 32 bytes.
    func packet(_ size: Int) -> [UInt8] { ipv6Packet(from: 1, to: 2, number: 0, size: size) }
    alice.push([packet(1360)])
    #expect(alice.outbox.map(\.bytes.count) == [1392])
    alice.push([packet(1361)])
    #expect(alice.drops(.packetTooBig) == 1)
    #expect(
      alice.errors.last.map { Array($0[40..<42]) + Array($0[44..<48]) } == [2, 0, 0, 0, 5, 0x50], "1,360 would do")
    // A datagram of another tunnel: told of its length, its sender would send it in pieces.
    var others = datagram + Array(repeating: 0, count: 1300)
    others[4] ^= 1
    alice.push([ipv6(others), ipv4(others)])
    #expect(alice.drops(.packetTooBig) == 3)
    #expect(alice.errors.count == 1 && alice.outbox.count == 1)
    // However small the tunnel, what every IPv6 link must carry goes out; and everything, once no tunnel is on the way.
    alice.device.routesChanged { _ in .init(interface: 2, tunnelMTU: 1280) }
    alice.push([packet(1280), packet(1281)])
    #expect(alice.outbox.map(\.bytes.count) == [1392, 1312])
    alice.device.routesChanged { _ in nil }
    alice.push([packet(1400)])
    #expect(alice.outbox.last?.bytes.count == 1440)
    // A peer that moved behind a tunnel, and out again.
    let key = alice.device.peers.compactMap { $0 }[0].publicKey
    alice.device.peerMoved(key) { _ in .init(interface: 2, tunnelMTU: 1280) }
    alice.push([packet(1400)])
    #expect(alice.drops(.packetTooBig) == 5)
    alice.device.peerMoved(key) { _ in .init(interface: 2) }
    alice.push([packet(1400)])
    #expect(alice.outbox.last?.bytes.count == 1440 && alice.drops(.packetTooBig) == 5)
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
