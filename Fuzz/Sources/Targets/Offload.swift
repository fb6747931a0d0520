import WG6Protocol

extension FuzzTarget {
  /// The segmentation offload, both ways. The input is a virtio header and a packet with it, as a device hands them over;
  /// or a play of packets that come out of the tunnel together.
  static let offload = FuzzTarget("offload") { input in
    var input = input
    if input.below(2) == 0 {
      let zeroes = input.below(4) == 0 ? Int(input.number(bytes: 2)) : 0
      let header = input.take(10)
      split(header, Array((input.rest() + [UInt8](repeating: 0, count: zeroes)).prefix(65535)))
    } else {
      merge(&input)
    }
  }

  // MARK: Splitting

  private static func split(_ header: [UInt8], _ packet: [UInt8]) {
    guard let segments = segments(of: packet, header) else { return }
    claim(!segments.isEmpty && !segments.contains { $0.isEmpty }, "a packet becomes something")
    guard header[1] != 0 else {
      let changed = packet.indices.filter { segments[0][$0] != packet[$0] }
      claim(segments.count == 1 && segments[0].count == packet.count, "a packet that is not split stays whole")
      claim((changed.last ?? 0) - (changed.first ?? 0) < 2, "a checksum is all that changes: \(changed)")
      claim(header[0] & 1 != 0 || changed.isEmpty, "what lacks nothing stays as it is")
      return
    }
    let size = Int(header[4]) | Int(header[5]) << 8
    var payload: [UInt8] = [], headerLength = 0
    for (index, segment) in segments.enumerated() {
      guard let read = NaiveTransport(segment) else { return claim(false, "a segment is a packet: \(segment)") }
      headerLength = read.payload
      payload += segment[read.payload...]
      claim(read.isIntact(segment), "a segment's checksums are right: \(segment)")
      claim(segment.count - read.payload == size || index == segments.count - 1, "only the last may be shorter")
    }
    claim(headerLength > 0 && payload == Array(packet[headerLength...]), "the segments make up the payload")
  }

  /// What becomes of a packet, the same by both ways; nil where it is refused. Played on memory that ends with it.
  private static func segments(of packet: [UInt8], _ header: [UInt8]) -> [[UInt8]]? {
    let copies = exactCopy(header), bytes = exactCopy(packet)
    defer {
      copies.deallocate()
      bytes.deallocate()
    }
    guard let header = try? VirtioHeader(UnsafeRawBufferPointer(copies)),
      let segmentation = try? Segmentation(header, packet: bytes)
    else { return nil }
    // Segments of a byte each take long, and are as all others.
    let count = min(segmentation.count, 200)
    guard count == segmentation.count else { return nil }
    let segments = (0..<count).map { index in
      let segment = exactCopy([UInt8](repeating: 0xA5, count: segmentation.length(of: index)))
      defer { segment.deallocate() }
      segmentation.write(index, to: segment.baseAddress!)
      return Array(segment)
    }
    if segmentation.canBeMadeInPlace {
      for index in 0..<count { claim(Array(segmentation.make(index)) == segments[index], "the same in place") }
    }
    return segments
  }

  private static func exactCopy(_ bytes: [UInt8]) -> UnsafeMutableRawBufferPointer {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    copy.copyBytes(from: bytes)
    return copy
  }

  // MARK: Merging

