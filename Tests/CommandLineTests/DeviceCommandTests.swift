import Foundation
import Testing

@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Device commands against wg's` {
  static let fields = [
    "public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips",
    "latest-handshakes",
    "transfer", "persistent-keepalive", "dump",
  ]

  @Test func `a device without peers is shown alike`() throws {
    let space = try Namespace()
    try compareEverything(space)
  }

  @Test func `one peer with everything is shown alike, before and after packets`() throws {
    let space = try Namespace()
    let peer = try keyPair().public
    let key = try space.file("key", try keyPair().private + "\n")
    let preshared = try space.file("psk", try run(Programs.wg!, ["genpsk"]).output)
    try space.require(
      space.wg6([
        "set", space.interface, "listen-port", "0", "private-key", key, "fwmark", "0x20", "peer", peer, "preshared-key",
        preshared, "endpoint",
        "127.0.0.1:9", "persistent-keepalive", "3725", "allowed-ips",
        "10.0.0.0/8, fd00::/64,::ffff:192.0.2.1, 192.0.2.1",
      ]))
    try compareEverything(space)
    try space.require(space.ip("address", "add", "10.0.0.1/24", "dev", space.interface))
    try space.require(space.ip("link", "set", space.interface, "up"))
    try waitUntil("an initiation is sent") {
      !(try space.wg(["show", space.interface, "transfer"]).output.hasSuffix("\t0\n"))
    }
    try compareEverything(space)
    try space.require(
      space.wg6(["set", space.interface, "peer", peer, "endpoint", "[fe80::1%lo]:51820", "allowed-ips", ""]))
    try compareEverything(space)
    try space.require(
      space.wg6([
        "set", space.interface, "private-key", "/dev/null", "fwmark", "off", "peer", peer, "preshared-key", "/dev/null",
      ]))
    try compareEverything(space)
  }

  @Test func `secret keys that are printed into a world-accessible file get genkey's warning, and nothing else does`()
    throws
  {
    let space = try Namespace()
    let path = try space.file("out", "")
    func warns(_ words: [String], mode: Int = 0o604, environment: [String: String] = [:]) throws -> Bool {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
      let outcome = try run(
        Programs.ip!, ["netns", "exec", space.name, Programs.wg6] + words, environment: environment,
        output: FileHandle(forWritingAtPath: path))
      try space.require(outcome)
      return outcome.errors.contains("wg6: warning: writing to world accessible file")
    }
    let interface = space.interface
    for words in [
      ["showconf", interface], ["show", interface, "private-key"], ["show", interface, "preshared-keys"],
      ["show", interface, "dump"], ["show", "all", "dump"],
    ] {
      #expect(try warns(words), "\(words)")
      #expect(try !warns(words, mode: 0o600), "\(words)")
    }
    #expect(try warns(["show", interface], environment: ["WG_HIDE_KEYS": "never"]))
    for words in [["show", interface], ["show", interface, "public-key"], ["show", interface, "drops"], ["show"]] {
      #expect(try !warns(words), "\(words)")
    }
  }

  @Test(.enabled(if: Programs.setpriv != nil, "SKIPPED: there is no setpriv"))
  func `memory for keys that cannot be locked is told once at the start, and in the status for people`() throws {
    let space = try Namespace(device: false)
    let log = try space.file("log", "")
    let script = """
      ulimit -l 0; exec \(Programs.setpriv!) --bounding-set -ipc_lock --inh-caps -ipc_lock \
        \(Programs.daemon!) -f \(space.interface)
      """
    let daemon = try Running(
      Programs.ip!, ["netns", "exec", space.name, "sh", "-c", script], environment: ["LOG_LEVEL": "verbose"],
      files: ["/dev/null", "/dev/null", log])
    defer {
      daemon.send(SIGTERM)
      _ = daemon.wait()
    }
    try waitUntil("the device answers") { try space.wg(["show", space.interface]).status == 0 }
    let key = try space.file("key", try keyPair().private + "\n")
    for _ in 0..<3 { try space.require(space.wg6(["set", space.interface, "private-key", key])) }
    let warnings = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").filter {
      $0.contains("cannot be locked")
    }
    #expect(warnings.count == 1 && warnings[0].contains("ulimit -l"), "\(warnings)")
    #expect(try space.wg6(["show", space.interface]).output.contains("KiB of it may be swapped out"))
    // `wg`, and scripts, see what they always do.
    #expect(try !space.wg(["show", space.interface]).output.contains("swapped"))
    #expect(
      try space.wg(["show", space.interface, "dump"]).output == space.wg6(["show", space.interface, "dump"]).output)
  }

  @Test func `what was dropped is told in words, of the interface and of its peers`() throws {
    let space = try Namespace()
    #expect(
      try space.wg6(["show", space.interface, "drops"]).output == "interface: \(space.interface)\n  nothing dropped\n")
    let peer = try keyPair().public
    let key = try space.file("key", try keyPair().private + "\n")
    try space.require(
      space.wg6(["set", space.interface, "private-key", key, "peer", peer, "allowed-ips", "10.1.0.0/16"]))
    // Without a link-local address the kernel has nothing of its own to send.
    try space.require(space.ip("link", "set", space.interface, "addrgenmode", "none"))
    try space.require(space.ip("address", "add", "10.0.0.1/8", "dev", space.interface))
    try space.require(space.ip("link", "set", space.interface, "up"))
    // No peer, and a peer without an endpoint: the shell's connections fail at once, for they are told so.
    for address in ["10.2.0.1", "10.1.0.1"] {
      let outcome = try space.inside("/usr/bin/env", ["bash", "-c", "exec 3<>/dev/tcp/\(address)/80"])
      #expect(outcome.errors.contains("No route to host"), "\(outcome.errors)")
    }
    let noEndpoint = "  no endpoint: 1 (it is not known where the peer is: set its Endpoint, or wait until it calls)\n"
    let report = try space.wg6(["show", space.interface, "drops"]).output
    #expect(
      report.contains("  no peer for destination: 1 (the destination is in no peer's allowed IPs)\n"), "\(report)")
    #expect(report.hasSuffix(noEndpoint + "\npeer: \(peer)\n" + noEndpoint), "\(report)")
    #expect(try space.wg6(["show", "all", "drops"]).output.contains(report))
  }

  @Test func `40 peers with 52 prefixes each are shown alike, however they came`() throws {
    let space = try Namespace()
    var text = "[Interface]\nPrivateKey = \(try keyPair().private)\n"
    for peer in 1...40 {
      text +=
        "[Peer]\nPublicKey = \(try keyPair().public)\nEndpoint = [2001:db8::\(peer)]:51820\nAllowedIPs = fd00:\(peer)::/48"
      text +=
        (1...25).map { ", 10.\(peer).\($0).0/24, 2001:db8:\(peer):\($0)::/64" }.joined() + ", 192.168.\(peer).0/24\n"
    }
    let file = try space.file("forty.conf", text)
    for command in ["setconf", "syncconf", "addconf"] {
      try space.require(space.wg6([command, space.interface, file]))
      try compareEverything(space)
    }
    #expect(try space.wg6(["show", space.interface, "peers"]).output.split(separator: "\n").count == 40)
    #expect(try space.wg6(["show", space.interface, "dump"]).output.split(separator: ",").count == 40 * 51 + 1)
  }

  @Test func `130,560 allowed IPs of one peer are shown alike`() throws {
    let space = try Namespace()
    let prefixes = (0..<65_280).map { "10.\($0 >> 8).\($0 & 255).0/24, 2001:db8:\(String($0, radix: 16))::/48" }
    var text = "[Peer]\nPublicKey = \(try keyPair().public)\n"
    for start in stride(from: 0, to: prefixes.count, by: 960) {
      text += "AllowedIPs = \(prefixes[start..<start + 960].joined(separator: ", "))\n"
    }
    try space.require(space.wg6(["setconf", space.interface, space.file("big.conf", text)]))
    #expect(try space.wg6(["show", space.interface, "allowed-ips"]).output.split(separator: " ").count == 130_560)
    try compareEverything(space)
    try space.require(
      space.wg6(["syncconf", space.interface, space.directory.appendingPathComponent("big.conf").path]))
    try compareEverything(space)
  }

  @Test func `words of set that change nothing are told`() throws {
    let space = try Namespace()
    let peer = try keyPair().public
    func told(_ words: String...) throws -> String {
      let outcome = try space.wg6(["set", space.interface] + words)
      #expect(outcome.status == 0)
      return outcome.errors
    }
    let first = try told("peer", peer, "allowed-ips", "+0.0.0.0/0,-192.168.0.0/16")
    #expect(first.contains("has no allowed IP 192.168.0.0/16 to remove"), "\(first)")
    #expect(try told("peer", peer, "allowed-ips", "+192.168.0.0/16") == "")
    #expect(try told("peer", peer, "allowed-ips", "-192.168.0.0/16") == "")
    #expect(try told("listen-port", "7001", "listen-port", "7002").contains("listen-port again; the last one counts"))
    #expect(try told("peer", peer, "persistent-keepalive", "5", "remove").contains("it is removed"))
    #expect(try told("peer", peer, "allowed-ips", "::/0", "peer", try keyPair().public, "allowed-ips", "::/1") == "")
    let file = try space.file("minus.conf", "[Peer]\nPublicKey = \(peer)\nAllowedIPs = 10.0.0.0/8, -10.1.0.0/16\n")
    for command in ["setconf", "syncconf", "addconf"] {
      #expect(
        try space.wg6([command, space.interface, file]).errors.contains("has no allowed IP 10.1.0.0/16 to remove"))
    }
  }

  @Test func `what wg6 changes is what wg would have changed`() throws {
    let (left, right) = (try Namespace(), try Namespace())
    let (a, b) = (try keyPair(), try keyPair())
    let key = try left.file("key", a.private)
    let preshared = try left.file("psk", try run(Programs.wg!, ["genpsk"]).output)
    let first = try left.file(
      "first.conf",
      """
      [Interface]
      PrivateKey = \(a.private)
      FwMark = 0x1234
      [Peer]
      PublicKey = \(b.public)
      PresharedKey = \(try run(Programs.wg!, ["genpsk"]).output)
      AllowedIPs = 10.0.0.0/8, fd00::1
      PersistentKeepalive = 25
      [Peer]
      PublicKey = \(a.public.replacingOccurrences(of: a.public.prefix(1), with: "A").prefix(42))A=
      Endpoint = 192.0.2.1:domain
      """)
    // Keys and keepalives that a file does not name are said to be off: syncconf of wg 1.0.20210914 leaves them as they
    // were, newer ones and wg6 do not.
    let second = try left.file(
      "second.conf",
      """
      [Interface]
      ListenPort = 0
      [Peer]
      PublicKey = \(b.public)
      PresharedKey = \(String(repeating: "A", count: 43))=
      PersistentKeepalive = off
      AllowedIPs = 10.1.0.0/16
      """)
    let empty = try left.file("empty.conf", "# nothing\n")
    let commands: [[String]] = [
      ["set", "IF", "private-key", key], ["set", "IF", "fwmark", "255"], ["set", "IF", "fwmark", "0xffffffff"],
      ["set", "IF", "peer", b.public, "allowed-ips", "10.0.0.0/8,10.0.0.0/8, ::/0"],
      ["set", "IF", "peer", b.public, "preshared-key", preshared],
      ["set", "IF", "peer", b.public, "endpoint", "localhost:51820"],
      ["set", "IF", "peer", b.public, "endpoint", "[::1]:domain"],
      ["set", "IF", "peer", b.public, "persistent-keepalive", "65535"],
      ["set", "IF", "peer", b.public, "persistent-keepalive", "off"],
      ["set", "IF", "peer", b.public, "allowed-ips", "10.0.0.0/8", "allowed-ips", "10.0.0.0/9"],
      ["set", "IF", "peer", b.public, "allowed-ips", ""],
      ["setconf", "IF", first], ["syncconf", "IF", second], ["addconf", "IF", first], ["syncconf", "IF", first],
      ["setconf", "IF", second],
      ["setconf", "IF", empty], ["addconf", "IF", second], ["syncconf", "IF", empty], ["addconf", "IF", first],
      ["set", "IF", "peer", b.public, "remove", "peer", b.public, "allowed-ips", "fd00::/8"],
      ["set", "IF", "fwmark", "off", "private-key", "/dev/null"],
    ]
    for command in commands {
      let theirs = try left.wg(command.map { $0 == "IF" ? left.interface : $0 })
      let ours = try right.wg6(command.map { $0 == "IF" ? right.interface : $0 })
      #expect(ours.status == theirs.status, "\(command): \(ours.errors) \(theirs.errors)")
      #expect(try state(right) == state(left), "\(command)")
    }
  }

  @Test func `syncconf takes away what the file does not name`() throws {
    let space = try Namespace()
    let (own, stays, goes) = (try keyPair(), try keyPair(), try keyPair())
    let preshared = try run(Programs.wg!, ["genpsk"]).output
    let before = try space.file(
      "before.conf",
      """
      [Interface]
      PrivateKey = \(own.private)
      [Peer]
      PublicKey = \(stays.public)
      PresharedKey = \(preshared)
      PersistentKeepalive = 25
      AllowedIPs = 10.0.0.0/8
      [Peer]
      PublicKey = \(goes.public)
      AllowedIPs = fd00::/8
      """)
    let after = try space.file(
      "after.conf",
      "[Interface]\nPrivateKey = \(own.private)\n[Peer]\nPublicKey = \(stays.public)\nAllowedIPs = 10.1.0.0/16\n")
    try space.require(space.wg6(["setconf", space.interface, before]))
    try space.require(space.wg6(["syncconf", space.interface, after]))
    #expect(try space.wg(["show", space.interface, "preshared-keys"]).output == "\(stays.public)\t(none)\n")
    #expect(try space.wg(["show", space.interface, "persistent-keepalive"]).output == "\(stays.public)\toff\n")
    #expect(try space.wg(["show", space.interface, "allowed-ips"]).output == "\(stays.public)\t10.1.0.0/16\n")
  }

  @Test func `mistakes are refused in the same words, and change nothing`() throws {
    let space = try Namespace()
    let key = try keyPair().public
    try space.require(space.wg6(["set", space.interface, "peer", key, "allowed-ips", "10.0.0.0/8"]))
    let before = try space.wg(["showconf", space.interface])
    let short = try space.file("short", "abc"), trailing = try space.file("trailing", "\(key)\n")
    let peer = ["set", "IF", "peer", key]
    let mistakes: [[String]] = [
      ["show", "IF", "nonsense"], ["show", "all", "nonsense"], ["set", "IF", "nonsense"], ["set", "IF", "listen-port"],
      ["set", "IF", "listen-port", ""],
      ["set", "IF", "listen-port", "nonsense"], ["set", "IF", "fwmark", ""], ["set", "IF", "fwmark", "1x"],
      ["set", "IF", "fwmark", "4294967296"],
      ["set", "IF", "fwmark", "-1"], ["set", "IF", "private-key", "/nonexistent"], ["set", "IF", "private-key", short],
      ["set", "IF", "peer"],
      ["set", "IF", "peer", "abc"], ["set", "IF", "allowed-ips", "10.0.0.0/8"], ["set", "IF", "remove"],
      peer + ["listen-port", "1"], peer + ["endpoint"],
      peer + ["endpoint", ""], peer + ["endpoint", "1.2.3.4"], peer + ["endpoint", "[::1"],
      peer + ["endpoint", "[::1]"], peer + ["endpoint", "1.2.3.4:"],
      peer + ["persistent-keepalive", "x"], peer + ["persistent-keepalive", "65536"],
      peer + ["persistent-keepalive", ""],
      peer + ["allowed-ips", "10.0.0.0/33"], peer + ["allowed-ips", "10.0.0.0/x"], peer + ["allowed-ips", "nonsense"],
      peer + ["allowed-ips", ","],
      peer + ["allowed-ips", "fd00::/129"], peer + ["allowed-ips", "10.0.0.0/8", "nonsense"],
      peer + ["preshared-key", "/nonexistent"],
      peer + ["preshared-key", short], peer + ["preshared-key", trailing, "nonsense"],
    ]
    for arguments in mistakes {
      let words = arguments.map { $0 == "IF" ? space.interface : $0 }
      var theirs = try space.wg(words).inOurStyle
      // Ours names the file.
      theirs.errors = theirs.errors.replacingOccurrences(of: "fopen:", with: "/nonexistent:")
      let ours = try space.wg6(words)
      #expect(ours == theirs, "\(arguments)")
    }
    #expect(try space.wg(["showconf", space.interface]) == before)
  }

  @Test func `a peer with the interface's own key is left out in silence by wg, and refused by wg6`() throws {
    let space = try Namespace()
    let own = try keyPair(), other = try keyPair()
    let privateKey = try space.file("own", own.private), othersKey = try space.file("other", other.private)
    try space.require(space.wg6(["set", space.interface, "private-key", privateKey, "peer", other.public]))
    let before = try space.wg(["showconf", space.interface])
    let more = try space.file("more", "[Peer]\nPublicKey = \(own.public)\n")
    let peer = ["peer", own.public, "allowed-ips", "10.0.0.0/8"]
    for words in [["set", space.interface] + peer, ["addconf", space.interface, more]] {
      let outcome = try space.wg6(words)
      #expect(outcome.status == 1)
      #expect(outcome.errors.contains("\(own.public) is the public key of \(space.interface) itself"), "\(outcome)")
    }
    let outcome = try space.wg6(["set", space.interface, "private-key", othersKey])
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("\(other.public) is the public key"))
    #expect(try space.wg(["showconf", space.interface]) == before)
    try space.require(space.wg(["set", space.interface] + peer))
    #expect(try space.wg(["showconf", space.interface]) == before)
    try space.require(space.wg(["set", space.interface, "private-key", othersKey]))
    #expect(try space.wg(["show", space.interface, "peers"]).output == "")
  }

  @Test func `signs before prefixes add and remove them`() throws {
    let space = try Namespace()
    let key = try keyPair().public
    try space.require(space.wg6(["set", space.interface, "peer", key, "allowed-ips", "10.0.0.0/8"]))
    try space.require(space.wg6(["set", space.interface, "peer", key, "allowed-ips", "+10.1.0.0/16,+fd00::/8"]))
    let added = try space.wg(["show", space.interface, "allowed-ips"]).output
    #expect(Set(added.split(whereSeparator: \.isWhitespace).dropFirst()) == ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"])
    // wireguard-go 0.0.20220316 does not know removals yet.
    guard !Programs.daemonShufflesPeers else { return }
    try space.require(space.wg6(["set", space.interface, "peer", key, "allowed-ips", "-10.0.0.0/8"]))
    let removed = try space.wg(["show", space.interface, "allowed-ips"]).output
    #expect(Set(removed.split(whereSeparator: \.isWhitespace).dropFirst()) == ["10.1.0.0/16", "fd00::/8"])
  }

  @Test func `the address book's names stand beside keys for people, and nowhere else`() throws {
    let space = try Namespace()
    let key = try keyPair().public
    let book = ["WG6_KEYS": try space.file("keys", "laptop \(key) Anna's\n")]
    try space.require(
      space.wg6(["set", space.interface, "peer", "@laptop", "allowed-ips", "10.0.0.2"], environment: book))
    #expect(try space.wg6(["show", space.interface], environment: book).output.contains("peer: \(key) (laptop)\n"))
    #expect(
      try space.wg6(["show", space.interface], environment: book).output.replacingOccurrences(of: " (laptop)", with: "")
        == space.wg(["show", space.interface]).output)
    for field in Self.fields {
      #expect(
        try space.wg6(["show", space.interface, field], environment: book)
          == space.wg(["show", space.interface, field]))
    }
    #expect(
      try space.wg6(["showconf", space.interface], environment: book) == space.wg(["showconf", space.interface]))
  }

  /// `diff` of every form of `show`, and of `showconf`.
  private func compareEverything(_ space: Namespace) throws {
    var forms = [["show", space.interface], ["showconf", space.interface]]
    forms += Self.fields.map { ["show", space.interface, $0] }
    for form in forms { try compare(space, form) }
    try compare(space, ["show", space.interface], environment: ["WG_COLOR_MODE": "always", "WG_HIDE_KEYS": "never"])
    // 'all' tells of every namespace's devices: what others do meanwhile is not compared. A device of theirs that comes or
    // goes between the two, and has no peers, may still change a line of ours: `wg` ends no line after its name.
    for form in [["show", "interfaces"], ["show", "all", "dump"], ["show", "all", "endpoints"]] {
      func own(_ outcome: Outcome) -> [Substring] {
        outcome.output.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("\(space.interface)\t") }
      }
      let areAlike = try (0..<10).contains { _ in
        let (theirs, ours) = (own(try space.wg(form)), own(try space.wg6(form)))
        return Programs.daemonShufflesPeers ? ours.count == theirs.count : ours == theirs
      }
      #expect(areAlike, "\(form)")
    }
  }

  private func compare(_ space: Namespace, _ form: [String], environment: [String: String] = [:]) throws {
    let theirs = try space.wg(form, environment: environment), ours = try space.wg6(form, environment: environment)
    if ours == theirs { return }
    let isReordered = Programs.daemonShufflesPeers && ours.output.utf8.sorted() == theirs.output.utf8.sorted()
    #expect(
      isReordered,
      "\(form): \(ours.errors)\(ours.output.prefix(500)) is not \(theirs.errors)\(theirs.output.prefix(500))")
  }

  /// A device's configuration, its lines in an order of their own.
  private func state(_ space: Namespace) throws -> [String] {
    try space.wg(["showconf", space.interface]).output.split(separator: "\n").map { line in
      line.hasPrefix("ListenPort")
        ? "" : String(line.split(separator: ",").map { String($0) }.sorted().joined(separator: ","))
    }.sorted()
  }
}
