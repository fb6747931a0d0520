import Foundation
import Testing

/// `wg6 capture` and `wg6 keylog`: words, rights and files. What they show is the scenario `capture`'s.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices, "needs root, wg, ip and /dev/net/tun"))
struct `Captures and key logs` {
  private static let timeout = "/usr/bin/timeout"

  /// A command that is interrupted after half a second, as with Ctrl-C.
  private func briefly(_ space: Namespace, _ words: [String]) throws -> Outcome {
    try space.inside(Self.timeout, ["--preserve-status", "-s", "INT", "0.7", Programs.wg6] + words)
  }

  private func mode(_ path: String) throws -> Int {
    try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
  }

  @Test func `end well at Ctrl-C, and say what there was`() throws {
    let space = try Namespace()
    let own = space.interface
    #expect(
      try briefly(space, ["capture", own])
        == Outcome(status: 0, output: "", errors: "\(own): capturing until Ctrl-C\n\(own): 0 packets, 0 missed\n"))
    let keys = try briefly(space, ["keylog", own])
    #expect(keys.status == 0 && keys.errors == "\(own): writing down keys until Ctrl-C\n", "\(keys)")
  }

  @Test func `ask for keys by their full name alone`() throws {
    let space = try Namespace()
    let own = space.interface
    for words in [["keylo", own], ["key", own], ["keys", own]] {
      let outcome = try briefly(space, words)
      #expect(
        outcome.status != 0 && outcome.output.isEmpty && outcome.errors.contains("there is no command"), "\(outcome)")
    }
    let file = "\(space.directory.path)/a.pcapng"
    for word in ["--with-key", "--with", "--keys", "-k"] {
      let outcome = try briefly(space, ["capture", own, "-w", file, word])
      #expect(outcome.status == 64 && !FileManager.default.fileExists(atPath: file), "\(word): \(outcome)")
    }
  }

  @Test func `write files that are their owner's alone, and no file of others`() throws {
    let space = try Namespace()
    let folder = space.directory.path
    for (words, beginning) in [
      (["capture", space.interface, "-w"], [0x0A, 0x0D, 0x0D, 0x0A] as [UInt8]),
      (["keylog", space.interface, "-w"], []),
    ] {
      for isThere in [false, true] {
        let path = "\(folder)/\(words[0])-\(isThere)"
        if isThere {
          _ = FileManager.default.createFile(
            atPath: path, contents: Data(repeating: 0x61, count: 5000), attributes: [.posixPermissions: 0o666])
        }
        let outcome = try briefly(space, words + [path])
        #expect(outcome.status == 0, "\(outcome)")
        #expect(try mode(path) == 0o600)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        #expect(
          bytes.prefix(beginning.count) == beginning[...] && !bytes.contains(0x61 as UInt8) || words[0] == "capture")
        #expect(bytes.count < 1000)
      }
      let others = "\(folder)/others", hard = "\(folder)/hard", link = "\(folder)/link", own = "\(folder)/own"
      for path in [others, own] { try? FileManager.default.removeItem(atPath: path) }
      for path in [hard, link] { try? FileManager.default.removeItem(atPath: path) }
      _ = FileManager.default.createFile(atPath: others, contents: Data("theirs".utf8))
      _ = FileManager.default.createFile(atPath: own, contents: Data("ours".utf8))
      #expect(chown(others, 65534, 65534) == 0)
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: own)
      for path in [others, link] {
        let outcome = try briefly(space, words + [path])
        #expect(outcome.status == 1 && outcome.errors.contains(path), "\(outcome)")
      }
      try FileManager.default.linkItem(atPath: own, toPath: hard)
      let outcome = try briefly(space, words + [hard])
      #expect(outcome.status == 1 && outcome.errors.contains("second name"), "\(outcome)")
      #expect(try String(contentsOfFile: others, encoding: .utf8) == "theirs")
      #expect(try String(contentsOfFile: own, encoding: .utf8) == "ours")
    }
  }

  @Test func `refuse words that make no sense, before anything is asked of a daemon`() throws {
    let space = try Namespace(device: false)
    for (words, text) in [
      (["--hex", "-w", "x"], "expected one of both"), (["--with-keys"], "--with-keys without -w"),
      (["-c", "0"], "expected 1 or more"), (["--prefix", "10.0.0.0/33"], "--prefix 10.0.0.0/33: expected an address"),
      (["--protocol", "tpc"], "--protocol tpc: expected 0 to 255, or one of"),
      (["--peer", "nonsense"], "Key is not the correct length or format"),
      (
        Array(repeating: ["--prefix", "::/0"], count: 17).flatMap { $0 }, "--prefix given 17 times: expected at most 16"
      ),
    ] {
      let outcome = try space.wg6(["capture", space.interface] + words)
      #expect(outcome.status != 0 && outcome.errors.contains(text), "\(words): \(outcome)")
    }
    let absent = try space.wg6(["capture", space.interface])
    #expect(
      absent
        == Outcome(
          status: 1, output: "", errors: "wg6: Unable to access interface \(space.interface): No such device\n"))
  }
}
