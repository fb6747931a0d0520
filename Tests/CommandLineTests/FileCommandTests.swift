import Foundation
import Testing

/// The commands that only read a file.
@Suite struct `File commands` {
  private static let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
  private static let home = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
  private static let laptop = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

  @Test func `check tells nothing of a sound file, findings with 2, mistakes with 1`() throws {
    let folder = try Folder()
    let sound = try folder.file(
      "a.conf",
      "[Interface]\nPrivateKey = \(Self.key)\nAddress = 10.7.0.1/24\n[Peer]\nPublicKey = \(Self.home)\nAllowedIPs = 10.7.0.0/24\n"
    )
    #expect(try run(Programs.wg6, ["check", sound]) == Outcome(status: 0, output: "", errors: ""))

    let strange = try folder.file(
      "b.conf",
      """
      [Interface]
      PrivateKey = \(Self.key)
      MTU = 1200
      Address = 10.7.0.1/24
      [Peer]
      PublicKey = \(Self.home)
      AllowedIPs = 0.0.0.0/0, 10.1.0.0/16
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 10.1.0.0/16, 10.2.0.0/16
      Endpoint = nobody.invalid:51820
      """, mode: 0o644)
    let found = try run(Programs.wg6, ["check", strange], environment: ["WG6_KEYS": folder.keys()])
    #expect(found.status == 2)
    #expect(found.errors == "")
    let lines = found.output.split(separator: "\n").map(String.init)
    #expect(lines.map { $0.dropFirst(strange.count + 1).prefix { $0 != ":" } } == ["2", "3", "7", "10", "11"])
    #expect(lines[3].hasSuffix(": laptop takes 10.1.0.0/16 from xTIBA5rb… (line 7) [takeover]"), "\(lines)")

    let broken = try folder.file("c.conf", "[Interface]\nMUT = 1200\nDNS = 1.1\n")
    let refused = try run(Programs.wg6, ["check", broken])
    #expect(refused.status == 1 && refused.output == "")
    #expect(refused.errors.contains("c.conf:2: ") && refused.errors.contains("MTU, perhaps"))
    #expect(refused.errors.contains("c.conf:3: "))
    #expect(try run(Programs.wg6, ["check", "\(folder.path)/none.conf"]).status == 1)
    #expect(try run(Programs.wg6, ["check"]).status == 64)
  }

