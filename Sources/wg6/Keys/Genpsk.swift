import ArgumentParser
import WG6Config
import WG6Crypto

struct Genpsk: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a preshared key and prints it.",
    discussion: """
      Both peers get the same one, by another way than the tunnel:
        umask 077; wg6 genpsk > preshared.key
      """)

  func run() throws {
    warnOfWorldAccessibleOutput()
    var random = SystemRandomNumberGenerator()
    try PresharedKey(using: &random).withBytes { key in
      var line = WipedBytes()
      line.append(base64: key)
      line.append(UInt8(ascii: "\n"))
      return Result { try line.print() }
    }.get()
  }
}
