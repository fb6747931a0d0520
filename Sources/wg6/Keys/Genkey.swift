import ArgumentParser
import WG6Config
import WG6Crypto

struct Genkey: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a private key and prints it.",
    discussion: """
      The key belongs into the PrivateKey of one machine's configuration and nowhere else:
        umask 077; wg6 genkey > private.key
      """)

  func run() throws {
    warnOfWorldAccessibleOutput()
    var random = SystemRandomNumberGenerator()
    try PrivateKey(using: &random).withBytes { key in
      var line = WipedBytes()
      line.append(base64: key)
      line.append(UInt8(ascii: "\n"))
      return Result { try line.print() }
    }.get()
  }
}
