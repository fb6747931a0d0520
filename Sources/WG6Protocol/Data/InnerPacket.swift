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

extension InnerPacket {
  /// Whether it is a UDP datagram, or the first piece of one, with a data message for the receiver `index`.
  func carriesData(under index: UInt32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let udp: UInt8 = 17, fragment: UInt8 = 44
    var start: Int
    if isIPv6 {
      start = 40
      var next = unsafe bytes[6]
      if next == fragment {
        guard bytes.count >= 48, unsafe bytes[42] == 0 && bytes[43] & 0xF8 == 0 else { return false }
        next = unsafe bytes[40]
        start = 48
      }
      guard next == udp else { return false }
    } else {
      guard unsafe bytes[9] == udp && bytes[6] & 0x1F == 0 && bytes[7] == 0 else { return false }
      start = unsafe Int(bytes[0] & 0x0F) * 4
    }
    start += 8
    guard bytes.count >= start + DataMessage.header else { return false }
    let type = unsafe UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
    let receiver = unsafe UInt32(
      littleEndian: bytes.loadUnaligned(fromByteOffset: start + DataMessage.receiver, as: UInt32.self))
    return type == MessageType.data && receiver == index
  }
}
