/// What the headers of an IP packet say, extension headers included: for people, and for filters.
public struct PacketHeaders: Equatable, Sendable {
  public let source: IPAddress
  public let destination: IPAddress
  /// Bytes that the header says the packet has, itself included.
  public let length: Int
  /// The protocol that the packet carries (IANA's protocol numbers), behind all extension headers that are known.
  public let carried: UInt8
  /// Where the carried protocol's header begins; nil for a later fragment, or where the packet ends before it.
  public let carriedOffset: Int?
  /// Where a fragment's bytes belong in the whole; nil for a packet that is whole.
  public let fragmentOffset: Int?

  /// Extension headers to look through at most: as many as any program has use for.
  private static let mostExtensions = 8

  /// Nil where `bytes` are no whole IP packet.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard let packet = unsafe InnerPacket(bytes) else { return nil }
    source = IPAddress(bits: packet.source, isIPv6: packet.isIPv6)
    destination = IPAddress(bits: packet.destination, isIPv6: packet.isIPv6)
    length = packet.length
    guard packet.isIPv6 else {
      carried = unsafe bytes[9]
      let fragment = unsafe Int(bytes[6]) << 8 | Int(bytes[7])
      fragmentOffset = fragment & 0x3FFF == 0 ? nil : (fragment & 0x1FFF) * 8
      let header = unsafe Int(bytes[0] & 0x0F) * 4
      carriedOffset = fragment & 0x1FFF == 0 && header < packet.length ? header : nil
      return
    }
    var next = unsafe bytes[6]
    var offset = IPv6Header.length
    var fragmentOffset: Int?
    // RFC 8200 §4.1: hop-by-hop options, routing, fragment, destination options; RFC 4302 §2.2: authentication.
    walk: for _ in 0..<PacketHeaders.mostExtensions {
      let length: Int
      guard offset + 8 <= packet.length else { break walk }
      switch next {
      case 0, 43, 60: length = unsafe Int(bytes[offset + 1]) * 8 + 8
      case 51: length = unsafe Int(bytes[offset + 1]) * 4 + 8
      case 44:
        length = 8
        let fragment = unsafe Int(bytes[offset + 2]) << 8 | Int(bytes[offset + 3])
        if fragment & ~6 != 0 { fragmentOffset = fragment & ~7 }
      default: break walk
      }
      next = unsafe bytes[offset]
      offset += length
      // What follows is a later part of another packet's.
      if let fragmentOffset, fragmentOffset > 0 { break walk }
    }
    carried = next
    self.fragmentOffset = fragmentOffset
    carriedOffset = (fragmentOffset ?? 0) == 0 && offset < packet.length ? offset : nil
  }
}
