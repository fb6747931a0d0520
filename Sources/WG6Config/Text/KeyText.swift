import WG6Crypto
import WG6Protocol

/// A secret key that text can hold: a private or a preshared one.
public protocol SecretKey: Sendable {
  /// The key with these 32 bytes; `nil` for another length.
  init?(bytes: RawSpan)
}

extension PrivateKey: SecretKey {}
extension PresharedKey: SecretKey {}

/// Keys as people and daemons write them; 32 zero bytes stand for "no key" everywhere.
extension KeyChange where Key: SecretKey {
  /// What 44 characters of base64 ask for; `nil` where they are none.
  public init?(base64 text: RawSpan) {
    guard let change = KeyBase64.decode(text, KeyChange.init(bytes:)) else { return nil }
    self = change
  }

  /// What 64 hexadecimal digits ask for; `nil` where they are none.
  init?(hexadecimal text: RawSpan) {
    guard let change = KeyHex.decode(text, KeyChange.init(bytes:)) else { return nil }
    self = change
  }

  private init(bytes: RawSpan) {
    self = if !bytes.isAllZero, let key = Key(bytes: bytes) { .set(key) } else { .remove }
  }
}
