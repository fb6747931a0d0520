import ArgumentParser
import Glibc
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

/// `wg`'s warning, for a key that is about to be written where everybody can read it.
func warnOfWorldAccessibleOutput() {
  var status = stat()
  guard unsafe fstat(STDOUT_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_mode & S_IRWXO != 0
  else {
    return
  }
  warn("writing to world accessible file. Consider setting the umask to 077 and trying again.")
}