  private static func merge(_ input: inout FuzzedBytes) {
    var rules = MergeRules()
    let choice = input.byte()
    (rules.tcp, rules.udp, rules.takesShortTail) = (choice & 3 != 1, choice & 3 != 2, choice & 4 == 0)
    rules.datagrams = 1 + input.below(64)
    var play = TunnelPlay(), packets: [[UInt8]] = []
    while !input.isEmpty, packets.count < 64 { packets.append(play.packet(&input)) }
    guard !packets.isEmpty else { return }

    var batch = MergeBatch(capacity: packets.count, rules: rules)
    let copies = packets.map { exactCopy([UInt8](repeating: 0, count: VirtioHeader.length) + $0) }
    defer { copies.forEach { $0.deallocate() } }
    copies.forEach { batch.add(UnsafeMutableRawBufferPointer(rebasing: $0[VirtioHeader.length...])) }
    var written: [[UInt8]] = []
    for index in 0..<batch.groupCount {
      let pieces = batch.pieces(of: index)
      let bytes = pieces.flatMap { Array(UnsafeRawBufferPointer(start: $0.base, count: $0.count)) }
      let packet = Array(bytes[VirtioHeader.length...])
      claim(packet.count <= 65535, "no packet is longer than there are")
      claim(pieces.count == 1 || packet.count > 0, "a super-packet is one")
      guard let segments = segments(of: packet, Array(bytes[..<VirtioHeader.length])) else {
        return claim(false, "what was merged can be split: \(bytes)")
      }
      claim(segments.count == pieces.count, "\(pieces.count) packets come back as \(segments.count)")
      written += segments
    }
    check(written, against: packets)
  }

  /// Every packet once, unharmed, and none before one of its flow that came earlier.
  private static func check(_ written: [[UInt8]], against packets: [[UInt8]]) {
    claim(written.count == packets.count, "\(packets.count) packets become \(written.count)")
    var left = packets.map { Optional(canonical($0)) }
    var latest: [[UInt8]: Int] = [:]
    for packet in written {
      let packet = canonical(packet)
      guard let index = left.firstIndex(of: packet) else { return claim(false, "a packet was made up: \(packet)") }
      left[index] = nil
      guard let flow = NaiveTransport(packet)?.flow else { continue }
      claim(latest[flow] ?? -1 < index, "packet \(index) is overtaken")
      latest[flow] = index
    }
  }

  /// Without the IPv4 identification where it has no meaning (RFC 6864 §4.1), and nobody can tell that it was changed.
  private static func canonical(_ packet: [UInt8]) -> [UInt8] {
    guard packet.count >= 20, packet[0] == 0x45, packet[6] & 0x7F == 0x40, packet[7] == 0,
      naiveChecksum(Array(packet[..<20])) == 0
    else { return packet }
    var packet = packet
    for offset in [4, 5, 10, 11] { packet[offset] = 0 }
    return packet
  }
}

/// A TCP segment or UDP datagram in an IP packet, read as the RFCs draw it.
private struct NaiveTransport {
  let isTCP: Bool
  let transport: Int
  let payload: Int
  /// Family, protocol, addresses and ports.
  let flow: [UInt8]
  /// Bytes of the packet, as it says.
  private let length: Int
  private let addresses: [UInt8]

  /// Nil where it is none, or not all there: such packets don't get as far as to be merged.
  init?(_ packet: [UInt8]) {
    guard packet.count >= 20 else { return nil }
    let isIPv6 = packet[0] >> 4 == 6
    length = isIPv6 ? 40 + Int(packet[4]) * 256 + Int(packet[5]) : Int(packet[2]) * 256 + Int(packet[3])
    guard length >= 20, length <= packet.count else { return nil }
    var next = isIPv6 ? packet[6] : packet[9]
    var offset = isIPv6 ? 40 : Int(packet[0] & 15) * 4
    guard isIPv6 || packet[0] >> 4 == 4 && offset >= 20 && packet[6] & 0x3F == 0 && packet[7] == 0 else { return nil }
    while isIPv6, [0, 43, 60].contains(next), offset + 8 <= packet.count {
      next = packet[offset]
      offset += Int(packet[offset + 1]) * 8 + 8
    }
    guard next == 6 || next == 17, offset + (next == 6 ? 20 : 8) <= packet.count else { return nil }
    isTCP = next == 6
    transport = offset
    payload = offset + (isTCP ? Int(packet[offset + 12] >> 4) * 4 : 8)
    addresses = Array(isIPv6 ? packet[8..<40] : packet[12..<20])
    flow = [packet[0] >> 4, next] + addresses + packet[offset..<offset + 4]
    guard payload <= packet.count else { return nil }
  }

