import TestVectors
import Testing

@testable import WG6Crypto

@Suite struct `BLAKE2s, HMAC and the key derivation` {
  struct KnownAnswer: Decodable {
    let `in`: String
    let key: String
    let out: String
  }

  @Test(.enabled(if: Vectors.present, Comment(rawValue: Vectors.absence)))
  func `every published BLAKE2s vector`() throws {
    let vectors = try Vectors.load("blake2s-kat.json", as: [KnownAnswer].self)
    #expect(vectors.count == 512)
    for vector in vectors {
      let input = bytes(hex: vector.in), key = bytes(hex: vector.key)
      #expect(hash(input, key: key) == vector.out, "input of \(input.count) bytes, key of \(key.count)")
    }
  }

  @Test func `RFC 7693's own example`() {
    #expect(hash(Array("abc".utf8)) == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
  }

  @Test func `feeding input in pieces of any size changes nothing`() {
    var random = SystemRandomNumberGenerator()
    let input = (0..<1000).map { _ in UInt8.random(in: 0...255, using: &random) }
    let whole = hash(input)
    for piece in [1, 7, 31, 63, 64, 65, 127, 128, 500] {
      var state = BLAKE2s()
      for start in stride(from: 0, to: input.count, by: piece) {
        state.update(Array(input[start..<min(start + piece, input.count)]).span.bytes)
      }
      #expect(hex(state.digest()) == whole, "pieces of \(piece)")
    }
  }

  /// Values computed with Python's hmac and hashlib.blake2s, which nobody here wrote.
  @Test func `HMAC and HKDF agree with another implementation`() {
    let key = Secret(copying: bytes(hex: String(repeating: "0b", count: 32)).span.bytes)
    let input = Array("Hi There".utf8)
    let derived = KDF.derive3(key, input.span.bytes)
    let texts = [text(derived.first), text(derived.second), text(derived.third)]
    #expect(texts == [HashTestsExpected.first, HashTestsExpected.second, HashTestsExpected.third])
    let single = KDF.derive1(key, input.span.bytes)
    let pair = KDF.derive2(key, input.span.bytes)
    let shorter = [text(single), text(pair.first), text(pair.second)]
    #expect(shorter == [HashTestsExpected.first, HashTestsExpected.first, HashTestsExpected.second])
  }

  private func text(_ secret: borrowing Secret) -> String {
    secret.withBytes { hex($0.array) }
  }

  private func hash(_ input: [UInt8], key: [UInt8] = []) -> String {
    var state = key.isEmpty ? BLAKE2s() : BLAKE2s(key: key.span.bytes)
    state.update(input.span.bytes)
    return hex(state.digest())
  }
}

private enum HashTestsExpected {
  static let first = "94fb0b9525c196b8367ab031632ef8fc9ba5f0a25dacc9787878cd0d020d2b26"
  static let second = "3af1cb33611bc2a2bb97528c38382072dd8d6ef463ade7b3f38fb826efaca31a"
  static let third = "b27e592ef8204d8484e1db51ab1a4fca63bb4f919f42566f844c221392a82c66"
}
