/// The four messages on the wire (WireGuard paper §5.4): offsets and lengths, later ones derived from earlier ones.
///
/// All integers are little-endian. The first four bytes are the type and three zero bytes, read as one word.
enum MessageType {
  static let initiation: UInt32 = 1
  static let response: UInt32 = 2
  static let cookieReply: UInt32 = 3
  static let data: UInt32 = 4
}

/// Lengths that the messages are built of, in bytes.
enum FieldLength {
  static let type = 4
  static let index = 4
  static let counter = 8
  static let publicKey = 32
  static let timestamp = 12
  static let mac = 16
  static let cookie = 16
  static let tag = 16
  static let cookieNonce = 24
}

enum InitiationMessage {
  static let sender = FieldLength.type
  static let ephemeral = sender + FieldLength.index
  static let encryptedStatic = ephemeral + FieldLength.publicKey
  static let encryptedTimestamp = encryptedStatic + FieldLength.publicKey + FieldLength.tag
  static let mac1 = encryptedTimestamp + FieldLength.timestamp + FieldLength.tag
  static let mac2 = mac1 + FieldLength.mac
  static let length = mac2 + FieldLength.mac  // 148
}

enum ResponseMessage {
  static let sender = FieldLength.type
  static let receiver = sender + FieldLength.index
  static let ephemeral = receiver + FieldLength.index
  static let encryptedNothing = ephemeral + FieldLength.publicKey
  static let mac1 = encryptedNothing + FieldLength.tag
  static let mac2 = mac1 + FieldLength.mac
  static let length = mac2 + FieldLength.mac  // 92
}

enum CookieReplyMessage {
  static let receiver = FieldLength.type
  static let nonce = receiver + FieldLength.index
  static let encryptedCookie = nonce + FieldLength.cookieNonce
  static let length = encryptedCookie + FieldLength.cookie + FieldLength.tag  // 64
}

public enum DataMessage {
  static let receiver = FieldLength.type
  static let counter = receiver + FieldLength.index
  /// Bytes before the sealed packet.
  public static let header = counter + FieldLength.counter  // 16
  /// Bytes that a message adds to the padded packet; a keepalive is exactly this long.
  public static let overhead = header + FieldLength.tag  // 32
}

/// The longest control message, and so the size of every buffer for one.
public let controlMessageCapacity = InitiationMessage.length

/// A control message ready to be sent, or as it came in: up to 148 bytes, held by value.
public struct ControlMessage: Sendable {
  public var bytes = InlineArray<148, UInt8>(repeating: 0)
  public var count: Int

  /// `count` zero bytes. Precondition: at most 148.
  init(count: Int) {
    precondition(count <= controlMessageCapacity)
    self.count = count
  }

  /// The bytes of a datagram; `nil` where it is too long to be a control message.
  public init?(_ datagram: UnsafeRawBufferPointer) {
    guard datagram.count <= controlMessageCapacity else { return nil }
    count = datagram.count
    unsafe mutate { out in
      if let source = datagram.baseAddress { unsafe out.copyMemory(from: source, byteCount: datagram.count) }
    }
  }

  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    unsafe bytes.span.withUnsafeBytes { unsafe body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
  }

  /// Writes to the message's 148 bytes.
  mutating func mutate(_ body: (UnsafeMutableRawPointer) -> Void) {
    var span = bytes.mutableSpan
    unsafe span.withUnsafeMutableBytes { unsafe body($0.baseAddress!) }
  }

  /// The field of `length` bytes at `offset`, given to `body`. Bounds-checked against the message's end.
  func field<Result: ~Copyable>(_ offset: Int, _ length: Int, _ body: (RawSpan) -> Result) -> Result {
    precondition(offset + length <= count)
    return unsafe body(bytes.span.bytes.extracting(offset..<offset + length))
  }

  func word(at offset: Int) -> UInt32 {
    field(offset, 4) { UInt32(littleEndian: unsafe $0.unsafeLoadUnaligned(as: UInt32.self)) }
  }

  mutating func setWord(_ value: UInt32, at offset: Int) {
    unsafe mutate { unsafe $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self) }
  }
}
