import Foundation
import WG6Config
import WG6Crypto
import WG6Protocol

@testable import WG6Tunnel

/// A configuration file as `up` reads it.
func configuration(_ text: String) throws -> ConfigurationFile {
  try ConfigurationFile(reading: Array(text.utf8).span.bytes, named: "test.conf", dialect: .quick)
}

func prefix(_ text: String) -> IPPrefix { IPPrefix(text)! }
func address(_ text: String) -> IPAddress { IPAddress(text)! }

/// A peer's public key, a different one for each number.
func peerKey(_ number: UInt8) -> PublicKey {
  var bytes = [UInt8](repeating: 0, count: 32)
  bytes[0] = 9
  bytes[1] = number
  return PublicKey(bytes: bytes.span.bytes)!
}

let ownKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

/// Does `body` with a directory of its own.
func withDirectory(_ body: (String) throws -> Void) throws {
  let directory = FileManager.default.temporaryDirectory.appending(path: "wg6-tunnel-\(UUID())").path
  try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try body(directory)
}
