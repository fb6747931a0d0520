/// Base64 (RFC 4648 §4) of keys: exactly 44 characters for 32 bytes, encoded and decoded in constant time, because the
/// key may be a private one.
public enum KeyBase64 {
  /// Characters of an encoded key, the trailing `=` included.
  public static let encodedLength = 44

  /// Writes the 44 characters of `key` through `emit`, one by one. Precondition: 32 bytes.
  public static func encode(_ key: RawSpan, emit: (UInt8) -> Void) {
    precondition(key.byteCount == 32)
    for offset in stride(from: 0, to: 30, by: 3) {
      let word =
        UInt32(key.byte(at: offset)) << 16 | UInt32(key.byte(at: offset + 1)) << 8 | UInt32(key.byte(at: offset + 2))
      for shift in stride(from: 18, through: 0, by: -6) { emit(character(word >> shift & 63)) }
    }
    let word = UInt32(key.byte(at: 30)) << 16 | UInt32(key.byte(at: 31)) << 8
    for shift in stride(from: 18, through: 6, by: -6) { emit(character(word >> shift & 63)) }
    emit(UInt8(ascii: "="))
  }

  /// Decodes the 44 characters of `text` into 32 bytes given to `body`, wiping them afterwards; `nil` where the length,
  /// a character, the padding or the two unused bits are wrong.
  public static func decode<Result>(_ text: RawSpan, _ body: (RawSpan) -> Result) -> Result? {
    guard text.byteCount == encodedLength, text.byte(at: 43) == UInt8(ascii: "=") else { return nil }
    let key = Secret()
    var invalid: Int32 = 0
    unsafe key.withUnsafeMutableBytes { out in
      for group in 0..<11 {
        var word: Int32 = 0
        for position in 0..<4 {
          let index = group * 4 + position
          // The padding stands for six zero bits.
          let value = index == 43 ? 0 : value(Int32(text.byte(at: index)))
          invalid |= value
          word = word << 6 | (value & 63)
        }
        unsafe out.storeBytes(of: UInt8(truncatingIfNeeded: word >> 16), toByteOffset: group * 3, as: UInt8.self)
        unsafe out.storeBytes(of: UInt8(truncatingIfNeeded: word >> 8), toByteOffset: group * 3 + 1, as: UInt8.self)
        if group < 10 {
          unsafe out.storeBytes(of: UInt8(truncatingIfNeeded: word), toByteOffset: group * 3 + 2, as: UInt8.self)
        } else {
          // The last character carries four bits; the two below them must be zero.
          invalid |= -(word & 0xC0)
        }
      }
    }
    guard invalid >= 0 else { return nil }
    return key.withBytes(body)
  }

  /// The character of six bits, without a table look-up that a cache could tell about.
  private static func character(_ bits: UInt32) -> UInt8 {
    let v = Int32(bits)
    var c = v + 65
    c += ((25 - v) >> 8) & 6
    c -= ((51 - v) >> 8) & 75
    c -= ((61 - v) >> 8) & 15
    c += ((62 - v) >> 8) & 3
    return UInt8(truncatingIfNeeded: c)
  }

  /// The six bits of a character, negative where it is none of the alphabet's.
  private static func value(_ c: Int32) -> Int32 {
    func within(_ low: UInt8, _ high: UInt8) -> Int32 { (((Int32(low) - 1) - c) & (c - (Int32(high) + 1))) >> 8 }
    var v: Int32 = -1
    v += within(UInt8(ascii: "A"), UInt8(ascii: "Z")) & (c - 64)
    v += within(UInt8(ascii: "a"), UInt8(ascii: "z")) & (c - 70)
    v += within(UInt8(ascii: "0"), UInt8(ascii: "9")) & (c + 5)
    v += within(UInt8(ascii: "+"), UInt8(ascii: "+")) & 63
    v += within(UInt8(ascii: "/"), UInt8(ascii: "/")) & 64
    return v
  }
}

/// Lower-case hexadecimal of keys, as the control socket writes them: 64 digits for 32 bytes, in constant time.
public enum KeyHex {
  /// Digits of an encoded key.
  public static let encodedLength = 64

  /// Writes the 64 digits of `key` through `emit`. Precondition: 32 bytes.
  public static func encode(_ key: RawSpan, emit: (UInt8) -> Void) {
    precondition(key.byteCount == 32)
    for offset in 0..<32 {
      emit(digit(Int32(key.byte(at: offset) >> 4)))
      emit(digit(Int32(key.byte(at: offset) & 15)))
    }
  }

  /// Decodes 64 digits of either case into 32 bytes given to `body`, wiping them afterwards; `nil` where the length or a
  /// digit is wrong.
  public static func decode<Result>(_ text: RawSpan, _ body: (RawSpan) -> Result) -> Result? {
    guard text.byteCount == encodedLength else { return nil }
    let key = Secret()
    var invalid: Int32 = 0
    unsafe key.withUnsafeMutableBytes { out in
      for offset in 0..<32 {
        let high = value(Int32(text.byte(at: offset * 2)))
        let low = value(Int32(text.byte(at: offset * 2 + 1)))
        invalid |= high | low
        unsafe out.storeBytes(of: UInt8(truncatingIfNeeded: high << 4 | low & 15), toByteOffset: offset, as: UInt8.self)
      }
    }
    guard invalid >= 0 else { return nil }
    return key.withBytes(body)
  }

  private static func digit(_ v: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: v + 48 + (((9 - v) >> 8) & 39))
  }

  private static func value(_ c: Int32) -> Int32 {
    func within(_ low: UInt8, _ high: UInt8) -> Int32 { (((Int32(low) - 1) - c) & (c - (Int32(high) + 1))) >> 8 }
    var v: Int32 = -1
    v += within(UInt8(ascii: "0"), UInt8(ascii: "9")) & (c - 47)
    v += within(UInt8(ascii: "a"), UInt8(ascii: "f")) & (c - 86)
    v += within(UInt8(ascii: "A"), UInt8(ascii: "F")) & (c - 54)
    return v
  }
}

extension PublicKey {
  /// The key in base64, as people write it.
  public var base64: String {
    unsafe String(unsafeUninitializedCapacity: KeyBase64.encodedLength) { buffer in
      var count = 0
      unsafe KeyBase64.encode(bytes.span.bytes) { character in
        unsafe buffer[count] = character
        count += 1
      }
      return count
    }
  }

  /// The key that `text` spells in base64; `nil` where it spells none.
  public init?(base64 text: some StringProtocol) {
    let characters = Array(text.utf8)
    guard let key = unsafe KeyBase64.decode(characters.span.bytes, { PublicKey(bytes: $0) }) ?? nil else { return nil }
    self = key
  }
}

extension PublicKey: CustomStringConvertible {
  public var description: String { base64 }
}
