import WG6Crypto
import WG6Protocol

/// A few characters on the stack: an address, an endpoint, a number, on their way to a `WipedBytes` or a `String`.
struct ShortText {
  /// The longest text is a bracketed IPv6 endpoint with a zone: 39 + 1 + 10 + 2 + 6 characters.
  private var bytes = InlineArray<64, UInt8>(repeating: 0)
  private(set) var count = 0

  mutating func append(_ byte: UInt8) {
    bytes[count] = byte
    count += 1
  }

  mutating func append(decimal value: UInt64) {
    var divisor: UInt64 = 1
    while value / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
      divisor /= 10
    }
  }

  /// Lower-case digits without leading zeroes.
  mutating func append(hexadecimal value: UInt16) {
    var shift: UInt16 = 12
    while shift > 0, value >> shift == 0 { shift -= 4 }
    while true {
      let digit = UInt8(truncatingIfNeeded: value >> shift & 15)
      append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      if shift == 0 { return }
      shift -= 4
    }
  }

  subscript(index: Int) -> UInt8 { bytes[index] }

  var string: String {
    unsafe String(unsafeUninitializedCapacity: count) { buffer in
      for index in 0..<count { unsafe buffer[index] = bytes[index] }
      return count
    }
  }
}

extension WipedBytes {
  mutating func append(_ text: ShortText) {
    for index in 0..<text.count { append(text[index]) }
  }

  mutating func append(decimal value: UInt64) {
    var text = ShortText()
    text.append(decimal: value)
    append(text)
  }
}

/// Addresses into text that is wiped, without a `String` between.
extension WipedBytes {
  public mutating func append(_ address: IPAddress) {
    var text = ShortText()
    address.write(to: &text)
    append(text)
  }

  public mutating func append(_ prefix: IPPrefix) {
    var text = ShortText()
    prefix.write(to: &text)
    append(text)
  }

  public mutating func append(number value: some UnsignedInteger) {
    append(decimal: UInt64(value))
  }

  /// The 44 characters of a key in base64.
  public mutating func append(base64 key: RawSpan) {
    KeyBase64.encode(key) { append($0) }
  }
}
