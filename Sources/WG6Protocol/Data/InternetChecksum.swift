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
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    var offset = 0
    while offset + 4 <= bytes.count {
      sum += unsafe UInt64(UInt32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
      offset += 4
    }
    if offset + 2 <= bytes.count {
      sum += unsafe UInt64(UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
      offset += 2
    }
    if offset < bytes.count { sum += unsafe UInt64(base.load(fromByteOffset: offset, as: UInt8.self)) << 8 }
  }

  /// What belongs in the checksum's field; 0 over bytes that hold a right checksum already.
  var value: UInt16 {
    var folded = sum
    while folded > 0xFFFF { folded = folded & 0xFFFF + folded >> 16 }
    return ~UInt16(folded)
  }
}
