import Foundation
import Testing
import WG6Crypto

@testable import WG6Tunnel

@Suite struct `A file that gets another text` {
  private func text(_ text: String) -> WipedBytes {
    var bytes = WipedBytes()
    bytes.append(text)
    return bytes
  }

  @Test(arguments: ["short", "a text that is longer than the one before"])
  func `has it whole, in place or as another file, and leaves nothing beside it`(new: String) throws {
    try withDirectory { directory in
      let path = "\(directory)/wg0.conf"
      let replacement = FileReplacement(path: path, otherDirectory: directory)
      func contents() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }
      func number() throws -> Int? { try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber] as? Int }
      try Data("the text before\n".utf8).write(to: URL(fileURLWithPath: path))
      let first = try number()
      try replacement.writeInPlace(text(new))
      #expect(try contents() == new && number() == first)
      try replacement.write(text("another"))
      #expect(try contents() == "another" && number() != first)
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["wg0.conf"])
    }
  }

  @Test func `is not written in place without a backup`() throws {
    try withDirectory { directory in
      let path = "\(directory)/wg0.conf"
      try Data("before".utf8).write(to: URL(fileURLWithPath: path))
      // What is in the way there can't be removed.
      for name in FileReplacement(path: path, otherDirectory: "\(directory)/other").backups {
        try FileManager.default.createDirectory(atPath: "\(name)/x", withIntermediateDirectories: true)
      }
      let replacement = FileReplacement(path: path, otherDirectory: "\(directory)/other")
      #expect(throws: TunnelError.self) { try replacement.writeInPlace(text("after")) }
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "before")
    }
  }
}
