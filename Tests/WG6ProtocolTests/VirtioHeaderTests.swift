import Testing
import WG6Simulation

@testable import WG6Protocol

/// What becomes of a packet with such a header: the error, or nil where it was taken.
private func refusal(_ header: [UInt8], _ packet: [UInt8]) -> OffloadError? {
  do throws(OffloadError) { _ = try segments(header, packet) } catch { return error }
  return nil
}

@Suite struct `A virtio header` {
  private let kinds = CraftedPacket.families.map {
    CraftedPacket(isIPv6: $0, isTCP: $1, options: $1 ? [1, 1, 1, 1] : [], payload: Array(0..<100))
  }

  @Test func `is written as it was read`() throws {
    var random = SeededRandom(seed: 1)
    for segmentation in VirtioHeader.Segmentation.allCases {
      for hasECN in segmentation == .tcpv4 || segmentation == .tcpv6 ? [false, true] : [false] {
        let fields = VirtioFields(
          flags: UInt8(random.below(2)), type: segmentation.rawValue | (hasECN ? 0x80 : 0),
          segmentSize: UInt16(1 + random.below(65535)), checksumStart: UInt16(random.below(65536)),
          checksumOffset: UInt16(random.below(65536)))
        let header = try fields.bytes.withUnsafeBytes { bytes throws(OffloadError) in try VirtioHeader(bytes) }
        #expect(header.segmentation == segmentation && header.hasECN == hasECN)
        #expect(header.segmentSize == fields.segmentSize && header.needsChecksum == (fields.flags == 1))
        #expect(header.checksumStart == fields.checksumStart && header.checksumOffset == fields.checksumOffset)
        var written = Array(repeating: UInt8(0xA5), count: 11)
        written.withUnsafeMutableBytes { header.write(to: $0.baseAddress!) }
        #expect(written == fields.bytes + [0xA5])
      }
    }
  }

  @Test func `is refused where it is short`() {
    for length in 0..<10 {
      #expect(refusal(Array(repeating: 0, count: length), kinds[0].bytes()) == .truncatedHeader)
    }
    #expect(refusal(Array(repeating: 0, count: 10), []) == .malformedPacket)
  }

  @Test func `is refused with a type that nobody offered, or without a size`() {
    for type in UInt8.min...UInt8.max {
      let isKnown = [0, 1, 4, 5, 0x81, 0x84].contains(type)
      for size in [0, 40] as [UInt16] {
        for packet in kinds {
          let header = VirtioFields(
            flags: 1, type: type, segmentSize: size, checksumStart: UInt16(packet.networkLength),
            checksumOffset: UInt16(packet.checksumOffset))
          let wanted: [UInt8] = packet.isTCP ? (packet.isIPv6 ? [4, 0x84] : [1, 0x81]) : [5]
          let expected: OffloadError? =
            !isKnown || (size == 0 && type != 0)
            ? .unknownSegmentation : type == 0 || wanted.contains(type) ? nil : .notSegmentable
          #expect(refusal(header.bytes, packet.bytes(.partial)) == expected, "type \(type), size \(size)")
        }
      }
    }
  }

  @Test func `is refused where its checksum is anywhere else than the packet's`() {
    for packet in kinds {
      let bytes = packet.bytes(.partial)
      for start in [Int](0...200) + [0x7FFF, 0xFFFF] {
        for offset in [Int](0...20) + [bytes.count - start - 2, bytes.count - start - 1, 0xFFFE, 0xFFFF]
        where (0...0xFFFF).contains(offset) {
          var header = VirtioFields(flags: 1, checksumStart: UInt16(start), checksumOffset: UInt16(offset))
          let isWithin = start >= packet.networkLength && offset % 2 == 0 && start + offset + 2 <= bytes.count
          #expect((refusal(header.bytes, bytes) == nil) == isWithin, "\(start) + \(offset)")
          header.type = packet.isTCP ? (packet.isIPv6 ? 4 : 1) : 5
          header.segmentSize = 40
          let isRight = start == packet.networkLength && offset == packet.checksumOffset
          #expect(refusal(header.bytes, bytes) == (isRight ? nil : .misplacedChecksum), "\(start) + \(offset)")
        }
      }
    }
  }

