import WG6Simulation

@testable import WG6Protocol

/// A TCP segment or UDP datagram in an IP packet, field by field, and written out as the RFCs have it: slow and obvious,
/// with arrays. The oracle of splitting, and what merging is tried with.
struct CraftedPacket {
  var isIPv6 = false
  var isTCP = true
  var trafficClass: UInt8 = 0
  var flowLabel: UInt32 = 0
  var hopLimit: UInt8 = 64
  var identification: UInt16 = 7
  /// IPv4 flags and fragment offset.
  var fragment: UInt16 = 0x4000
  /// IPv4 options, a multiple of 4 bytes.
  var networkOptions: [UInt8] = []
  /// IPv6 extension headers: the number of each and its bytes but for the first, which is the next one's number.
  var extensions: [(number: UInt8, rest: [UInt8])] = []
  /// The last bytes of the addresses.
  var source: UInt8 = 1
  var destination: UInt8 = 2
  /// In place of the above, whole addresses.
  var givenAddresses: [UInt8]?
  var sourcePort: UInt16 = 50000
  var destinationPort: UInt16 = 443
  var sequence: UInt32 = 0xFFFF_FF00
  var acknowledgement: UInt32 = 99
  var reserved: UInt8 = 0
  var flags: UInt8 = 0x10
  var window: UInt16 = 501
  var urgentPointer: UInt16 = 0
  /// TCP options, a multiple of 4 bytes.
  var options: [UInt8] = []
  var payload: [UInt8] = []

  enum Sum {
    /// The checksum itself.
    case whole
    /// Of the pseudo-header only, not complemented, as a device hands it over.
    case partial
    case given(UInt16)
  }

  var number: UInt8 { isTCP ? 6 : 17 }
  var addresses: [UInt8] {
    if let givenAddresses { return givenAddresses }
    return isIPv6
      ? [0xFD] + Array(repeating: 0, count: 14) + [source, 0xFD] + Array(repeating: 0, count: 14) + [destination]
      : [10, 9, 0, source, 10, 9, 1, destination]
  }
  var networkLength: Int {
    isIPv6 ? 40 + extensions.reduce(0) { $0 + 1 + $1.rest.count } : 20 + networkOptions.count
  }
  var headerLength: Int { networkLength + (isTCP ? 20 + options.count : 8) }
  var checksumOffset: Int { isTCP ? 16 : 6 }

  func bytes(_ sum: Sum = .whole) -> [UInt8] {
    var upper: [UInt8] = half(sourcePort) + half(destinationPort)
    if isTCP {
      upper += half(UInt16(sequence >> 16)) + half(UInt16(sequence & 0xFFFF))
      upper += half(UInt16(acknowledgement >> 16)) + half(UInt16(acknowledgement & 0xFFFF))
      upper += [UInt8((20 + options.count) / 4) << 4 | reserved, flags] + half(window) + [0, 0] + half(urgentPointer)
      upper += options
    } else {
      upper += half(UInt16(8 + payload.count)) + [0, 0]
    }
    upper += payload
    let pseudoHeader = addresses + half(UInt16(upper.count >> 16)) + half(UInt16(upper.count & 0xFFFF)) + [0, number]
    let checksum: UInt16 =
      switch sum {
      case .whole: naiveChecksum(pseudoHeader + upper)
      case .partial: ~naiveChecksum(pseudoHeader)
      case .given(let value): value
      }
    let isZeroUDP: Bool = if case .whole = sum { !isTCP && checksum == 0 } else { false }
    upper.replaceSubrange(checksumOffset..<checksumOffset + 2, with: half(isZeroUDP ? 0xFFFF : checksum))
    return network(length: upper.count) + upper
  }

  private func network(length: Int) -> [UInt8] {
    if isIPv6 {
      var numbers = extensions.map { $0.number } + [number]
      var header: [UInt8] = [0x60 | trafficClass >> 4, trafficClass << 4 | UInt8(flowLabel >> 16 & 0x0F)]
      header += half(UInt16(flowLabel & 0xFFFF)) + half(UInt16(networkLength - 40 + length))
      header += [numbers.removeFirst(), hopLimit] + addresses
      for part in extensions { header += [numbers.removeFirst()] + part.rest }
      return header
    }
    var header: [UInt8] = [0x40 | UInt8(networkLength / 4), trafficClass] + half(UInt16(networkLength + length))
    header += half(identification) + half(fragment) + [hopLimit, number, 0, 0] + addresses + networkOptions
    header.replaceSubrange(10..<12, with: half(naiveChecksum(header)))
    return header
  }

