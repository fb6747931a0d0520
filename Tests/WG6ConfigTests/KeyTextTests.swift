import Foundation
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Key text` {
  @Test func `base64 and hexadecimal are Foundation's, both ways`() throws {
    var random = SeededRandom()
    for _ in 0..<2_000 {
      let key = random.publicKey()
      let data = Data((0..<32).map { key.bytes[$0] })
      #expect(key.base64 == data.base64EncodedString(), "seed \(random.seed)")
      #expect(PublicKey(base64: data.base64EncodedString()) == key, "seed \(random.seed)")
      var hex = ""
      KeyHex.encode(key.bytes.span.bytes) { hex.unicodeScalars.append(Unicode.Scalar($0)) }
      #expect(hex == data.map { String(format: "%02x", $0) }.joined(), "seed \(random.seed)")
      for text in [hex, hex.uppercased()] {
        let characters = Array(text.utf8)
        let decoded = try #require(KeyHex.decode(characters.span.bytes) { PublicKey(bytes: $0) })
        #expect(decoded == key, "seed \(random.seed)")
      }
    }
  }

  @Test func `what may be a key, or most of one, is never quoted`() {
    func run(_ counts: Int...) -> String { counts.map { String(repeating: "A", count: $0) }.joined(separator: "?") }
    func quotes(_ text: String) -> Bool { Array(text.utf8).span.bytes.quotable == text }
    for text in [run(31), run(20, 19), run(19, 20), run(31, 8), run(13, 13, 13), run(12, 1, 27)] {
      #expect(quotes(text), "\(text)")
    }
    for text in [run(32), run(44), run(1, 32), run(20, 20), run(31, 9), run(9, 31), run(1, 20, 20, 1), run(3, 10, 31)] {
      #expect(Array(text.utf8).span.bytes.quotable == "(\(text.count) characters that look like a key)")
    }
  }

  @Test func `every one-character slip in base64 is refused or another key`() {
    var random = SeededRandom()
    let key = random.publicKey()
    let text = Array(key.base64.utf8)
    for index in 0..<44 {
      for character in UInt8.min...UInt8.max where character != text[index] {
        var changed = text
        changed[index] = character
        let decoded = KeyBase64.decode(changed.span.bytes) { PublicKey(bytes: $0) } ?? nil
        #expect(decoded != key, "seed \(random.seed), place \(index), character \(character)")
        let data = Data(base64Encoded: String(decoding: changed, as: UTF8.self))
        // Foundation forgives unused bits that are not zero; a key has exactly one text.
        if let decoded {
          #expect(data == Data((0..<32).map { decoded.bytes[$0] }), "seed \(random.seed), place \(index)")
        }
      }
    }
  }

  @Test(arguments: [0, 1, 43, 45, 88]) func `another length than 44 is no key`(length: Int) {
    #expect(PublicKey(base64: String(repeating: "A", count: length)) == nil)
  }

  @Test func `32 zero bytes ask for the key's removal`() {
    let base64 = Array((String(repeating: "A", count: 43) + "=").utf8)
    guard case .remove = KeyChange<PrivateKey>(base64: base64.span.bytes) else { Issue.record("private key"); return }
    guard case .remove = KeyChange<PresharedKey>(base64: base64.span.bytes) else {
      Issue.record("preshared key"); return
    }
  }
}
