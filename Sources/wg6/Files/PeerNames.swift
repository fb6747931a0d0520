import WG6Config
import WG6Crypto

/// What peers are called where a line has no room for a key.
struct PeerNames {
  private let book: AddressBook

  init() throws {
    book = try KnownKeys.forDisplay()
  }

  /// The name in the address book, or the beginning of the key.
  func name(_ key: PublicKey) -> String {
    book.name(of: key) ?? "\(key.base64.prefix(8))…"
  }
}
