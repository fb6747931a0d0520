import Foundation
import Testing

/// What people read who typed something else than they meant.
@Suite struct `Messages` {
  @Test(arguments: [
    ("list", "show"), ("ls", "show"), ("status", "show"), ("shwo", "show"), ("lst", "show"), ("start", "up"),
    ("stop", "down"), ("rout", "routes"), ("chekc", "check"), ("relod", "reload"), ("gen-key", "genkey"),
    ("logs", "log"),
  ])
  func `an unknown command suggests the one that is meant`(typed: String, meant: String) throws {
    let outcome = try run(Programs.wg6, [typed])
    #expect(outcome.status == 1 && outcome.output == "")
    #expect(
      outcome.errors.hasPrefix("wg6: there is no command '\(typed)'. Did you mean '\(meant)'?\n"), "\(outcome.errors)")
  }

  @Test(arguments: ["xyzzy", "wgnet", "q"])
  func `an unknown command that resembles none suggests none`(typed: String) throws {
    let outcome = try run(Programs.wg6, [typed])
    #expect(outcome.status == 1 && outcome.errors.hasPrefix("wg6: there is no command '\(typed)'.\n"), "\(outcome)")
  }

  @Test func `a misspelled word of set suggests the one that is meant`() throws {
    #expect(
      try run(Programs.wg6, ["set", "wg0", "listenport", "5"]).errors
        == "wg6: Invalid argument: listenport. Did you mean 'listen-port'?\n")
    // The word is right, and its place wrong.
    #expect(try run(Programs.wg6, ["set", "wg0", "endpoint", "x"]).errors == "wg6: Invalid argument: endpoint\n")
  }

  @Test func `-v before a command that tells no steps is an error`() throws {
    for command in ["show", "set", "check", "genkey"] {
      let outcome = try run(Programs.wg6, ["-v", command])
      #expect(outcome.status == (command == "check" ? 64 : 1) && outcome.output == "")
      #expect(outcome.errors == "wg6: '\(command)' has no steps to tell: -v is for up, down, reload, exec\n")
    }
    #expect(try run(Programs.wg6, ["-v"]).output.hasPrefix("wg6 v"))
  }

  @Test func `a name of 16 letters is told its length`() throws {
    let name = "abcdefghijklmnop"
    let problem = "'\(name)' is 16 characters long, and an interface's name has at most 15"
    for words in [
      ["check", name], ["strip", name], ["show", name], ["showconf", name], ["set", name, "fwmark", "1"],
      ["setconf", name, "/dev/null"], ["log", name],
    ] {
      let outcome = try run(Programs.wg6, words)
      #expect(outcome.status == 1 && outcome.errors.contains(problem), "\(words): \(outcome.errors)")
    }
    if getuid() == 0 {
      for command in ["up", "down", "reload", "save"] {
        #expect(try run(Programs.wg6, [command, name]).errors.contains(problem))
      }
    }
    let daemon = try run("\(Programs.directory)/wg6d", [name])
    #expect(daemon.status == 64 && daemon.errors == "wg6d: \(problem)\n")
    // 15 of them are an interface's name.
    #expect(try run(Programs.wg6, ["show", String(name.dropLast())]).errors.contains("No such device\n"))
  }

  @Test func `a wrong WG6_KEYS is an error`() throws {
    let folder = try Folder()
    let file = try folder.file("a.conf", "[Interface]\n")
    let book = try folder.file("keys", "laptop nonsense\n")
    var commands = [
      ["check", file], ["routes", file], ["export", file], ["strip", file], ["set", "wg0", "peer", "@a"],
    ]
    commands.append(["setconf", "wg0", file])
    for words in commands {
      let missing = try run(Programs.wg6, words, environment: ["WG6_KEYS": "/nonexistent"])
      #expect(missing.status == 1 && missing.output == "")
      #expect(missing.errors == "wg6: WG6_KEYS=/nonexistent: No such file or directory\n", "\(words): \(missing)")
    }
    for words in [["check", file], ["routes", file], ["set", "wg0", "peer", "@a"]] {
      let broken = try run(Programs.wg6, words, environment: ["WG6_KEYS": book])
      #expect(
        broken.status == 1 && broken.errors.hasPrefix("\(book):1: read a key of 8 characters"), "\(words): \(broken)")
    }
    #expect(try run(Programs.wg6, ["strip", file], environment: ["WG6_KEYS": ""]).status == 0)
  }

  /// Each message is `PLACE: …`, and quotes with one kind of mark.
  @Test func `every misuse is told in one style`() throws {
    let folder = try Folder()
    let file = try folder.file("a.conf", "[Interface]\nMUT = 5\nAddress = x\n[Peer]\nEndpoint = ?\n", mode: 0o644)
    let key = try folder.file("key", "abc")
    let misuses: [[String]] = [
      ["nonsense"], ["up"], ["up", "a", "b"], ["check"], ["check", file], ["check", "none.conf"], ["check", "a.txt"],
      ["routes", file, "x"], ["routes", "--bogus", file], ["show", "none"], ["show", "none", "dump"], ["exec", "a"],
      ["exec", "--dns", "x", "a", "--", "b"], ["set", "none", "fwmark", "x"], ["set", "none", "peer", "x"],
      ["set", "none", "private-key", key], ["set", "none", "private-key", "/none"], ["set", "none", "peer", "@none"],
      ["setconf", "none", file], ["setconf", "none", "/none"], ["showconf", "none"], ["log", "a", "-n", "-1"],
      ["up", "--no-offload", "x", "a"], ["reload", "a/b"], ["-v", "show"],
    ]
    for words in misuses {
      let outcome = try run(Programs.wg6, words)
      #expect(outcome.status != 0)
      for line in outcome.errors.split(separator: "\n") {
        let isHelp = ["Usage: ", "Help:  ", "  See ", "     "].contains { line.hasPrefix($0) }
        let places = ["wg6: ", "\(file):", "none.conf: "]
        #expect(isHelp || places.contains { line.hasPrefix($0) }, "\(words): \(line)")
        #expect(!line.contains { "\u{201C}\u{201D}\u{2018}\u{2019}`\"".contains($0) }, "\(words): \(line)")
      }
    }
  }

  /// The README's commands for a key, in a directory that is missing, that can't be made, and that has a key already.
  @Test func `the README's way to a key loses none`() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    let blocks = readme.components(separatedBy: "```\n").filter { $0.contains("wg6 genkey") }
    let commands = try #require(blocks.count == 1 ? blocks.first : nil)
    let folder = try Folder()
    try FileManager.default.createSymbolicLink(atPath: "\(folder.path)/wg6", withDestinationPath: Programs.wg6)
    func follow(_ directory: String) throws -> Outcome {
      try run(
        "/bin/sh", ["-c", commands.replacingOccurrences(of: "/etc/wireguard", with: directory)],
        environment: ["PATH": "\(folder.path):/usr/bin:/bin"])
    }
    let directory = "\(folder.path)/wireguard"
    let first = try follow(directory)
    #expect(first.status == 0 && first.output.utf8.count == 45, "\(first)")
    let key = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/private.key"))
    #expect(try run(Programs.wg6, ["pubkey"], input: key).output == first.output)
    func mode(_ path: String) throws -> Int? {
      try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    }
    #expect(try mode(directory) == 0o700)
    #expect(try mode("\(directory)/private.key") == 0o600)
    // Once more: what is there stays, and nothing is taken for a success.
    let second = try follow(directory)
    #expect(second.status != 0 && second.output == "", "\(second)")
    #expect(try Data(contentsOf: URL(fileURLWithPath: "\(directory)/private.key")) == key)
    let blocked = try follow(folder.file("file", "") + "/wireguard")
    #expect(blocked.status != 0 && blocked.output == "", "\(blocked)")
  }

  /// As `make install` does it, with the programs of this build in place of the optimised ones.
  @Test func `make install makes /etc/wireguard for root alone, and leaves one that is there`() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().path
    let folder = try Folder()
    func install() throws {
      let outcome = try run(
        "/usr/bin/make",
        ["-C", root, "-o", "release", "install", "RELEASE=\(Programs.directory)", "DESTDIR=\(folder.path)"])
      try #require(outcome.status == 0, "\(outcome.errors)")
    }
    func mode() throws -> Int? {
      try FileManager.default.attributesOfItem(atPath: "\(folder.path)/etc/wireguard")[.posixPermissions] as? Int
    }
    try install()
    #expect(try mode() == 0o700)
    try FileManager.default.setAttributes([.posixPermissions: 0o750], ofItemAtPath: "\(folder.path)/etc/wireguard")
    try install()
    #expect(try mode() == 0o750)
    let installed = "\(folder.path)/usr/local/share"
    for script in ["bash-completion/completions/wg6", "zsh/site-functions/_wg6", "fish/vendor_completions.d/wg6.fish"] {
      #expect(FileManager.default.contents(atPath: "\(installed)/\(script)")?.isEmpty == false)
    }
  }
}