  func isIntact(_ packet: [UInt8]) -> Bool {
    let isIPv6 = addresses.count == 32, upper = packet.count - transport
    guard length == packet.count else { return false }
    guard isIPv6 || naiveChecksum(Array(packet[..<(Int(packet[0] & 15) * 4)])) == 0 else { return false }
    if !isTCP {
      guard Int(packet[transport + 4]) * 256 + Int(packet[transport + 5]) == upper,
        packet[transport + 6] != 0 || packet[transport + 7] != 0
      else { return false }
    }
    let pseudo = addresses + [UInt8(upper >> 8), UInt8(upper & 255), 0, isTCP ? 6 : 17]
    return naiveChecksum(pseudo + packet[transport...]) == 0
  }
}

/// Four flows, whose next packet can most of the time be merged with the one before.
private struct TunnelPlay {
  private var flows: [[UInt8]] = [(false, true), (false, false), (true, true), (true, false)].map { isIPv6, isTCP in
    let network: [UInt8] =
      isIPv6
      ? [0x60, 0, 0, 0, 0, 0, isTCP ? 6 : 17, 64, 0xFD] + [UInt8](repeating: 1, count: 31)
      : [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, isTCP ? 6 : 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    return network + [1, 2, 3, 4] + (isTCP ? [0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x10, 1, 1, 0, 0, 0, 0] : [0, 0, 0, 0])
  }

  /// The first byte chooses the flow, how many bytes are changed (each a position and a value), whether for good, and
  /// whether lengths and checksums are made right.
  mutating func packet(_ input: inout FuzzedBytes) -> [UInt8] {
    let choice = input.byte()
    let kind = Int(choice & 3)
    var packet = flows[kind]
    let payload = choice & 4 == 0 ? 24 : input.below(64)
    for _ in 0..<(choice >> 3 & 3) {
      let position = input.below(packet.count)
      packet[position] = input.byte()
      if choice & 0x20 != 0 { flows[kind] = packet }
    }
    let isIPv6 = kind >= 2, isTCP = kind % 2 == 0
    advance(&flows[kind], isIPv6 ? 40 : 20, by: payload, isIPv6: isIPv6, isTCP: isTCP)
    packet += (0..<payload).map { UInt8(truncatingIfNeeded: $0) ^ choice }
    if choice & 0xC0 != 0xC0 { complete(&packet, isIPv6: isIPv6, isTCP: isTCP) }
    if choice & 0xC0 == 0x40 { packet[input.below(packet.count)] ^= input.byte() }
    return packet
  }

  private func advance(_ flow: inout [UInt8], _ transport: Int, by count: Int, isIPv6: Bool, isTCP: Bool) {
    if !isIPv6 { add(1, to: &flow, 4, width: 2) }
    if isTCP { add(count, to: &flow, transport + 4, width: 4) }
  }

  private func add(_ value: Int, to bytes: inout [UInt8], _ offset: Int, width: Int) {
    var carry = value
    for index in (offset..<offset + width).reversed() {
      carry += Int(bytes[index])
      bytes[index] = UInt8(carry & 255)
      carry >>= 8
    }
  }

  private func complete(_ packet: inout [UInt8], isIPv6: Bool, isTCP: Bool) {
    func put(_ value: Int, _ offset: Int) {
      packet[offset] = UInt8(value >> 8)
      packet[offset + 1] = UInt8(value & 255)
    }
    let transport = isIPv6 ? 40 : 20, length = packet.count - transport
    put(isIPv6 ? length : packet.count, isIPv6 ? 4 : 2)
    if !isIPv6 {
      put(0, 10)
      put(Int(naiveChecksum(Array(packet[..<20]))), 10)
    }
    if !isTCP { put(length, transport + 4) }
    put(0, transport + (isTCP ? 16 : 6))
    let pseudo = packet[(isIPv6 ? 8 : 12)..<transport] + [UInt8(length >> 8), UInt8(length & 255), 0, isTCP ? 6 : 17]
    let checksum = Int(naiveChecksum(Array(pseudo) + packet[transport...]))
    put(checksum == 0 && !isTCP ? 0xFFFF : checksum, transport + (isTCP ? 16 : 6))
  }
}
