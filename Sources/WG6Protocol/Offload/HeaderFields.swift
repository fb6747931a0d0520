/// Numbers of protocols above IP (IANA).
enum IPProtocol {
  static let tcp: UInt8 = 6
  static let udp: UInt8 = 17
  static let hopByHop: UInt8 = 0
  static let routing: UInt8 = 43
  static let destinationOptions: UInt8 = 60
}

/// Where fields stand in an IPv4 header (RFC 791 §3.1), in bytes.
enum IPv4Header {
  /// Without options.
  static let length = 20
  static let trafficClass = 1
  static let totalLength = 2
  static let identification = 4
  /// Three bits of flags, thirteen of the fragment's offset.
  static let fragment = 6
  static let dontFragment: UInt16 = 0x4000
  static let moreFragmentsAndOffset: UInt16 = 0x3FFF
  static let hopLimit = 8
  static let nextProtocol = 9
  static let checksum = 10
  /// Source and destination.
  static let addresses = 12
}

/// Where fields stand in an IPv6 header (RFC 8200 §3), in bytes.
enum IPv6Header {
  static let length = 40
  static let payloadLength = 4
  static let nextHeader = 6
  static let hopLimit = 7
  /// Source and destination.
  static let addresses = 8
}

/// Where fields stand in a TCP header (RFC 9293 §3.1), in bytes.
enum TCPHeader {
  /// Without options.
  static let length = 20
  static let sequence = 4
  static let acknowledgement = 8
  /// The header's length in words in the upper four bits.
  static let dataOffset = 12
  static let flags = 13
  static let window = 14
  static let checksum = 16
  static let urgentPointer = 18
}

/// Bits of a TCP header's flags (RFC 9293 §3.1, RFC 3168 §6.1).
enum TCPFlags {
  static let fin: UInt8 = 0x01
  static let syn: UInt8 = 0x02
  static let rst: UInt8 = 0x04
  static let psh: UInt8 = 0x08
  static let ack: UInt8 = 0x10
  static let urg: UInt8 = 0x20
  static let cwr: UInt8 = 0x80
}

/// Where fields stand in a UDP header (RFC 768), in bytes.
enum UDPHeader {
  static let length = 8
  static let datagramLength = 4
  static let checksum = 6
}

/// Fields of headers, in the network's order.
extension UnsafeRawPointer {
  func byte(_ offset: Int) -> UInt8 { unsafe load(fromByteOffset: offset, as: UInt8.self) }

  func half(_ offset: Int) -> UInt16 {
    unsafe UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  func word(_ offset: Int) -> UInt32 {
    unsafe UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  /// Whether the `count` bytes from `offset` on are the same at both; as few compares as there are words.
  func matches(_ other: UnsafeRawPointer, from offset: Int, count: Int) -> Bool {
    var position = offset
    let end = offset + count
    var difference: UInt64 = 0
    while position + 8 <= end {
      difference |=
        unsafe loadUnaligned(fromByteOffset: position, as: UInt64.self)
        ^ other.loadUnaligned(fromByteOffset: position, as: UInt64.self)
      position += 8
    }
    while position < end {
      difference |= UInt64(unsafe byte(position) ^ other.byte(position))
      position += 1
    }
    return difference == 0
  }
}

extension UnsafeMutableRawPointer {
  func put(_ value: UInt8, at offset: Int) { unsafe storeBytes(of: value, toByteOffset: offset, as: UInt8.self) }

  func put(_ value: UInt16, at offset: Int) {
    unsafe storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
  }

  func put(_ value: UInt32, at offset: Int) {
    unsafe storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
  }
}
