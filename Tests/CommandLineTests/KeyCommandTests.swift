import Foundation
import Testing

@Suite(.enabled(if: Programs.canCompareKeys, Programs.keysAbsence))
struct `Key commands against wg's` {
  @Test func `pubkey takes and refuses the same input in the same words`() throws {
    for _ in 0..<20 {
      let key = try run(Programs.wg6, ["genkey"]).output
      #expect(key.utf8.count == 45)
      try compare(["pubkey"], input: key)
    }
    let key = try keyPair().private
    let stem = String(key.dropLast())
    let inputs = [
      "", "\n", "abc", stem, key, "\(key)\n", "\(key)\r\n \t\u{0B}\u{0C}\n", "\(key)\0\0\n", "\(key)x", "\(key)\nx",
      "\(key) =", "\(key)\(key)",
      "\(key)\n\(key)\n", " \(key)", "\n\(key)", "\(stem.dropLast())A=", "\(stem.dropLast())!=", "\(stem)A",
      "\(stem.dropFirst())==", "====",
      String(repeating: "=", count: 44), String(repeating: "A", count: 44), String(repeating: "A", count: 43) + "=",
      String(repeating: "/", count: 43) + "=", String(repeating: "/", count: 42) + "8=",
      String(repeating: "-", count: 43) + "=",
      String(repeating: "0", count: 64), "\0" + stem, "\(key)" + String(repeating: " ", count: 100_000),
      "\(key)" + String(repeating: "\n", count: 100_000) + "x", String(repeating: "x", count: 100_000),
    ]
    for input in inputs { try compare(["pubkey"], input: input) }
  }

  @Test func `genkey and genpsk print keys that wg takes, each another one`() throws {
    var keys: Set<String> = []
    for _ in 0..<20 {
      let key = try run(Programs.wg6, ["genkey"])
      #expect(key.status == 0 && key.errors.isEmpty)
      let bytes = try #require(Data(base64Encoded: key.output.trimmingCharacters(in: .newlines)))
      #expect(bytes.count == 32 && bytes[0] & 7 == 0 && bytes[31] & 0xC0 == 0x40)
      let secret = try run(Programs.wg6, ["genpsk"])
      #expect(Data(base64Encoded: secret.output.trimmingCharacters(in: .newlines))?.count == 32)
      keys.formUnion([key.output, secret.output])
    }
    #expect(keys.count == 40)
  }

  @Test(arguments: ["genkey", "genpsk"], [0o600, 0o640, 0o604, 0o666])
  func `a world-accessible file gets wg's warning, another none`(command: String, mode: Int) throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("wg6-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    _ = FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: mode])
    let file = try #require(FileHandle(forWritingAtPath: path))
    let theirs = try run(Programs.wg!, [command], output: file)
    let ours = try run(Programs.wg6, [command], output: file)
    // One line of ours: a message is one.
    #expect(ours.errors == theirs.inOurStyle.errors.replacingOccurrences(of: ".\nwg6: ", with: ". "))
    #expect(ours.errors.isEmpty == (mode & 0o007 == 0))
  }

  @Test(arguments: [
    ["genkey", "x"], ["genpsk", "x", "y"], ["pubkey", "x"], ["showconf"], ["showconf", "a", "b"], ["set"],
    ["set", "a"], ["setconf"],
    ["setconf", "a"], ["addconf", "a", "b", "c"], ["syncconf"], ["show", "a", "b", "c"], ["show", "interfaces", "b"],
  ])
  func `misuse gets wg's usage line and status`(arguments: [String]) throws {
    try compare(arguments)
  }

  @Test(arguments: ["genkey", "genpsk"]) func `a full disk is no success`(command: String) throws {
    #expect(try run(Programs.wg6, [command], output: FileHandle(forWritingAtPath: "/dev/full")).status == 1)
  }

  private func compare(_ arguments: [String], input: String = "") throws {
    let theirs = try run(Programs.wg!, arguments, input: Data(input.utf8)).inOurStyle
    let ours = try run(Programs.wg6, arguments, input: Data(input.utf8))
    #expect(ours == theirs, "\(arguments) with \(input.prefix(100).debugDescription)")
  }
}
