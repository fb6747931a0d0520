/// Why a packet can't go into the tunnel, as its sender is told.
enum Undeliverable {
  case noPeer
  case noEndpoint
  /// Bytes that would do.
  case tooBig(mtu: Int)

  fileprivate var isAboutSize: Bool { if case .tooBig = self { true } else { false } }
}

/// Answers to packets that can't be sent: ICMP (RFC 792) and ICMPv6 (RFC 4443) errors, so that programs fail at once
/// rather than wait. Belongs to one thread.
///
/// Composed as packets from where the packet was to go, which needs to know nothing of the machine. Written to the device
/// so, an error follows every rule that the machine has for packets out of the tunnel. Whoever can find out what this
/// machine's own address is on the way to the sender sends it from there: what stands behind the IP header is right for
/// both, but for ICMPv6's checksum.
@safe struct ICMPErrors: ~Copyable {
  /// The longest error: RFC 4443 §2.4 (c). For IPv4 it is RFC 1812 §4.3.2.3 that says.
  private static let capacity = 1280
  private static let capacityIPv4 = 576

  // SAFETY: `capacity` bytes.
  private let buffer: UnsafeMutableRawPointer
  private var limiter = ErrorLimiter()

  init() {
    unsafe buffer = .allocate(byteCount: ICMPErrors.capacity, alignment: 16)
  }

  deinit {
    unsafe buffer.deallocate()
  }

  /// The error about `bytes`, whose header is `packet`: valid until the next call. Nil where its sender must not be told
  /// (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)), or where enough errors went out lately.
  mutating func answer(
    to bytes: UnsafeRawBufferPointer, _ packet: InnerPacket, _ reason: Undeliverable, now: Nanoseconds
  ) -> UnsafeRawBufferPointer? {
    guard packet.mayBeAnswered, unsafe ICMPErrors.mayAnswer(bytes, isIPv6: packet.isIPv6),
      limiter.admits(packet, isAboutSize: reason.isAboutSize, now: now)
    else { return nil }
    return unsafe packet.isIPv6 ? answerIPv6(bytes, packet, reason) : answerIPv4(bytes, packet, reason)
  }

  // MARK: Composing

