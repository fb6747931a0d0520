import WG6Crypto

/// Sixteen bytes of keyed BLAKE2s: what mac1, mac2 and cookies are.
typealias Mac = InlineArray<16, UInt8>

/// The two keys that everyone who knows a public key can make (WireGuard paper §5.4.4, §5.4.7): one proves that the
/// sender knows whom it talks to, the other seals cookies.
struct MacKeys {
  let mac1: Digest
  let cookie: Digest

  init(of publicKey: PublicKey) {
    mac1 = MacKeys.hash("mac1----", publicKey)
    cookie = MacKeys.hash("cookie--", publicKey)
  }

  private static func hash(_ label: StaticString, _ publicKey: PublicKey) -> Digest {
    let label = unsafe UnsafeRawBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount)
    return unsafe BLAKE2s.hash(label.bytes, publicKey.bytes.span.bytes)
  }

  /// The mac of the first `length` bytes of `message`.
  static func mac(of message: ControlMessage, length: Int, key: RawSpan) -> Mac {
    var hash = BLAKE2s(key: key, outputLength: FieldLength.mac)
    message.field(0, length) { hash.update($0) }
    let digest = hash.digest()
    return Mac { digest[$0] }
  }
}

extension ControlMessage {
  /// Where mac1 stands in an initiation or a response; mac2 follows it and ends the message.
  var mac1Offset: Int { count - 2 * FieldLength.mac }
  var mac2Offset: Int { count - FieldLength.mac }

  /// Whether there is a mac2 at all: sixteen zero bytes stand for none.
  var hasMac2: Bool { (mac2Offset..<count).contains { bytes[$0] != 0 } }

  /// Whether the mac at `offset` is that of everything before it under `key`. Tells nothing by its time.
  func hasMac(at offset: Int, key: RawSpan) -> Bool {
    let expected = MacKeys.mac(of: self, length: offset, key: key)
    return field(offset, FieldLength.mac) { unsafe equalInConstantTime($0, expected.span.bytes) }
  }

  mutating func setMac(_ mac: Mac, at offset: Int) {
    unsafe mutate { unsafe $0.storeBytes(of: mac, toByteOffset: offset, as: Mac.self) }
  }
}
