import ArgumentParser
import WG6Config
import WG6Crypto

/// A peer as people name it: `@name` of the address book, or a public key.
enum PeerWord {
  static func key(_ word: String) throws -> PublicKey {
    if word.hasPrefix("@") {
      try KnownKeys.check()
      do {
        if let key = try KnownKeys.read()?.publicKey(named: String(word.dropFirst())) { return key }
      } catch {
        throw failure(error)
      }
      throw failure("the address book \(KnownKeys.path) has no '\(word.dropFirst())'")
    }
    guard let key = PublicKey(base64: word) else {
      throw failure("Key is not the correct length or format: '\(word)'")
    }
    return key
  }
}
