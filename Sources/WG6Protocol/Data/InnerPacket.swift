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
  /// Whether it goes to ff00::/8 or 224.0.0.0/4.
  var isMulticast: Bool { isIPv6 ? destination.high >> 56 == 0xFF : destination.high >> 60 == 0xE }

  /// If it is a UDP datagram, or the first piece of one, with a data message of WireGuard: that message's receiver index.
  func carriedReceiver(_ bytes: UnsafeRawBufferPointer) -> UInt32? {
    guard case .from(let start) = unsafe udpPayload(bytes), bytes.count >= start + DataMessage.header,
      unsafe InnerPacket.word(bytes, start) == MessageType.data
    else { return nil }
    return unsafe InnerPacket.word(bytes, start + DataMessage.receiver)
  }

  /// What of WireGuard it may carry, as far as can be seen.
  enum Carried {
    case nothing
    /// A handshake message or a cookie reply: the whole datagram, or the first piece of it.
    case handshake
    /// A data message, whole or its first piece.
    case data
    /// A later piece of any UDP datagram.
    case laterPiece
  }

  /// What of WireGuard it may carry.
  func carried(_ bytes: UnsafeRawBufferPointer) -> Carried {
    switch unsafe udpPayload(bytes) {
    case .none: return .nothing
    case .laterPiece: return .laterPiece
    case .from(let start):
      guard bytes.count >= start + FieldLength.type else { return .nothing }
      switch unsafe InnerPacket.word(bytes, start) {
      case MessageType.initiation, MessageType.response, MessageType.cookieReply: return .handshake
      case MessageType.data: return .data
      default: return .nothing
      }
    }
  }

  /// What its pieces have in common if it is one; nil if it is whole. Of IPv6, as the kernel makes them: without other
  /// extension headers.
  func piece(_ bytes: UnsafeRawBufferPointer) -> PieceKey? {
    let fragment: UInt8 = 44
    guard isIPv6 else {
      guard unsafe bytes[6] & 0x3F != 0 || bytes[7] != 0 else { return nil }
      return PieceKey(source, destination, unsafe UInt32(bytes[4]) << 8 | UInt32(bytes[5]))
    }
    guard unsafe bytes[6] == fragment, bytes.count >= IPv6Header.length + 8 else { return nil }
    return PieceKey(source, destination, unsafe InnerPacket.word(bytes, IPv6Header.length + 4))
  }

  /// What it has of a UDP datagram.
  private enum UDPPayload {
    case none
    /// The payload's beginning, at this offset, which may lie behind the packet's end.
    case from(Int)
    case laterPiece
  }

  private func udpPayload(_ bytes: UnsafeRawBufferPointer) -> UDPPayload {
    let udp: UInt8 = 17, fragment: UInt8 = 44, header = 8
    guard isIPv6 else {
      guard unsafe bytes[9] == udp else { return .none }
      let isFirst = unsafe bytes[6] & 0x1F == 0 && bytes[7] == 0
      return isFirst ? .from(unsafe Int(bytes[0] & 0x0F) * 4 + header) : .laterPiece
    }
    let next = unsafe bytes[6]
    guard next == fragment else { return next == udp ? .from(IPv6Header.length + header) : .none }
    guard bytes.count >= IPv6Header.length + 8, unsafe bytes[IPv6Header.length] == udp else { return .none }
    let isFirst = unsafe bytes[IPv6Header.length + 2] == 0 && bytes[IPv6Header.length + 3] & 0xF8 == 0
    return isFirst ? .from(IPv6Header.length + 8 + header) : .laterPiece
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
    unsafe UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
}

/// What the pieces of one packet have in common.
struct PieceKey: Equatable {
  let source: AddressBits
  let destination: AddressBits
  let identification: UInt32

  init(_ source: AddressBits, _ destination: AddressBits, _ identification: UInt32) {
    self.source = source
    self.destination = destination
    self.identification = identification
  }
}

/// Datagrams whose first pieces were dropped just now: the others are of no use to anyone.
struct CutDatagrams {
  /// The pieces of one packet follow each other; numbers are used again later.
  private static let memory = Limits.second

  private struct Entry {
    let key: PieceKey
    let droppedAt: Nanoseconds
  }

  private var entries = InlineArray<16, Entry?>(repeating: nil)
  private var next = 0

  mutating func insert(_ key: PieceKey, at now: Nanoseconds) {
    entries[next] = Entry(key: key, droppedAt: now)
    next = (next + 1) % entries.count
  }

  func contains(_ key: PieceKey, at now: Nanoseconds) -> Bool {
    for index in entries.indices {
      if let entry = entries[index], entry.key == key, now.since(entry.droppedAt) < CutDatagrams.memory { return true }
    }
    return false
  }
}
