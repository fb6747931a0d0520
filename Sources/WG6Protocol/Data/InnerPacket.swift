/// The addresses and the length of an IP packet, read from a header that was checked to be there.
struct InnerPacket {
  let isIPv6: Bool
  let source: AddressBits
  let destination: AddressBits
  /// Bytes that the header says the packet has, itself included.
  let length: Int

  /// Nil where `bytes` do not begin with a whole IPv4 or IPv6 header, or hold less than that header says.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count >= 20 else { return nil }
    func word(_ offset: Int) -> UInt64 {
      unsafe UInt64(UInt32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }
    func half(_ offset: Int) -> Int {
      unsafe Int(UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    }
    switch unsafe base.load(as: UInt8.self) >> 4 {
    case 4:
      isIPv6 = false
      length = half(2)
      source = AddressBits(high: word(12) << 32, low: 0)
      destination = AddressBits(high: word(16) << 32, low: 0)
      let headerLength = unsafe Int(base.load(as: UInt8.self) & 0x0F) * 4
      guard headerLength >= 20, length >= headerLength else { return nil }
    case 6:
      guard bytes.count >= 40 else { return nil }
      isIPv6 = true
      length = 40 + half(4)
      source = AddressBits(high: word(8) << 32 | word(12), low: word(16) << 32 | word(20))
      destination = AddressBits(high: word(24) << 32 | word(28), low: word(32) << 32 | word(36))
    default:
      return nil
    }
    guard length <= bytes.count else { return nil }
  }
}
