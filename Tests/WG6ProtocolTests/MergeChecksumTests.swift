import Testing

@testable import WG6Protocol

@Suite struct `Merging and checksums` {
  @Test func `never takes in a packet with any bit flipped, first or second`() {
    for (isIPv6, isTCP) in CraftedPacket.families {
      let pair = CraftedPacket.mergeable(isIPv6, isTCP, payload: 40).split(20).map { $0.bytes() }
      for which in 0..<2 {
        for bit in 0..<pair[which].count * 8 {
          var packets = pair
          packets[which][bit / 8] ^= 1 << UInt8(bit % 8)
          let groups = merged(packets)
          #expect(groups.map { $0.packet } == packets, "bit \(bit) of \(which)")
        }
      }
    }
  }

  @Test func `leaves datagrams without a checksum alone, and checksums that are spelled unusually`() {
    for isIPv6 in [false, true] {
      let pair = CraftedPacket.mergeable(isIPv6, false, payload: 100).split(50)
      for (first, second) in [(true, false), (false, true), (true, true)] {
        let packets = [pair[0].bytes(first ? .given(0) : .whole), pair[1].bytes(second ? .given(0) : .whole)]
        #expect(merged(packets).map { $0.packet } == packets)
      }
      // A UDP checksum that is all ones is a right one; TCP's would be zero.
      for isTCP in [false, true] {
        var pair = CraftedPacket.mergeable(isIPv6, isTCP, payload: 100).split(50)
        pair[1].payload.replaceSubrange(0..<2, with: [0, 0])
        let sum = pair[1].bytes(), at = pair[1].networkLength + pair[1].checksumOffset
        pair[1].payload.replaceSubrange(0..<2, with: sum[at..<at + 2])
        #expect(merged(pair.map { $0.bytes() }).count == 1)
        #expect(merged([pair[0].bytes(), pair[1].bytes(.given(0xFFFF))]).count == (isTCP ? 2 : 1))
      }
    }
  }

  @Test func `leaves an IPv4 header alone whose checksum is spelled unusually`() {
    for isTCP in [false, true] {
      var pair = CraftedPacket.mergeable(false, isTCP, payload: 100).split(50)
      pair[1].identification = 0
      let header = pair[1].bytes()
      // The word that makes the sum all ones: the checksum is zero then, and all ones would be as right.
      pair[1].identification = UInt16(header[10]) << 8 | UInt16(header[11])
      pair[0].identification = pair[1].identification &- 1
      var packets = pair.map { $0.bytes() }
      #expect(packets[1][10...11] == [0, 0] && merged(packets).count == 1)
      packets[1].replaceSubrange(10..<12, with: [0xFF, 0xFF])
      #expect(merged(packets).map { $0.packet } == packets)
    }
  }

  @Test func `leaves a datagram alone that is shorter than its packet`() {
    for isIPv6 in [false, true] {
      var packets = CraftedPacket.mergeable(isIPv6, false, payload: 100).split(50).map { $0.bytes() }
      let header = isIPv6 ? 40 : 20
      packets[1][header + 5] -= 1
      // The sum is less by one, and its complement more.
      packets[1][header + 7] += 1
      #expect(merged(packets).map { $0.packet } == packets)
    }
  }
}
