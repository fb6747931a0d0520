/// The checksum of IP, ICMP, TCP and UDP (RFC 1071): the complement of a sum of 16-bit words, carries added back in.
struct InternetChecksum {
  /// Sums of 32-bit words, carries and all: room for 2^32 of them.
  private var sum: UInt64 = 0

  mutating func add(_ word: UInt32) { sum += UInt64(word) }

  mutating func add(_ address: AddressBits) {
    sum += address.high >> 32 + address.high & 0xFFFF_FFFF
    sum += address.low >> 32 + address.low & 0xFFFF_FFFF
  }

  /// Adds `bytes`; only what is added last may have an odd length.
  ///
  /// Sums them as this machine reads them and turns the result (RFC 1071 §2 (B)): a loop without carries, which the
  /// compiler makes vector code of.
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    let count = bytes.count
    var low: UInt64 = 0
    var high: UInt64 = 0
    var offset = 0
    while offset &+ 8 <= count {
      let word = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      low &+= word & 0xFFFF_FFFF
      high &+= word >> 32
      offset &+= 8
    }
    if offset + 4 <= count {
      low += unsafe UInt64(base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      offset += 4
    }
    if offset + 2 <= count {
      low += unsafe UInt64(base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      offset += 2
    }
    if offset < count {
      low += unsafe UInt64(UInt16(base.load(fromByteOffset: offset, as: UInt8.self)).littleEndian)
    }
    sum += UInt64(UInt16(bigEndian: InternetChecksum.fold(low + high)))
  }

  /// Adds what TCP and UDP sum along with themselves (RFC 9293 §3.1, RFC 8200 §8.1), but for their length: the addresses
  /// of the IP packet at `packet`, and the `protocol`'s number.
  mutating func addPseudoHeader(of packet: UnsafeRawPointer, isIPv6: Bool, protocol number: UInt8) {
    unsafe add(UnsafeRawBufferPointer(start: packet + (isIPv6 ? 8 : 12), count: isIPv6 ? 32 : 8))
    add(UInt32(number))
  }

  /// The sum itself, folded into 16 bits: what a checksum that is left to be completed holds.
  var partial: UInt16 { InternetChecksum.fold(sum) }

  /// What belongs in the checksum's field; 0 over bytes that hold a right checksum already.
  var value: UInt16 { ~partial }

  /// The same for UDP, where 0 stands for "no checksum" and all ones are sent instead (RFC 768).
  var valueForUDP: UInt16 { value == 0 ? 0xFFFF : value }

  private static func fold(_ sum: UInt64) -> UInt16 {
    var folded = sum
    while folded > 0xFFFF { folded = folded & 0xFFFF + folded >> 16 }
    return UInt16(folded)
  }
}