/// What is said of tunnels that are there.
@Suite(.enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Messages about tunnels` {
  /// A copy that others than root may run.
  private func commonCopy(_ folder: Folder) throws -> String {
    let copy = "\(folder.path)/wg6"
    // By another process: a program that another test starts just then would hold the file open for writing.
    try #require(run("/usr/bin/install", ["-m", "755", Programs.wg6, copy]).status == 0)
    return copy
  }

  @Test func `every command that needs root says so`() throws {
    let space = try Namespace()
    let folder = try Folder()
    let program = try commonCopy(folder)
    let own = space.interface
    let file = try folder.file("a.conf", "[Interface]\n", mode: 0o644)
    let secret = try folder.file("b.conf", "[Interface]\n")
    func asNobody(_ words: [String]) throws -> Outcome {
      try space.inside(Programs.setpriv!, ["--reuid=65534", "--regid=65534", "--clear-groups", program] + words)
    }
    // As wg: every interface is named, with the reason.
    let all = try asNobody(["show"])
    #expect(all.status == 1 && all.output == "")
    #expect(
      all.errors.contains("wg6: Unable to access interface \(own): Permission denied; this needs root\n"), "\(all)")
    for words in [
      ["show", own], ["show", own, "dump"], ["show", own, "drops"], ["showconf", own], ["set", own, "fwmark", "1"],
      ["setconf", own, file], ["addconf", own, file], ["syncconf", own, file], ["setconf", own, secret],
      ["check", secret], ["routes", secret], ["export", secret], ["strip", secret],
      ["set", own, "private-key", secret],
    ] {
      let outcome = try asNobody(words)
      #expect(outcome.status == 1 && outcome.output == "", "\(words): \(outcome)")
      #expect(outcome.errors.contains(": Permission denied; this needs root\n"), "\(words): \(outcome.errors)")
    }
    for words in [
      ["up", file], ["down", own], ["reload", own], ["reload", "--dry-run", own], ["save", own],
      ["exec", own, "--", "true"], ["capture", own], ["keylog", own],
    ] {
      let outcome = try asNobody(words)
      #expect(outcome.status == 1 && outcome.output == "")
      #expect(outcome.errors == "wg6: '\(words[0])' needs root: run it as root, or with sudo\n")
    }
    // What needs no rights goes on.
    #expect(try asNobody(["routes", file]).status == 0)
    #expect(try asNobody(["show", "interfaces"]).output.contains(own))
    #expect(try asNobody(["genkey"]).status == 0)
  }

  @Test func `-v may stand before the command, and one is no plural`() throws {
    let space = try Namespace(device: false)
    let file = try space.file(
      "\(space.interface).conf",
      """
      [Interface]
      PrivateKey = \(try keyPair().private)
      Address = 10.9.0.1/24
      [Peer]
      PublicKey = \(try keyPair().public)
      Endpoint = 127.0.0.1:9
      AllowedIPs = 10.9.0.2/32
      """)
    let up = try space.wg6(["-v", "up", file])
    try space.require(up)
    #expect(up.errors.contains(" ms] resolving 1 endpoint\n"), "\(up.errors)")
    #expect(up.errors.contains(" ms] configuring 1 peer\n"))
    #expect(up.errors.contains(" ms] address 10.9.0.1/24\n"))
    // Nothing is said of servers that the tunnel does without, unless that is asked for.
    let silent = try space.wg6(["exec", space.interface, "--", "true"])
    #expect(silent == Outcome(status: 0, output: "", errors: ""))
    let remark =
      "\(space.interface): the tunnel has no DNS servers; those of /etc/resolv.conf are asked, through the tunnel\n"
    for words in [["exec", "-v", space.interface], ["--verbose", "exec", space.interface]] {
      #expect(try space.wg6(words + ["--", "true"]).errors == remark)
    }
    let wrong = ["WG6_KEYS": "/nonexistent"]
    for words in [["show", space.interface], ["reload", space.interface], ["save", space.interface]] {
      let outcome = try space.wg6(words, environment: wrong)
      #expect(
        outcome.status == 1 && outcome.errors == "wg6: WG6_KEYS=/nonexistent: No such file or directory\n",
        "\(words): \(outcome)")
    }
    let down = try space.wg6(["--verbose", "down", space.interface])
    try space.require(down)
    #expect(down.errors.contains("\(space.interface): "))
  }

  @Test func `up names the port that is in use, and who has it`() throws {
    let (space, other) = (try Namespace(device: false), try Namespace())
    // The other's daemon is in a network of its own: one of ours has the port here.
    let holder = "h\(space.interface)".prefix(15)
    try space.require(space.inside(Programs.daemon!, [String(holder)]))
    defer { _ = try? space.ip("link", "delete", String(holder)) }
    try space.require(space.wg(["set", String(holder), "listen-port", "5999"]))
    try space.require(other.wg(["set", other.interface, "listen-port", "5999"]))
    let file = try space.file(
      "\(space.interface).conf", "[Interface]\nPrivateKey = \(try keyPair().private)\nListenPort = 5999\n")
    let began = Date()
    let up = try space.wg6(["up", file])
    #expect(up.status == 1)
    #expect(
      up.errors.contains("ListenPort = 5999 is in use by wg6d (process "), "\(up.errors)")
    #expect(Date().timeIntervalSince(began) < 5)
    #expect(!space.hasLink && !space.hasSocket)
  }
}
