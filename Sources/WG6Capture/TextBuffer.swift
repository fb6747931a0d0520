/// Bytes of output that grow by text and numbers.
///
/// Not wiped: what a capture shows is written out at once.
public struct TextBuffer: Sendable {
  public private(set) var bytes: [UInt8] = []

  public init() {}

  public var count: Int { bytes.count }
  public var string: String { String(decoding: bytes, as: UTF8.self) }

  public mutating func append(_ text: String) {
    bytes.append(contentsOf: text.utf8)
  }

  public mutating func append(_ more: [UInt8]) {
    bytes.append(contentsOf: more)
  }

  public mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
  }

  mutating func append(byte: UInt8) {
    bytes.append(byte)
  }

  /// Lower-case, two digits.
  mutating func append(hexadecimal byte: UInt8) {
    for digit in [byte >> 4, byte & 15] {
      bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
    }
  }

  /// `text`, and blanks behind it up to `width` characters.
  mutating func append(_ text: String, width: Int) {
    append(text)
    for _ in 0..<max(0, width - text.count) { bytes.append(UInt8(ascii: " ")) }
  }
}
