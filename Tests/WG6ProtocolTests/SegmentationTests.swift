import Foundation
import Testing
import WG6Simulation

@testable import WG6Protocol

/// How many random inputs a test takes for each of its seeds: many times as many with `WG6_EXHAUSTIVE=1`.
func inputs(_ count: Int) -> Int {
  ProcessInfo.processInfo.environment["WG6_EXHAUSTIVE"] == "1" ? count * 20 : count
}

/// The segments that the engine makes of a packet, by both ways that it has.
func segments(_ header: [UInt8], _ packet: [UInt8]) throws(OffloadError) -> [[UInt8]] {
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: header.count + packet.count, alignment: 16)
  defer { room.deallocate() }
  room.copyBytes(from: header + packet)
  let segmentation = try Segmentation(
    VirtioHeader(UnsafeRawBufferPointer(rebasing: room[..<header.count])),
    packet: UnsafeMutableRawBufferPointer(rebasing: room[header.count...]))
  let result = (0..<segmentation.count).map { index in
    // A byte more, to see that it is left alone.
    let length = segmentation.length(of: index)
    let segment = [UInt8](unsafeUninitializedCapacity: length + 1) { out, count in
      out.initialize(repeating: 0xA5)
      segmentation.write(index, to: UnsafeMutableRawPointer(out.baseAddress!))
      count = length + 1
    }
    return segment[length] == 0xA5 ? segment.dropLast() : []
  }
  guard segmentation.canBeMadeInPlace else { return result }
  let isSame = (0..<segmentation.count).allSatisfy { Array(segmentation.make($0)) == result[$0] }
  return isSame ? result : []
}

@Suite struct `Splitting` {
  @Test(arguments: seeds) func `makes of a super-packet the segments that the RFCs make of it`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    for step in 0..<inputs(50_000) {
      let isLong = step % 5000 == 0
      let size = isLong ? 500 + random.below(1000) : 1 + random.below(48)
      let length = isLong ? random.below(65000) : random.below(size * (1 + random.below(4)) + 1)
      let packet = CraftedPacket.random(&random, payload: length)
      let given = packet.bytes(random.below(8) == 0 ? .given(UInt16(random.below(65536))) : .partial)
      let made = try segments(packet.virtioHeader(size), given)
      let expected = packet.split(size).map { $0.bytes() }
      guard made == expected else { return fail("seed \(seed), step \(step): \(packet) by \(size)") }
    }
  }

  @Test func `makes do with segments of any size, up to the longest packet there is`() throws {
    for (isIPv6, isTCP) in CraftedPacket.families {
      for size in [1, 7, 8, 19, 20, 40, 59, 60, 1400, 32767, 65535] {
        var packet = CraftedPacket(isIPv6: isIPv6, isTCP: isTCP, flags: 0x99)
        // IPv6 does not count its own header.
        let longest = (isIPv6 ? 65575 : 65535) - packet.headerLength
        for length in [0, 1, size - 1, size, size + 1, size * 3] + (size > 1000 ? [longest] : [])
        where length <= longest {
          packet.payload = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7) }
          let made = try segments(packet.virtioHeader(size), packet.bytes(.partial))
          #expect(made.count == max(1, (length + size - 1) / size))
          guard made == packet.split(size).map({ $0.bytes() }) else { return fail("\(length) bytes by \(size)") }
        }
      }
    }
    let packet = CraftedPacket(payload: Array(repeating: 1, count: 65495))
    #expect(try segments(packet.virtioHeader(1), packet.bytes(.partial)).count == 65495)
  }

  @Test(arguments: seeds) func `completes a checksum where that is all, wherever it is`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    for step in 0..<inputs(2000) {
      let inner = CraftedPacket.random(&random, payload: random.below(200))
      // As it is, or within another: a tunnel in the tunnel.
      var outer = CraftedPacket(isIPv6: random.below(2) == 0, isTCP: false)
      let isTunnelled = random.below(4) == 0
      let payload = outer.bytes().count
      outer.payload = inner.bytes(.partial)
      let packet = isTunnelled ? outer.bytes() : inner.bytes(.partial)
      outer.payload = inner.bytes()
      // The outer checksum, if any, covers what was there before; so only the inner part is replaced.
      let expected = isTunnelled ? Array(packet[..<payload]) + inner.bytes() : inner.bytes()
      let header = VirtioFields(
        flags: 1, checksumStart: UInt16((isTunnelled ? payload : 0) + inner.networkLength),
        checksumOffset: UInt16(inner.checksumOffset))
      guard try segments(header.bytes, packet) == [expected] else { return fail("seed \(seed), step \(step)") }
    }
  }

  @Test func `leaves alone what lacks nothing, whatever it is`() throws {
    for packet in [[0], [1, 2, 3], CraftedPacket().bytes(.given(0x1234)), Array(repeating: 0xFF, count: 65535)] {
      for flags in [0, 2, 4, 0xFE] as [UInt8] {
        let header = VirtioFields(flags: flags, headerLength: 9, segmentSize: 9, checksumStart: 9, checksumOffset: 9)
        #expect(try segments(header.bytes, packet) == [packet])
      }
    }
  }

  @Test(arguments: [false, true]) func `sends a UDP checksum of 0 as all ones, and one of TCP as 0`(isIPv6: Bool) throws
  {
    for isTCP in [false, true] {
      var packet = CraftedPacket(isIPv6: isIPv6, isTCP: isTCP, payload: [0, 0, 5, 6, 0, 0, 7, 8])
      // The word that makes the sum all ones is the checksum itself, in each segment its own.
      for start in [0, 4] {
        let segment = packet.split(4)[start / 4].bytes(.whole)
        let at = packet.networkLength + packet.checksumOffset
        packet.payload.replaceSubrange(start..<start + 2, with: segment[at..<at + 2])
      }
      let sent: [UInt8] = isTCP ? [0, 0] : [0xFF, 0xFF]
      let made = try segments(packet.virtioHeader(4), packet.bytes(.partial))
      #expect(made.count == 2)
      var whole = packet
      whole.payload = Array(packet.payload[..<4])
      let only = VirtioFields(
        flags: 1, checksumStart: UInt16(packet.networkLength), checksumOffset: UInt16(packet.checksumOffset))
      for segment in try made + segments(only.bytes, whole.bytes(.partial)) {
        let at = packet.networkLength + packet.checksumOffset
        #expect(Array(segment[at..<at + 2]) == sent)
      }
    }
  }

  @Test func `does not care what hdr_len says`() throws {
    for (isIPv6, isTCP) in CraftedPacket.families {
      let packet = CraftedPacket(isIPv6: isIPv6, isTCP: isTCP, payload: Array(0..<100))
      let expected = packet.split(30).map { $0.bytes() }
      for length in Array(0...200) + [1000, 0x7FFF, 0xFFFF] {
        var header = packet.virtioHeader(30)
        withUnsafeBytes(of: UInt16(length)) { header.replaceSubrange(2..<4, with: $0) }
        #expect(try segments(header, packet.bytes(.partial)) == expected)
      }
    }
  }

  @Test func `sets FIN and PSH on the last segment only, and CWR on the first`() throws {
    let packet = CraftedPacket(flags: 0xFF & ~0x26, payload: Array(0..<9))
    let flags = try segments(packet.virtioHeader(3), packet.bytes(.partial)).map { $0[33] }
    #expect(flags == [0xD0, 0x50, 0x59])
    let alone = try segments(packet.virtioHeader(9), packet.bytes(.partial)).map { $0[33] }
    #expect(alone == [0xD9])
  }
}
