import WG6Crypto
import WG6Protocol

/// Keys as people and daemons write them; 32 zero bytes stand for "no key" everywhere.
extension KeyChange<PrivateKey> {
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
    self = if !bytes.isAllZero, let key = PrivateKey(bytes: bytes) { .set(key) } else { .remove }
  }
}

extension KeyChange<PresharedKey> {
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
    self = if !bytes.isAllZero, let key = PresharedKey(bytes: bytes) { .set(key) } else { .remove }
  }
}
