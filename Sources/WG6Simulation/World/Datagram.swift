import WG6Protocol

/// A datagram on the wire, as an eavesdropper sees it.
public struct Datagram: Sendable {
  public let sentAt: Nanoseconds
  public var source: Endpoint
  public var destination: Endpoint
  public var bytes: [UInt8]

  public init(sentAt: Nanoseconds, source: Endpoint, destination: Endpoint, bytes: [UInt8]) {
    self.sentAt = sentAt
    self.source = source
    self.destination = destination
    self.bytes = bytes
  }

  /// 1 to 4, as the first byte says.
  public var type: UInt8 { bytes.first ?? 0 }

  /// The index that the message's receiver gave out; of a response, a cookie reply or data.
  public var receiverIndex: UInt32? {
    switch (type, bytes.count) {
    case (2, 92): word(at: 8)
    case (3, 64): word(at: 4)
    case (4, 32...): word(at: 4)
    default: nil
    }
  }

  /// The index that the message's sender gives out; of an initiation or a response.
  public var senderIndex: UInt32? {
    switch (type, bytes.count) {
    case (1, 148), (2, 92): word(at: 4)
    default: nil
    }
  }

  /// Of data.
  public var counter: UInt64? {
    guard type == 4, bytes.count >= 32 else { return nil }
    return UInt64(word(at: 8)) | UInt64(word(at: 12)) << 32
  }

  /// Whether it carries a packet, and is not a mere keepalive.
  public var carriesPacket: Bool { type == 4 && bytes.count > 32 }

  private func word(at offset: Int) -> UInt32 {
    UInt32(bytes[offset]) | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2]) << 16
      | UInt32(bytes[offset + 3]) << 24
  }
}