  @Test func `a minus in AllowedIPs is refused by every command that reads a tunnel's file`() throws {
    let folder = try Folder()
    let file = try folder.file(
      "m.conf",
      "[Interface]\nPrivateKey = \(Self.key)\n[Peer]\nPublicKey = \(Self.home)\nAllowedIPs = 0.0.0.0/0, -192.168.0.0/16\n"
    )
    for command in ["check", "up", "routes", "export", "strip"] {
      let outcome = try run(Programs.wg6, [command, file])
      #expect(outcome.status == 1 && outcome.output == "", "\(command)")
      #expect(
        outcome.errors.contains("m.conf:5: read AllowedIPs = 0.0.0.0/0, -192.168.0.0/16, expected no '-'")
          && outcome.errors.contains("ExcludedIPs = 192.168.0.0/16"), "\(outcome.errors)")
    }
  }

  @Test func `what is told has a name, and is silent where the file says so`() throws {
    let folder = try Folder()
    func file(_ line: String) throws -> String {
      try folder.file(
        "n.conf",
        "[Interface]\nPrivateKey = \(Self.key)\nAddress = fd00::2/64\n\(line)\n[Peer]\nPublicKey = \(Self.home)\nAllowedIPs = ::/0\nEndpoint = [2001:db8::1]:51820\n"
      )
    }
    let told = try run(Programs.wg6, ["check", file("")])
    #expect(
      told.output.hasSuffix(
        "n.conf:7: all of IPv6 goes through the tunnel, IPv4 does not; 0.0.0.0/0 is missing, perhaps [one-family]\n"))
    #expect(told.status == 2)
    let silent = try run(Programs.wg6, ["check", file("Warnings = -one-family")])
    #expect(silent == Outcome(status: 0, output: "", errors: ""))
    #expect(try run(Programs.wg6, ["check", file("Warnings = -one-famly")]).errors.contains("-one-family, perhaps"))
  }

  @Test func `routes tells each prefix, or of one address where it goes and why`() throws {
    let folder = try Folder()
    let file = try folder.file(
      "r.conf",
      """
      [Interface]
      ExcludedIPs = 10.9.0.0/16
      [Peer]
      PublicKey = \(Self.home)
      AllowedIPs = ::/0, 10.8.0.0/15
      Endpoint = 10.8.0.1:51820
      [Peer]
      PublicKey = @laptop
      AllowedIPs = fd00::/8
      ExcludedIPs = fd00:1::/32
      """)
    func routes(_ address: String...) throws -> [String] {
      let outcome = try run(Programs.wg6, ["routes", file] + address, environment: ["WG6_KEYS": folder.keys()])
      #expect(outcome.status == 0 && outcome.errors == "", "\(outcome)")
      return outcome.output.split(separator: "\n").map(String.init)
    }
    let all = try routes()
    #expect(all.contains { $0.matches("10.8.0.0/16", "xTIBA5rb…", "own table") }, "\(all)")
    #expect(all.contains { $0.matches("10.9.0.0/16", "-", "excluded (10.9.0.0/16, line 2)") }, "\(all)")
    #expect(all.contains { $0.matches("::/0", "xTIBA5rb…", "own table") }, "\(all)")
    #expect(all.contains { $0.matches("fd80::/9", "laptop", "main") }, "\(all)")
    #expect(
      try routes("fd00:1::1") == [
        "fd00:1::1 goes to xTIBA5rb…, by AllowedIPs = ::/0 (\(file):5); route: own table",
        "laptop does not get it, by ExcludedIPs = fd00:1::/32 (\(file):10)",
      ])
    #expect(
      try routes("10.9.1.1") == [
        "10.9.1.1 stays outside the tunnel", "no peer gets it, by ExcludedIPs = 10.9.0.0/16 (\(file):2)",
      ])
    #expect(try routes("11.0.0.1") == ["11.0.0.1 stays outside the tunnel: no peer's AllowedIPs have it"])
    #expect(
      try routes("10.8.0.1") == [
        "10.8.0.1 goes to xTIBA5rb…, by AllowedIPs = 10.8.0.0/15 (\(file):5); route: own table",
        "it is the endpoint of xTIBA5rb… (\(file):6): the tunnel's own datagrams, by their mark, stay outside",
      ])
    #expect(try run(Programs.wg6, ["routes", file, "nonsense"]).status == 64)
  }

  @Test func `export warns of what is lost, and names are gone`() throws {
    let folder = try Folder()
    let file = try folder.file(
      "e.conf",
      "[Interface]\nKillSwitch = yes\nDNS = ~a.example\n[Peer]\nPublicKey = @laptop # Anna's\nAllowedIPs = ::/0\n")
    let outcome = try run(Programs.wg6, ["export", file], environment: ["WG6_KEYS": folder.keys()])
    #expect(outcome.status == 0)
    #expect(outcome.output == "[Interface]\n[Peer]\nPublicKey = \(Self.laptop) # Anna's\nAllowedIPs = ::/0\n")
    #expect(outcome.errors.split(separator: "\n").map { $0.hasPrefix("\(file): warning: ") } == [true, true])
  }

  @Test(arguments: ["export", "strip"], [0o600, 0o604])
  func `a world-accessible file gets genkey's warning, another none`(command: String, mode: Int) throws {
    let folder = try Folder()
    let file = try folder.file("e.conf", "[Interface]\nPrivateKey = \(Self.key)\n")
    let path = try folder.file("out", "")
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    let outcome = try run(Programs.wg6, [command, file], output: FileHandle(forWritingAtPath: path))
    #expect(outcome.status == 0)
    #expect(outcome.errors.contains("wg6: warning: writing to world accessible file") == (mode == 0o604))
  }

  /// As root: wg-quick asks for that even to read.
  @Test(.enabled(if: Programs.wgQuick != nil && getuid() == 0, "SKIPPED: needs root and wg-quick"))
  func `strip prints what wg-quick strip prints, byte for byte`() throws {
    let folder = try Folder()
    let head = "[Interface]\nPrivateKey = \(Self.key)\n"
    let texts = [
      "[Interface]", "\(head)[Peer]\nPublicKey = \(Self.home)\nAllowedIPs = 10.0.0.0/8\n",
      "# c\n\n  \(head)\taddress=10.0.0.1 # x\r\n Address = fd00::1,10.0.0.2\nMTU=1400\n\n[Peer] # one\r\n\tPublicKey=\(Self.home)\t \n  # Address = 1\n",
      "\(head)PostUp = echo \\n \\\\ 'x' $HOME\nPREDOWN = a = b # c\nSaveConfig = TRUE\nDNS = 1.1.1.1, a.example\nTable = off\n   ",
      "\(head)ListenPort = 5 # Address\n#[Peer]\n\n",
      "\(head)[Peer]\nPublicKey = \(Self.home)\n[Interface]\nPreUp = x\nFwMark = 0x5\n\n\n",
      "\(head)DNS=\n MTU =\nTable=\nAddress=\n\u{0B}\n \t \n",
      "\(head)# é – ü\nPostUp = echo é",
    ]
    for text in texts {
      let file = try folder.file("wgstrip.conf", text)
      let theirs = try run(Programs.wgQuick!, ["strip", file])
      let ours = try run(Programs.wg6, ["strip", file])
      #expect(ours == theirs, "\(text.debugDescription)")
      #expect(theirs.status == 0)
    }
    let open = try folder.file("wgstrip.conf", texts[1], mode: 0o644)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: folder.path)
    let (ours, theirs) = (try run(Programs.wg6, ["strip", open]), try run(Programs.wgQuick!, ["strip", open]))
    #expect(ours.output == theirs.output && ours.status == theirs.status)
    #expect(
      theirs.errors.contains("is world accessible") && ours.errors.hasPrefix("\(open): warning: it is world accessible")
    )
  }

  @Test func `strip cuts out what is ours`() throws {
    let folder = try Folder()
    let file = try folder.file(
      "s.conf",
      "[Interface]\nExcludedIPs = 10.0.0.0/9\nClampMSS = yes\nSpoofGuard = no\nAddress = 10.0.0.1\n[Peer]\nPublicKey = @laptop\nAllowedIPs = 10.0.0.0/8\n"
    )
    let outcome = try run(Programs.wg6, ["strip", file], environment: ["WG6_KEYS": folder.keys()])
    #expect(
      outcome
        == Outcome(
          status: 0, output: "[Interface]\n[Peer]\nPublicKey = \(Self.laptop)\nAllowedIPs = 10.128.0.0/9\n\n",
          errors: ""))
  }
}

/// A directory that is gone when it ends.
final class Folder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("wg6-files-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ text: String, mode: Int = 0o600) throws -> String {
    let file = "\(path)/\(name)"
    _ = FileManager.default.createFile(
      atPath: file, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
    return file
  }

  /// An address book that knows the laptop.
  func keys() throws -> String {
    try file("keys", "laptop TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0= Anna's\n")
  }
}

extension String {
  /// Whether these are the columns of a line.
  fileprivate func matches(_ prefix: String, _ peer: String, _ place: String) -> Bool {
    let words = split(separator: " ", maxSplits: 2).map(String.init)
    return words.count == 3 && words[0] == prefix && words[1] == peer
      && words[2].trimmingCharacters(in: .whitespaces) == place
  }
}
