import TestVectors
import Testing

@testable import WG6Crypto

@Suite(.enabled(if: Vectors.present, Comment(rawValue: Vectors.absence)))
struct `Project Wycheproof` {
  struct Exchange: Decodable {
    let tcId: Int
    let `public`: String
    let `private`: String
    let shared: String
    let result: String
  }

  struct Sealed: Decodable {
    let tcId: Int
    let key: String
    let iv: String
    let aad: String
    let msg: String
    let ct: String
    let tag: String
    let result: String
  }

  @Test func `every X25519 vector, the all-zero results refused`() throws {
    var count = 0
    for test in try Vectors.load("wycheproof-x25519.json", as: Wycheproof<Exchange>.self).testGroups.flatMap(\.tests) {
      let secret = Secret(copying: bytes(hex: test.private).span.bytes)
      let point = PublicKey(hex: test.public)
      let expected = bytes(hex: test.shared)
      let shared = X25519.sharedSecret(secret, point)?.withBytes { $0.array }
      #expect(shared == (expected.allSatisfy { $0 == 0 } ? nil : expected), "test \(test.tcId)")
      count += 1
    }
    #expect(count == 518)
  }

  @Test func `every ChaCha20-Poly1305 vector with a nonce of ours`() throws {
    var count = 0, others = 0
    for test in try Vectors.load("wycheproof-chacha20_poly1305.json", as: Wycheproof<Sealed>.self).testGroups
      .flatMap(\.tests)
    {
      let nonce = bytes(hex: test.iv)
      // WireGuard's nonces are 12 bytes of which the first four are zero; the rest of the vectors go to the primitive.
      guard nonce.count == 12 else {
        #expect(test.result == "invalid")
        others += 1
        continue
      }
      let outcome = Primitive.open(
        bytes(hex: test.ct + test.tag), nonce: nonce, key: bytes(hex: test.key), data: bytes(hex: test.aad))
      #expect(outcome == (test.result == "valid" ? bytes(hex: test.msg) : nil), "test \(test.tcId)")
      if nonce.prefix(4).allSatisfy({ $0 == 0 }) { checkOurForm(test, nonce: nonce) }
      count += 1
    }
    #expect(count + others == 325)
  }

  @Test func `every XChaCha20-Poly1305 vector`() throws {
    var count = 0, others = 0
    for test in try Vectors.load("wycheproof-xchacha20_poly1305.json", as: Wycheproof<Sealed>.self).testGroups
      .flatMap(\.tests)
    {
      let nonce = bytes(hex: test.iv), key = bytes(hex: test.key), data = bytes(hex: test.aad)
      guard nonce.count == XChaCha20Poly1305.nonceLength else {
        #expect(test.result == "invalid")
        others += 1
        continue
      }
      let box = bytes(hex: test.ct + test.tag), text = bytes(hex: test.msg)
      let opened = output(box.count - 16) { out in
        XChaCha20Poly1305.open(
          box.span.bytes, into: out, nonce: nonce.span.bytes, key: key.span.bytes, authenticating: data.span.bytes)
      }
      #expect(opened == (test.result == "valid" ? text : nil), "test \(test.tcId)")
      if test.result == "valid" {
        let sealed = output(text.count + 16) { out in
          XChaCha20Poly1305.seal(
            text.span.bytes, into: out, nonce: nonce.span.bytes, key: key.span.bytes, authenticating: data.span.bytes)
          return true
        }
        #expect(sealed == box, "test \(test.tcId)")
      }
      count += 1
    }
    #expect(count + others == 315)
  }

  /// The vector through the forms that the engine uses: by counter, in place and not.
  private func checkOurForm(_ test: Sealed, nonce: [UInt8]) {
    let counter = nonce[4...].enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << UInt64(8 * $1.offset) }
    let key = Secret(copying: bytes(hex: test.key).span.bytes)
    let text = bytes(hex: test.msg), box = bytes(hex: test.ct + test.tag), data = bytes(hex: test.aad)
    let opened = output(box.count - 16) {
      ChaCha20Poly1305.open(box.span.bytes, into: $0, counter: counter, key: key, authenticating: data.span.bytes)
    }
    #expect(opened == (test.result == "valid" ? text : nil), "test \(test.tcId)")
    guard test.result == "valid" else { return }
    let sealed = output(text.count + 16) {
      ChaCha20Poly1305.seal(text.span.bytes, into: $0, counter: counter, key: key, authenticating: data.span.bytes)
      return true
    }
    #expect(sealed == box, "test \(test.tcId)")
  }
}

/// `count` bytes that `fill` writes, or `nil` where it says no.
func output(_ count: Int, _ fill: (UnsafeMutableRawPointer) -> Bool) -> [UInt8]? {
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 16)
  defer { buffer.deallocate() }
  return fill(buffer.baseAddress!) ? Array(buffer.prefix(count)) : nil
}
