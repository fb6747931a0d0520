import CSodium

/// A Curve25519 private key (RFC 7748 §5, clamped), in locked memory, zeroed when the last reference goes.
public final class PrivateKey: Sendable {
  package let secret: Secret

  /// A fresh key from `random`.
  public convenience init(using random: inout some RandomNumberGenerator) {
    self.init(Secret(randomFrom: &random))
  }

  /// The key with these 32 bytes; `nil` for another length. The caller wipes its own copy.
  public convenience init?(bytes: RawSpan) {
    guard bytes.byteCount == Secret.byteCount else { return nil }
    self.init(Secret(copying: bytes))
  }

  /// Takes over `secret` and clamps it.
  package init(_ secret: consuming Secret) {
    unsafe secret.withUnsafeMutableBytes { bytes in
      let bytes = unsafe bytes.assumingMemoryBound(to: UInt8.self)
      unsafe bytes[0] &= 248
      unsafe bytes[31] = (bytes[31] & 127) | 64
    }
    self.secret = secret
  }

  /// The public half. Costs one scalar multiplication each time: keep it.
  public var publicKey: PublicKey {
    X25519.publicKey(of: secret)
  }

  /// The 32 bytes, for as long as `body` runs.
  public func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
    secret.withBytes(body)
  }
}

/// A symmetric key that two peers share beforehand, mixed into the handshake (Noise `psk2`). Zeroed like a private key.
public final class PresharedKey: Sendable {
  package let secret: Secret

  /// A fresh key from `random`.
  public init(using random: inout some RandomNumberGenerator) {
    secret = Secret(randomFrom: &random)
  }

  /// The key with these 32 bytes; `nil` for another length. All zeroes means "no preshared key". The caller wipes its own copy.
  public init?(bytes: RawSpan) {
    guard bytes.byteCount == Secret.byteCount else { return nil }
    secret = Secret(copying: bytes)
  }

  /// Whether this is the all-zero key, which stands for none.
  public var isZero: Bool { secret.isZero }

  /// The 32 bytes, for as long as `body` runs.
  public func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
    secret.withBytes(body)
  }
}

/// A Curve25519 public key: who a peer is. A plain value, fit for printing.
public struct PublicKey: Hashable, Sendable {
  /// The 32 bytes as on the wire.
  public let bytes: InlineArray<32, UInt8>

  public init(_ bytes: InlineArray<32, UInt8>) {
    self.bytes = bytes
  }

  /// The key with these 32 bytes; `nil` for another length.
  public init?(bytes: RawSpan) {
    guard bytes.byteCount == 32 else { return nil }
    self.bytes = InlineArray { bytes.byte(at: $0) }
  }

  public static func == (left: PublicKey, right: PublicKey) -> Bool {
    left.bytes.indices.allSatisfy { left.bytes[$0] == right.bytes[$0] }
  }

  public func hash(into hasher: inout Hasher) {
    left64(0, into: &hasher)
    left64(8, into: &hasher)
  }

  /// Keys are uniformly distributed, and `Hasher` is keyed: half the bytes are enough.
  private func left64(_ offset: Int, into hasher: inout Hasher) {
    var word: UInt64 = 0
    for index in offset..<offset + 8 { word = word << 8 | UInt64(bytes[index]) }
    hasher.combine(word)
  }
}

extension Secret {
  /// Thirty-two bytes from `random`.
  package init(randomFrom random: inout some RandomNumberGenerator) {
    self.init()
    for offset in stride(from: 0, to: Secret.byteCount, by: 8) {
      unsafe storage.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
    }
  }
}

extension RawSpan {
  /// The byte at `offset`, bounds-checked.
  package func byte(at offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < byteCount)
    return unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
  }
}
