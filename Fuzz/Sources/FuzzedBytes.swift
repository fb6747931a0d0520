/// An input, read from the front. At its end there are only zeroes, so that every input plays to the end.
struct FuzzedBytes {
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = Array(bytes)
  }

  var isEmpty: Bool { position == bytes.count }

  mutating func byte() -> UInt8 {
    guard !isEmpty else { return 0 }
    position += 1
    return bytes[position - 1]
  }

  mutating func below(_ bound: Int) -> Int {
    bound <= 256 ? Int(byte()) % bound : Int(number(bytes: 2)) % bound
  }

  /// Little-endian.
  mutating func number(bytes count: Int) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(byte()) << UInt64(8 * $1) }
  }

  /// The next bytes, as many as there are up to `count`.
  mutating func take(_ count: Int) -> [UInt8] {
    let end = min(bytes.count, position + count)
    defer { position = end }
    return Array(bytes[position..<end])
  }

  /// All that is left.
  mutating func rest() -> [UInt8] { take(bytes.count) }
}
