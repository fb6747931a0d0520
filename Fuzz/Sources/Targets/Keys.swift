import WG6Config
import WG6Crypto
import WG6Protocol

extension FuzzTarget {
  /// The constant-time codecs of keys against naive ones. The input is a text, and, where it is long enough, a key.
  static let keys = FuzzTarget("keys") { input in
    var input = input
    let bytes = input.rest()
    decode(bytes)
    if bytes.count >= 32 { encode(Array(bytes.prefix(32))) }
  }

  private static func decode(_ text: [UInt8]) {
    let base64 = KeyBase64.decode(text.span.bytes) { $0.array }
    claim(base64 == NaiveCodec.decodeBase64(text), "base64 of \(text) is \(String(describing: base64))")
    if let base64 { claim(encoded(base64, KeyBase64.encode) == text, "\(text) is the only base64 of its key") }

    let hex = KeyHex.decode(text.span.bytes) { $0.array }
    claim(hex == NaiveCodec.decodeHex(text), "hexadecimal of \(text) is \(String(describing: hex))")
    if let hex {
      let lowered = text.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
      claim(encoded(hex, KeyHex.encode) == lowered, "\(text) comes back in lower case")
    }

    switch (base64, KeyChange<PresharedKey>(base64: text.span.bytes)) {
    case (nil, nil): break
    case (let key?, .remove?): claim(key.allSatisfy { $0 == 0 }, "only the zero key removes")
    case (let key?, .set(let change)?): claim(change.withBytes { $0.array } == key, "the key that was spelled is set")
    default: claim(false, "a key is one for both: \(text)")
    }
  }

  private static func encode(_ key: [UInt8]) {
    let base64 = encoded(key, KeyBase64.encode)
    claim(base64 == NaiveCodec.encodeBase64(key), "base64 of the key \(key)")
    claim(KeyBase64.decode(base64.span.bytes) { $0.array } == key, "the key \(key) survives base64")
    let hex = encoded(key, KeyHex.encode)
    claim(hex == NaiveCodec.encodeHex(key), "hexadecimal of the key \(key)")
    claim(KeyHex.decode(hex.span.bytes) { $0.array } == key, "the key \(key) survives hexadecimal")
  }

  private static func encoded(_ key: [UInt8], _ encode: (RawSpan, (UInt8) -> Void) -> Void) -> [UInt8] {
    var text: [UInt8] = []
    encode(key.span.bytes) { text.append($0) }
    return text
  }
}

extension RawSpan {
  var array: [UInt8] { withUnsafeBytes { Array($0) } }
}

/// Base64 and hexadecimal as a textbook has them: slow, obvious, and with tables.
private enum NaiveCodec {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let digits = Array("0123456789abcdef".utf8)

  static func encodeBase64(_ key: [UInt8]) -> [UInt8] {
    var bits = key.flatMap { byte in (0..<8).map { byte >> (7 - $0) & 1 } }
    while bits.count % 6 != 0 { bits.append(0) }
    let characters = stride(from: 0, to: bits.count, by: 6).map { start in
      alphabet[bits[start..<start + 6].reduce(0) { $0 << 1 | Int($1) }]
    }
    return characters + [UInt8(ascii: "=")]
  }

  static func decodeBase64(_ text: [UInt8]) -> [UInt8]? {
    guard text.count == 44, text.last == UInt8(ascii: "=") else { return nil }
    let values = text.dropLast().compactMap { alphabet.firstIndex(of: $0) }
    guard values.count == 43 else { return nil }
    let bits = values.flatMap { value in (0..<6).map { value >> (5 - $0) & 1 } }
    guard bits[256...].allSatisfy({ $0 == 0 }) else { return nil }
    return stride(from: 0, to: 256, by: 8).map { start in UInt8(bits[start..<start + 8].reduce(0) { $0 << 1 | $1 }) }
  }

  static func encodeHex(_ key: [UInt8]) -> [UInt8] { key.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] } }

  static func decodeHex(_ text: [UInt8]) -> [UInt8]? {
    guard text.count == 64 else { return nil }
    let values = text.compactMap { character in
      digits.firstIndex { $0 == character || character != $0 && character | 0x20 == $0 && character >= 0x41 }
    }
    guard values.count == 64 else { return nil }
    return (0..<32).map { UInt8(values[$0 * 2] << 4 | values[$0 * 2 + 1]) }
  }
}