  /// The segments that become of it.
  func split(_ size: Int) -> [CraftedPacket] {
    var segments: [CraftedPacket] = []
    var start = 0
    repeat {
      var segment = self
      let end = min(start + size, payload.count)
      segment.payload = Array(payload[start..<end])
      segment.sequence = sequence &+ UInt32(start)
      segment.identification = identification &+ UInt16(truncatingIfNeeded: segments.count)
      if start > 0 { segment.flags &= 0x7F }
      if end < payload.count { segment.flags &= 0xF6 }
      segments.append(segment)
      start = end
    } while start < payload.count
    return segments
  }

  /// The virtio header that says so.
  func virtioHeader(_ size: Int, flags: UInt8 = 1) -> [UInt8] {
    VirtioFields(
      flags: flags, type: (isTCP ? (isIPv6 ? 4 : 1) : 5) | (isTCP && self.flags & 0x80 != 0 ? 0x80 : 0),
      segmentSize: UInt16(size), checksumStart: UInt16(networkLength), checksumOffset: UInt16(checksumOffset)
    ).bytes
  }

  private func half(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xFF)] }
}

/// RFC 1071, word by word.
func naiveChecksum(_ bytes: [UInt8]) -> UInt16 {
  var sum: UInt64 = 0
  var index = 0
  while index + 1 < bytes.count {
    sum += UInt64(bytes[index]) << 8 + UInt64(bytes[index + 1])
    index += 2
  }
  if index < bytes.count { sum += UInt64(bytes[index]) << 8 }
  while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
  return ~UInt16(sum)
}

/// A virtio header, whatever it says.
struct VirtioFields {
  var flags: UInt8 = 0
  var type: UInt8 = 0
  var headerLength: UInt16 = 0
  var segmentSize: UInt16 = 0
  var checksumStart: UInt16 = 0
  var checksumOffset: UInt16 = 0

  var bytes: [UInt8] {
    let halves = [headerLength, segmentSize, checksumStart, checksumOffset].flatMap { value in
      withUnsafeBytes(of: value) { Array($0) }
    }
    return [flags, type] + halves
  }
}

extension CraftedPacket {
  /// Whether IPv6, whether TCP.
  static let families = [(false, false), (false, true), (true, false), (true, true)]

  /// One with timestamps, whose segments can be merged.
  static func mergeable(_ isIPv6: Bool, _ isTCP: Bool, payload: Int = 50) -> CraftedPacket {
    CraftedPacket(
      isIPv6: isIPv6, isTCP: isTCP, options: isTCP ? [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] : [],
      payload: (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 31) })
  }

  /// Any at all, with `payload` bytes; `plain` ones are those that may be merged.
  static func random(_ random: inout SeededRandom, payload: Int, plain: Bool = false) -> CraftedPacket {
    var packet = CraftedPacket()
    let bits = random.next(), more = random.next()
    packet.isIPv6 = bits & 1 != 0
    packet.isTCP = bits & 2 != 0
    packet.trafficClass = UInt8(truncatingIfNeeded: bits >> 8)
    packet.flowLabel = UInt32(bits >> 16 & 0xFFFFF)
    packet.hopLimit = UInt8(truncatingIfNeeded: bits >> 40)
    packet.identification = bits & 4 != 0 ? 0xFFFF : UInt16(truncatingIfNeeded: bits >> 48)
    packet.fragment = bits & 8 != 0 ? 0x4000 : 0
    packet.source = UInt8(truncatingIfNeeded: more)
    packet.destinationPort = UInt16(truncatingIfNeeded: more >> 8)
    packet.sequence = bits & 16 != 0 ? 0xFFFF_FFFF : UInt32(truncatingIfNeeded: more >> 24)
    packet.acknowledgement = UInt32(truncatingIfNeeded: bits >> 20)
    packet.window = UInt16(truncatingIfNeeded: more >> 48)
    packet.reserved = UInt8(more >> 60)
    packet.flags = plain ? 0x10 | UInt8(more >> 40 & 0xC8) : UInt8(more >> 40 & 0xF9)
    packet.options = random.bytes(4 * random.below(11))
    if !plain, random.below(4) == 0 {
      packet.networkOptions = random.bytes(4 * random.below(11))
      packet.extensions = (0..<random.below(4)).map { _ in
        let length = random.below(3)
        return ([0, 43, 60][random.below(3)], [UInt8(length)] + random.bytes(6 + 8 * length))
      }
    }
    packet.payload = random.bytes(payload)
    return packet
  }
}

extension SeededRandom {
  mutating func bytes(_ count: Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count + 8)
    while result.count < count { withUnsafeBytes(of: next()) { result.append(contentsOf: $0) } }
    result.removeLast(result.count - count)
    return result
  }
}
