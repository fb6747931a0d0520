import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto

struct Pubkey: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Reads a private key and prints its public key.",
    discussion: "  wg6 pubkey < private.key")

  func run() throws {
    let key = try publicKey()
    SecretMemory.wipeStack()
    try say(key.base64)
  }

  /// Of the private key on standard input, which is gone when this returns.
  @inline(never)
  private func publicKey() throws -> PublicKey {
    let text = try KeyText.read(from: STDIN_FILENO)
    let key = text.withBytes { bytes in KeyBase64.decode(bytes) { PrivateKey(bytes: $0) } ?? nil }
    guard let key else { throw KeyText.refusal }
    return key.publicKey
  }
}

/// A key on standard input: 44 characters, and behind them nothing but white space and NUL bytes, as `wg` has it.
private enum KeyText {
  static var refusal: ExitCode { failure("Key is not the correct length or format") }

  static func read(from descriptor: Int32) throws -> WipedBytes {
    var text = WipedBytes()
    var trailing = WipedBytes()
    while true {
      let wanted = KeyBase64.encodedLength - text.count
      let isKey = wanted > 0
      var count = 0
      let fill = { (buffer: UnsafeMutableRawBufferPointer) in
        count = unsafe max(Glibc.read(descriptor, buffer.baseAddress!, buffer.count), 0)
        return count
      }
      if isKey { unsafe text.append(upTo: wanted, fill) } else { unsafe trailing.append(upTo: 4096, fill) }
      if count == 0 { break }
      if !isKey, !trailing.isBlank(nulIncluded: true) {
        throw failure("Trailing characters found after key")
      }
      trailing.removeAll()
    }
    guard text.count == KeyBase64.encodedLength else { throw refusal }
    return text
  }
}