  private func answerIPv4(
    _ bytes: UnsafeRawBufferPointer, _ packet: InnerPacket, _ reason: Undeliverable
  ) -> UnsafeRawBufferPointer {
    let quoted = min(packet.length, ICMPErrors.capacityIPv4 - 28)
    let (code, mtu): (UInt8, Int) =
      switch reason {
      // What the kernel's WireGuard says; "host unreachable" ends a TCP connection attempt.
      case .noPeer, .noEndpoint: (1, 0)
      case .tooBig(let mtu): (4, mtu)
      }
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0, count: 28)
    // Version 4, header of 20 bytes; precedence "internetwork control" (RFC 1812 §4.3.2.5); 64 hops; ICMP.
    put(0, 0x45C0, UInt16(28 + quoted))
    put(8, 64 << 8 | 1, 0)
    put(
      12, UInt16(truncatingIfNeeded: packet.destination.high >> 48),
      UInt16(truncatingIfNeeded: packet.destination.high >> 32))
    put(16, UInt16(truncatingIfNeeded: packet.source.high >> 48), UInt16(truncatingIfNeeded: packet.source.high >> 32))
    put(20, 3 << 8 | UInt16(code), 0)
    put(24, 0, UInt16(clamping: mtu))
    unsafe (buffer + 28).copyMemory(from: bytes.baseAddress!, byteCount: quoted)
    var header = InternetChecksum(), message = InternetChecksum()
    unsafe header.add(UnsafeRawBufferPointer(start: buffer, count: 20))
    unsafe message.add(UnsafeRawBufferPointer(start: buffer + 20, count: 8 + quoted))
    unsafe buffer.storeBytes(of: header.value.bigEndian, toByteOffset: 10, as: UInt16.self)
    unsafe buffer.storeBytes(of: message.value.bigEndian, toByteOffset: 22, as: UInt16.self)
    return unsafe UnsafeRawBufferPointer(start: buffer, count: 28 + quoted)
  }

  private func answerIPv6(
    _ bytes: UnsafeRawBufferPointer, _ packet: InnerPacket, _ reason: Undeliverable
  ) -> UnsafeRawBufferPointer {
    let quoted = min(packet.length, ICMPErrors.capacity - 48)
    let (type, code, mtu): (UInt8, UInt8, Int) =
      switch reason {
      case .noPeer: (1, 0, 0)
      case .noEndpoint: (1, 3, 0)
      case .tooBig(let mtu): (2, 0, mtu)
      }
    // Version 6; then what follows the header, ICMPv6, 64 hops.
    put(0, 0x6000, 0)
    put(4, UInt16(8 + quoted), 58 << 8 | 64)
    put(8, packet.destination)
    put(24, packet.source)
    put(40, UInt16(type) << 8 | UInt16(code), 0)
    put(44, UInt16(truncatingIfNeeded: mtu >> 16), UInt16(truncatingIfNeeded: mtu))
    unsafe (buffer + 48).copyMemory(from: bytes.baseAddress!, byteCount: quoted)
    var checksum = InternetChecksum()
    checksum.add(packet.destination)
    checksum.add(packet.source)
    checksum.add(UInt32(8 + quoted))
    checksum.add(58)
    unsafe checksum.add(UnsafeRawBufferPointer(start: buffer + 40, count: 8 + quoted))
    unsafe buffer.storeBytes(of: checksum.value.bigEndian, toByteOffset: 42, as: UInt16.self)
    return unsafe UnsafeRawBufferPointer(start: buffer, count: 48 + quoted)
  }

  private func put(_ offset: Int, _ first: UInt16, _ second: UInt16) {
    unsafe buffer.storeBytes(of: first.bigEndian, toByteOffset: offset, as: UInt16.self)
    unsafe buffer.storeBytes(of: second.bigEndian, toByteOffset: offset + 2, as: UInt16.self)
  }

  private func put(_ offset: Int, _ address: AddressBits) {
    unsafe buffer.storeBytes(of: address.high.bigEndian, toByteOffset: offset, as: UInt64.self)
    unsafe buffer.storeBytes(of: address.low.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
  }

  // MARK: Whom to tell

  /// Whether what the packet carries may be answered: no ICMP error itself, and the first fragment where there are several.
  private static func mayAnswer(_ bytes: UnsafeRawBufferPointer, isIPv6: Bool) -> Bool {
    guard isIPv6 else {
      let headerLength = unsafe Int(bytes[0] & 0x0F) * 4
      let isFirst = unsafe bytes[6] & 0x1F == 0 && bytes[7] == 0
      guard isFirst else { return false }
      guard unsafe bytes[9] == 1 else { return true }
      guard headerLength < bytes.count else { return false }
      switch unsafe bytes[headerLength] {
      case 3, 4, 5, 11, 12: return false
      default: return true
      }
    }
    var next = unsafe bytes[6]
    var offset = 40
    // As many extension headers as anyone has business with.
    for _ in 0..<8 {
      switch next {
      case 58:
        // Below 128 is an error; 137 is a redirect.
        return unsafe offset < bytes.count && bytes[offset] >= 128 && bytes[offset] != 137
      case 0, 43, 60:
        guard offset + 2 <= bytes.count else { return false }
        next = unsafe bytes[offset]
        unsafe offset += Int(bytes[offset + 1]) * 8 + 8
      case 51:
        guard offset + 2 <= bytes.count else { return false }
        next = unsafe bytes[offset]
        unsafe offset += Int(bytes[offset + 1]) * 4 + 8
      case 44:
        guard offset + 8 <= bytes.count, unsafe bytes[offset + 2] == 0, unsafe bytes[offset + 3] & 0xF8 == 0 else {
          return false
        }
        next = unsafe bytes[offset]
        offset += 8
      default:
        return true
      }
    }
    return false
  }
}

extension InnerPacket {
  /// Whether both addresses stand for one host each.
  fileprivate var mayBeAnswered: Bool {
    if isIPv6 {
      let isUnspecifiedOrLoopback = source.high == 0 && source.low <= 1
      return !isUnspecifiedOrLoopback && source.high >> 56 != 0xFF && destination.high >> 56 != 0xFF
    }
    let from = source.high >> 56, to = destination.high >> 56
    return from != 0 && from != 127 && from < 224 && to < 224
  }
}
