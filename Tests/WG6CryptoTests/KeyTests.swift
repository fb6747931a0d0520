import TestVectors
import Testing

@testable import WG6Crypto

@Suite struct `Keys` {
  @Test func `RFC 7748's Diffie–Hellman example`() {
    let alice = PrivateKey(hex: "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    // Already but for the clamping bits, which scalar multiplication ignores.
    #expect(
      hex(alice.publicKey.bytes) == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    let bob = PublicKey(hex: "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    let shared = X25519.sharedSecret(alice.secret, bob)?.withBytes { hex($0.array) }
    #expect(shared == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
  }

  @Test func `a private key is clamped`() {
    let key = PrivateKey(hex: String(repeating: "ff", count: 32))
    let clamped = key.withBytes { $0.array }
    #expect(clamped.first == 0xF8)
    #expect(clamped.last == 0x7F)
  }

  @Test(arguments: 0..<200) func `base64 and hex survive the round trip`(round: Int) {
    var random = SystemRandomNumberGenerator()
    let key = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
    var text: [UInt8] = []
    KeyBase64.encode(key.span.bytes) { text.append($0) }
    let decoded = KeyBase64.decode(text.span.bytes) { $0.array }
    #expect(decoded == key)
    var digits: [UInt8] = []
    KeyHex.encode(key.span.bytes) { digits.append($0) }
    #expect(String(decoding: digits, as: UTF8.self) == hex(key))
    let undigited = KeyHex.decode(digits.span.bytes) { $0.array }
    #expect(undigited == key)
  }

  @Test(arguments: [
    "", "=", String(repeating: "A", count: 44), String(repeating: "A", count: 42) + "=",
    // The two bits below the last byte are set.
    String(repeating: "A", count: 42) + "B=", String(repeating: "A", count: 42) + "D=",
    String(repeating: "A", count: 41) + "*A=", String(repeating: "A", count: 41) + "==A",
    String(repeating: "A", count: 43) + "=A", "é" + String(repeating: "A", count: 41) + "=",
  ])
  func `base64 that is no key is refused`(text: String) {
    #expect(PublicKey(base64: text) == nil)
  }

  @Test func `a secret's bytes are gone when it ends`() {
    let address: UnsafeMutableRawPointer
    do {
      let secret = Secret(copying: [UInt8](repeating: 0x5A, count: 32).span.bytes)
      address = secret.withUnsafeMutableBytes { $0 }
      let isZero = secret.isZero
      #expect(!isZero)
      _ = consume secret
    }
    // Slabs are never unmapped, so looking back is allowed here, and only here; another test may hold the place by now.
    #expect(!UnsafeRawBufferPointer(start: address, count: 32).allSatisfy { $0 == 0x5A })
  }
}
