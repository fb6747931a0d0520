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

  @Test func `sends what comes next to where its peer is then`() {
    let (alice, datagram) = lost()
    alice.push([ipv4(datagram)])
    #expect(alice.drops(.routingLoop) == 1)
    var change = PeerUpdate(bench.nodes[1].key.publicKey)
    change.endpoint = Endpoint(address: .v4(0xC633_6401), port: 4000)
    alice.apply(change)
    alice.outbox = []
    alice.push([alice.packet(to: bench.nodes[1], number: 2)])
    #expect(alice.outbox.map(\.destination) == [change.endpoint])
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

  @Test func `pads what may be its own to what goes whole through a tunnel on the way, and drops what does not`() {
    let (alice, datagram) = lost()
    alice.outbox = []
    alice.device.routesChanged { _ in .init(interface: 2, tunnelMTU: 1300) }
    // 1,300 less 20, 8 and 32 bytes; the padding goes in steps of 16.
    var others = Array(datagram[..<32])
    others[4] ^= 1
    for type in 1...4 as ClosedRange<UInt8> {
      others[0] = type
      alice.push([ipv4(others), ipv6(others)])
    }
    alice.push([ipv4(others, offset: 9), ipv6(others, fragment: [0, 9])])
    #expect(alice.outbox.map(\.bytes.count) == Array(repeating: 1232 + 32, count: 10))
    #expect(bytesOf(alice, ipv4(others + Array(repeating: 0, count: 1240 - 28 - 32))) == 1240 + 32)
    // A byte more, and it would come back in pieces, though every IPv6 link must carry as much.
    for length in [1241, 1280] {
      let filling = Array(repeating: UInt8(0), count: length - 28 - 32)
      #expect(bytesOf(alice, ipv4(others + filling)) == nil)
      #expect(bytesOf(alice, ipv4(Array(repeating: 7, count: 32) + filling, offset: 9)) == nil)
    }
    #expect(alice.drops(.packetTooBig) == 4 && alice.errors.isEmpty, "nor is its sender told to cut it")
    // Anything else is as it was.
    others[0] = 5
    #expect(bytesOf(alice, ipv4(others)) == 64 + 32)
    #expect(bytesOf(alice, ipv6Packet(from: 1, to: 2, number: 0, size: 1280)) == 1280 + 32)
    // No longer than fits its own interface: longer ones do not come back whole.
    alice.device.routesChanged { _ in .init(interface: 2, tunnelMTU: 9000) }
    others[0] = 4
    #expect(bytesOf(alice, ipv4(others)) == 1408 + 32)
    alice.device.routesChanged { _ in .init(interface: 2, tunnelMTU: 60) }
    others[0] = 4
    #expect(bytesOf(alice, ipv4(others)) == nil, "through a tunnel that takes nothing")
    alice.device.routesChanged { _ in .init(interface: 2) }
    #expect(bytesOf(alice, ipv4(others)) == 64 + 32)
  }

  @Test func `drops datagrams that were cut into pieces, and no other pieces`() {
    let (alice, datagram) = lost()
    alice.device.routesChanged { _ in .init(interface: 2, tunnelMTU: 9000) }
    var others = datagram
    others[4] ^= 1
    #expect(bytesOf(alice, ipv4(others, flags: 0x20)) == nil)
    #expect(bytesOf(alice, ipv4(others, offset: 160)) == nil)
    #expect(bytesOf(alice, ipv6(others, fragment: [0, 1])) == nil)
    #expect(bytesOf(alice, ipv6(others, fragment: [5, 0])) == nil)
    bench.wait(Limits.second)
    // However long the first piece is.
    let full = others + Array(repeating: 0, count: 9000)
    #expect(bytesOf(alice, ipv4(full, flags: 0x20)) == nil)
    #expect(bytesOf(alice, ipv4(others, offset: 160)) == nil)
    // Of another datagram, or another machine's of that number.
    let padded = 1408 + 32
    var other = ipv4(others, offset: 160)
    other[5] = 2
    #expect(bytesOf(alice, other) == padded)
    other[5] = 1
    other[15] = 9
    #expect(bytesOf(alice, other) == padded)
    var otherIPv6 = ipv6(others, fragment: [5, 0])
    otherIPv6[47] = 8
    #expect(bytesOf(alice, otherIPv6) == padded)
    // Not of WireGuard.
    #expect(bytesOf(alice, ipv4(Array(repeating: 7, count: 64), flags: 0x20)) != nil)
    // A while later the number may be used again.
    bench.wait(Limits.second)
    #expect(bytesOf(alice, ipv4(others, offset: 160)) == padded)
    // Where no tunnel is on the way, pieces go out.
    alice.device.routesChanged { _ in .init(interface: 2) }
    #expect(bytesOf(alice, ipv4(others, flags: 0x20)) != nil)
  }

  /// The length of the datagram that `packet` becomes.
  private func bytesOf(_ node: Node, _ packet: [UInt8]) -> Int? {
    node.outbox = []
    node.push([packet])
    return node.outbox.first?.bytes.count
  }

  @Test func `pads packets that waited for a session as well`() {
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.isAwake = false
    let message: [UInt8] = [4, 0, 0, 0] + Array(repeating: 1, count: 28)
    alice.push((0..<100).map { _ in ipv6(message) } + [ipv6(message + Array(repeating: 1, count: 1200))])
    bench.deliver()
    alice.device.routesChanged { _ in .init(interface: 1, tunnelMTU: 1300) }
    alice.wake()
    bench.deliver()
    #expect(alice.trains.reduce(0) { $0 + $1.count } == 100)
    #expect(alice.trains.reduce(0) { $0 + $1.bytes } == 100 * (1232 + 32))
    #expect(alice.drops(.packetTooBig) == 1)
    #expect(bob.received.count == 100)
  }

  @Test func `begins no handshake for another tunnel's handshake soon after it has given one up`() {
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    let initiation: [UInt8] = [1, 0, 0, 0] + Array(repeating: 1, count: 144)
    func initiations(for packet: [UInt8]) -> Int {
      alice.outbox = []
      alice.push([packet])
      alice.settle()
      return alice.outbox.count
    }
    func giveUp() {
      for _ in 0..<20 {
        bench.wait(Limits.rekeyTimeout + Limits.rekeyTimeoutJitter)
        alice.settle()
      }
      #expect(!alice.peer(bob).reference.isHandshaking)
    }
    alice.device.routesChanged { _ in .init(interface: 1, tunnelMTU: 1420) }
    #expect(initiations(for: ipv6(initiation)) == 1, "the first one does")
    giveUp()
    alice.device.routesChanged { _ in .init(interface: 1, tunnelMTU: 1420) }
    #expect(initiations(for: ipv6(initiation)) == 0)
    #expect(alice.drops(.handshakeGivenUp) == 2)
    #expect(initiations(for: alice.packet(to: bob)) == 1, "a packet does")
    giveUp()
    alice.device.routesChanged { _ in .init(interface: 1) }
    #expect(initiations(for: ipv6(initiation)) == 1, "and where no tunnel is on the way")
    giveUp()
    alice.device.routesChanged { _ in .init(interface: 1, tunnelMTU: 1420) }
    bench.wait(Limits.handshakePause)
    #expect(initiations(for: ipv6(initiation)) == 1, "and later")
  }
}
