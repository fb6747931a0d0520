import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `ICMP errors about packets that can't be sent` {
  private let bench = Bench(seed: 30)

  /// alice, who has bob as a peer, under fd00::2 and 10.9.2.0/24.
  private func alice(knowsEndpoint: Bool = true) -> Node {
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob, knowsEndpoint: knowsEndpoint)
    bob.add(alice)
    var peer = PeerUpdate(bob.key.publicKey)
    peer.allowedIPs = [.add(IPPrefix(.v4(0x0A09_0200), length: 24))]
    alice.apply(peer)
    return alice
  }

  /// An IPv4 packet from 10.9.1.1.
  private func ipv4(
    to destination: UInt32, from source: UInt32 = 0x0A09_0101, protocol number: UInt8 = 17, offset: UInt16 = 0,
    payload: [UInt8] = Array(repeating: 7, count: 600)
  ) -> [UInt8] {
    var packet: [UInt8] = [0x45, 0, 0, 0, 0, 1, UInt8(offset >> 8), UInt8(offset & 0xFF), 64, number, 0, 0]
    for address in [source, destination] {
      packet += (0..<4).map { UInt8(truncatingIfNeeded: address >> (24 - 8 * $0)) }
    }
    packet += payload
    packet[2] = UInt8(packet.count >> 8)
    packet[3] = UInt8(packet.count & 0xFF)
    return packet
  }

  private func checksum(_ parts: [UInt8]...) -> UInt16 {
    var sum: UInt32 = 0
    for part in parts {
      for (index, byte) in part.enumerated() { sum += UInt32(byte) << (index % 2 == 0 ? 8 : 0) }
    }
    while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
    return ~UInt16(sum)
  }

  @Test func `tell an IPv4 sender that there is no peer, and none without an endpoint`() {
    let alice = alice(knowsEndpoint: false)
    for (destination, reason) in [(UInt32(0x0A09_0301), DropReason.noPeerForDestination), (0x0A09_0201, .noEndpoint)] {
      alice.errors = []
      let packet = ipv4(to: destination)
      alice.push([packet])
      #expect(alice.drops(reason) == 1)
      #expect(alice.errors.count == 1)
      guard let error = alice.errors.first else { return }
      #expect(error.count == 576)
      #expect(Array(error[12..<16]) == Array(packet[16..<20]), "from where it was to go")
      #expect(Array(error[16..<20]) == Array(packet[12..<16]), "to its sender")
      #expect(error[9] == 1 && error[20] == 3 && error[21] == 1, "ICMP, host unreachable")
      #expect(Array(error[28...]) == Array(packet[..<548]), "quotes as much as fits")
      #expect(checksum(Array(error[..<20])) == 0 && checksum(Array(error[20...])) == 0)
    }
  }

  @Test func `tell an IPv6 sender which of the two it is`() {
    let alice = alice(knowsEndpoint: false)
    for (destination, code, reason) in [(UInt8(9), UInt8(0), DropReason.noPeerForDestination), (2, 3, .noEndpoint)] {
      alice.errors = []
      let packet = ipv6Packet(from: 1, to: destination, number: 5, size: 1400)
      alice.push([packet])
      #expect(alice.drops(reason) == 1)
      #expect(alice.errors.count == 1)
      guard let error = alice.errors.first else { return }
      #expect(error.count == 1280)
      #expect(Array(error[..<8]) == [0x60, 0, 0, 0, 0x04, 0xD8, 58, 64], "no traffic class, no flow label, 64 hops")
      #expect(error[6] == 58 && error[40] == 1 && error[41] == code)
      #expect(Array(error[8..<24]) == Array(packet[24..<40]))
      #expect(Array(error[24..<40]) == Array(packet[8..<24]))
      #expect(Array(error[48...]) == Array(packet[..<1232]))
      let pseudoHeader = Array(error[8..<40]) + [0, 0, error[4], error[5], 0, 0, 0, 58]
      #expect(checksum(pseudoHeader, Array(error[40...])) == 0)
    }
  }

  @Test func `tell what would fit, where a datagram can't hold a packet`() {
    let alice = alice()
    var packet = ipv6Packet(from: 1, to: 2, number: 1, size: 65535)
    alice.push([packet])
    #expect(alice.drops(.packetTooBig) == 1)
    #expect(alice.errors.first.map { Array($0[40..<42]) } == [2, 0])
    #expect(alice.errors.first.map { Array($0[44..<48]) } == [0, 0, 0xFF, 0xC0], "65,472 bytes")
    packet = ipv4(to: 0x0A09_0201, payload: Array(repeating: 0, count: 65480))
    alice.push([packet])
    #expect(alice.errors.last.map { Array($0[20..<22]) + Array($0[24..<28]) } == [3, 4, 0, 0, 0xFF, 0xC0])
    // The longest that fits goes out, and no datagram is longer than IPv4 can carry.
    alice.push([ipv6Packet(from: 1, to: 2, number: 2, size: 65472)])
    #expect(alice.errors.count == 2)
    bench.deliver()
    #expect(alice.trains.last.map { $0.bytes } == 65504)
  }

  @Test func `are sent about nothing that must not be answered`() {
    let alice = alice(knowsEndpoint: false)
    for type in [3, 4, 5, 11, 12] as [UInt8] {
      alice.push([ipv4(to: 0x0A09_0301, protocol: 1, payload: [type, 0, 0, 0])])
    }
    alice.push([ipv4(to: 0x0A09_0301, protocol: 1, payload: [])])
    alice.push([ipv4(to: 0x0A09_0301, offset: 1), ipv4(to: 0x0A09_0301, offset: 0x2001)])
    for destination in [0xE000_0001, 0xEFFF_FFFF, 0xFFFF_FFFF] as [UInt32] { alice.push([ipv4(to: destination)]) }
    for source in [0, 0x7F00_0001, 0xE000_0005, 0xFFFF_FFFF] as [UInt32] {
      alice.push([ipv4(to: 0x0A09_0301, from: source)])
    }

    var packet = ipv6Packet(from: 1, to: 9, number: 0)
    packet[6] = 58
    for type in [1, 2, 3, 4, 127, 137] as [UInt8] {
      packet[40] = type
      alice.push([packet])
    }
    // An error behind a header of hop-by-hop options, in a first fragment, and in a later one.
    packet[6] = 0
    packet.replaceSubrange(40..<50, with: [58, 0, 1, 4, 0, 0, 0, 0, 1, 0])
    alice.push([packet])
    packet[6] = 44
    packet.replaceSubrange(40..<50, with: [58, 0, 0, 1, 0, 0, 0, 9, 1, 0])
    alice.push([packet])
    packet.replaceSubrange(40..<50, with: [17, 0, 0, 8, 0, 0, 0, 9, 1, 0])
    alice.push([packet])
    // Extension headers without end.
    var endless = ipv6Packet(from: 1, to: 9, number: 0, size: 400)
    endless[6] = 60
    for offset in stride(from: 40, to: 400, by: 8) { endless[offset] = 60 }
    alice.push([endless])
    // Multicast, and senders that are nobody.
    var multicast = ipv6Packet(from: 1, to: 9, number: 0)
    multicast[24] = 0xFF
    alice.push([multicast])
    for source in [0, 1] as [UInt8] {
      var nobody = ipv6Packet(from: source, to: 9, number: 0)
      nobody[8] = 0
      alice.push([nobody])
    }
    #expect(alice.errors.isEmpty)
    #expect(alice.drops(.noPeerForDestination) == 28)
  }

  @Test func `are sent about pings, and about first fragments`() {
    let alice = alice()
    alice.push([ipv4(to: 0x0A09_0301, protocol: 1, payload: [8, 0, 0, 0]), ipv4(to: 0x0A09_0301, offset: 0x2000)])
    var ping = ipv6Packet(from: 1, to: 9, number: 0)
    ping[6] = 58
    ping[40] = 128
    alice.push([ping])
    ping[6] = 44
    ping.replaceSubrange(40..<49, with: [58, 0, 0, 1, 0, 0, 0, 9, 128])
    alice.push([ping])
    #expect(alice.errors.count == 4)
  }

  @Test func `are limited to a hundred a second, and fifty at once`() {
    let alice = alice()
    func flood() -> Int {
      alice.errors = []
      for number in 0..<1000 { alice.push([ipv6Packet(from: 1, to: 9, number: number)]) }
      return alice.errors.count
    }
    #expect(flood() == 50)
    bench.wait(100 * Limits.millisecond)
    #expect(flood() == 10)
    bench.wait(3600 * Limits.second)
    #expect(flood() == 50)
    #expect(alice.drops(.noPeerForDestination) == 3000)
  }

  /// Errors that alice sends about `packets`.
  private func errors(of alice: Node, about packets: [[UInt8]]) -> Int {
    alice.errors = []
    alice.push(packets)
    return alice.errors.count
  }

  @Test func `about one sender's many packets leave room for those about others`() {
    let alice = alice(knowsEndpoint: false)
    func packets(_ count: Int, from source: UInt8, to destination: UInt8) -> [[UInt8]] {
      (0..<count).map { ipv6Packet(from: source, to: destination, number: $0) }
    }
    // A thousand a second for ten seconds, from one program of this machine.
    var counts = (flood: 0, sameMachine: 0, otherMachine: 0, ipv4: 0)
    for _ in 0..<100 {
      bench.wait(100 * Limits.millisecond)
      counts.flood += errors(of: alice, about: packets(100, from: 1, to: 9))
      counts.sameMachine += errors(of: alice, about: packets(1, from: 1, to: 8))
      counts.otherMachine += errors(of: alice, about: packets(1, from: 7, to: 9))
      counts.ipv4 += errors(of: alice, about: [ipv4(to: 0x0A09_0301)])
    }
    #expect(counts.flood <= 1050)
    #expect(counts.sameMachine == 100 && counts.otherMachine == 100 && counts.ipv4 == 100)
  }

  @Test func `about size are sent although a scan for addresses has used up its sender's`() {
    let alice = alice()
    // To 1,000 addresses that no peer has.
    let scan = (0..<1000).map { ipv4(to: 0x0B00_0000 + UInt32($0)) }
    #expect(errors(of: alice, about: scan) == 100, "two pairs' worth")
    #expect(errors(of: alice, about: [ipv4(to: 0x0A09_0201, payload: Array(repeating: 0, count: 65480))]) == 1)
  }

  @Test func `are two hundred at once and a thousand a second in all, from however many addresses`() {
    let alice = alice()
    func flood(_ number: UInt32) -> Int {
      errors(
        of: alice,
        about: (0..<5000).map { ipv4(to: 0x0B00_0000, from: 0x0C00_0000 + number << 16 + $0) })
    }
    #expect(flood(1) == 200)
    bench.wait(100 * Limits.millisecond)
    #expect(flood(2) == 100)
    // Their buckets, and there are more of them than the table holds, are no obstacle to an address that comes later.
    bench.wait(10 * Limits.millisecond)
    #expect(errors(of: alice, about: [ipv6Packet(from: 1, to: 9, number: 0)]) == 1)
  }
}