  @Test func `is refused with a packet that is cut, or longer than it says`() {
    for packet in kinds {
      let bytes = packet.bytes(.partial)
      for header in [packet.virtioHeader(40), [1, 0] + packet.virtioHeader(40)[2...]] {
        for length in 0..<bytes.count { #expect(refusal(header, Array(bytes[..<length])) == .malformedPacket) }
        #expect(refusal(header, bytes + [0]) == .malformedPacket)
      }
    }
  }

  @Test func `is refused with a packet that ends within its TCP or UDP header`() {
    for packet in kinds {
      let bytes = packet.bytes(.partial)
      for length in packet.networkLength..<packet.networkLength + (packet.isTCP ? 20 : 8) {
        var cut = Array(bytes[..<length])
        let lengthField = packet.isIPv6 ? 4 : 2, said = packet.isIPv6 ? length - 40 : length
        (cut[lengthField], cut[lengthField + 1]) = (UInt8(said >> 8), UInt8(said & 0xFF))
        #expect(refusal(packet.virtioHeader(40), cut) == .malformedPacket)
      }
    }
  }

  @Test func `is refused with a packet that cannot be cut into segments`() {
    func refused(_ packet: CraftedPacket, _ change: (inout [UInt8]) -> Void = { _ in }) -> OffloadError? {
      var bytes = packet.bytes(.partial)
      change(&bytes)
      return refusal(packet.virtioHeader(40), bytes)
    }
    for packet in kinds where packet.isTCP {
      let at = packet.networkLength
      for length in 0..<5 as Range<UInt8> { #expect(refused(packet) { $0[at + 12] = length << 4 } == .malformedPacket) }
      for flag in [2, 4] as [UInt8] { #expect(refused(packet) { $0[at + 13] |= flag } == .notSegmentable) }
      var short = packet
      short.payload = []
      #expect(refused(short) { $0[at + 12] = 0x70 } == .malformedPacket, "options past the packet's end")
    }
    for packet in kinds where !packet.isIPv6 {
      for fragment in [0x2000, 0x0001, 0x1000, 0x3FFF, 0x6000] as [UInt16] {
        var part = packet
        part.fragment = fragment
        #expect(refused(part) == .notSegmentable)
      }
      for length in 0..<5 as Range<UInt8> { #expect(refused(packet) { $0[0] = 0x40 | length } == .malformedPacket) }
      for number in [0, 1, 4, 41, 50, 132, 255] as [UInt8] {
        #expect(refused(packet) { $0[9] = number } == .notSegmentable)
      }
      var short = packet
      short.payload = []
      #expect(refused(short) { $0[0] = 0x4F } == .malformedPacket, "an IPv4 header past the packet's end")
    }
    for packet in kinds where packet.isIPv6 {
      for number in [1, 4, 41, 44, 50, 51, 58, 59, 255] as [UInt8] {
        #expect(refused(packet) { $0[6] = number } == .notSegmentable)
      }
      var extended = packet
      extended.extensions = [(60, [0xFF] + Array(repeating: 0, count: 6))]
      #expect(refused(extended) == .malformedPacket, "an extension header past the packet's end")
      extended.extensions = Array(repeating: (60, Array(repeating: 0, count: 7)), count: 5)
      #expect(refused(extended) == .notSegmentable, "more of them than there are")
    }
    for version in UInt8.min...15 where version != 4 && version != 6 {
      #expect(refused(kinds[0]) { $0[0] = version << 4 | 5 } == .malformedPacket)
    }
  }

  @Test(arguments: seeds) func `with any packet at all is refused, or gives segments that make up the packet`(
    seed: UInt64
  ) {
    var random = SeededRandom(seed: seed)
    var taken = 0
    for step in 0..<inputs(5000) {
      var packet = CraftedPacket.random(&random, payload: random.below(150))
      if random.below(3) == 0 { packet.fragment = UInt16(random.below(65536)) }
      var bytes = packet.bytes(.partial)
      var header = packet.virtioHeader(1 + random.below(100))
      for _ in 0..<random.below(4) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      if random.below(3) == 0 { bytes.removeLast(random.below(bytes.count)) }
      for _ in 0..<random.below(3) { header[random.below(10)] = UInt8(random.below(256)) }
      guard let made = try? segments(header, bytes) else { continue }
      taken += 1
      let ends = made.allSatisfy { $0.count <= bytes.count && ($0.count > 0 || bytes.isEmpty) }
      guard ends, made.count == 1 ? made[0].count == bytes.count : made.count > 1 else {
        return fail("seed \(seed), step \(step): \(header) with \(bytes)")
      }
    }
    #expect(taken > 500)
  }
}
