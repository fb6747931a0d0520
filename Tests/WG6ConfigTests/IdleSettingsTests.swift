import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

/// What is accepted, does nothing, and is told for that.
@Suite struct `What a file says without effect` {
  private static let head = "[Interface]\nPrivateKey = \(BrokenFile.privateKey)\nAddress = 10.0.0.1/8\n"
  private static let peer = "[Peer]\nPublicKey = @laptop\n"
  private static let other = "[Peer]\nPublicKey = \(BrokenFile.publicKey)\n"

  /// The file behind `head`, and what is said of it: lines and names.
  private static let cases: [(text: String, told: [String])] = [
    ("\(peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 25\n", []),
    ("\(peer)AllowedIPs = 10.0.0.0/8\nPersistentKeepalive = 25\n", ["7 idle-keepalive"]),
    ("\(peer)AllowedIPs = 10.0.0.0/8\nPersistentKeepalive = off\n", []),
    (
      "\(peer)AllowedIPs = 10.0.0.0/8\nPersistentKeepalive = 25\n\(peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 192.0.2.1:1\n",
      ["8 repeated-section"]
    ),
    ("\(peer)", ["4 no-allowed-ips", "3 unused-address"]),
    ("\(peer)AllowedIPs = 10.0.0.0/8\n\(peer)", ["7 repeated-section", "7 no-allowed-ips", "3 unused-address"]),
    ("\(peer)AllowedIPs = +10.0.0.0/8\n", ["6 plus-sign"]),
    ("ExcludedIPs = 10.9.0.0/16, fd00::/8\n\(peer)AllowedIPs = 10.0.0.0/8\n", ["4 idle-exclusion"]),
    ("ExcludedIPs = lan\n\(peer)AllowedIPs = 10.0.0.0/8\n", []),
    (
      "\(peer)AllowedIPs = 10.0.0.0/9\nExcludedIPs = 10.128.0.0/16\n\(other)AllowedIPs = 10.128.0.0/9\n",
      ["7 idle-exclusion"]
    ),
    (
      "ExcludedIPs = 10.128.0.0/9\n\(peer)AllowedIPs = 10.0.0.0/9, 10.128.0.0/16\n", ["7 excluded-whole"]
    ),
    ("KillSwitch = yes\n\(peer)AllowedIPs = 10.0.0.0/8\n", []),
    ("KillSwitch = on\n", ["4 idle-kill-switch"]),
    ("RouteSyncFilter = fd00::/8\n", ["4 idle-route-sync"]),
    ("RouteSync = yes\nRouteSyncFilter = fd00::/8\nDeadAfter = off\n", []),
    ("DeadAfter = 3\n", ["4 idle-dead-after"]),
    (
      "DeadAfter = 3\n\(peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 3\n",
      ["4 idle-dead-after"]
    ),
    ("DeadAfter = 3\n\(peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 2\n", []),
    ("DNS = corp.example\nDNS = ~a.example\n", ["4 no-server"]),
    ("DNS = corp.example, 10.0.0.53\n", []),
    ("DNS =\nMTU =\nTable =\nAddress = ,\n", ["4 empty-value", "5 empty-value", "6 empty-value", "7 empty-value"]),
    ("MTU = 1400\nMTU = 1420\n", ["5 repeated-key"]),
    ("ClampMSS = yes\nClampMSS = no\nKillSwitch = no\nKillSwitch = no\n", ["5 repeated-key", "7 repeated-key"]),
    (
      "\(peer)AllowedIPs = 10.0.0.0/8\nPresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
      ["7 zero-key"]
    ),
    ("\(peer)AllowedIPs = 0.0.0.0/0, ::/0\n", ["6 no-endpoint"]),
    ("Table = off\n\(peer)AllowedIPs = 0.0.0.0/0, ::/0\n", []),
    ("\(peer)AllowedIPs = 0.0.0.0/0, ::/0\n\(other)AllowedIPs = fd00::/8\nEndpoint = 192.0.2.1:1\n", []),
    ("\(peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 192.168.001.010:1\n", ["7 octal-address"]),
  ]

  @Test func `is told with its line and its name, and by nothing else`() throws {
    for (text, told) in Self.cases {
      #expect(try Swift.Set(warnings(Self.head + text)) == Swift.Set(told), "\(text)")
    }
  }

  @Test func `is told by check before a tunnel is without keys and addresses`() throws {
    #expect(try warnings("# c\n[Interface]\n") == ["2 no-private-key", "2 no-address"])
    #expect(
      try warnings("[Interface]\nAddress = 10.0.0.1\nPrivateKey = \(String(repeating: "A", count: 43))=\n")
        == ["3 zero-key", "1 no-private-key"])
  }

  @Test func `every warning is silent where the file says so, and only that one`() throws {
    for (text, told) in Self.cases where !told.isEmpty {
      let names = Swift.Set(told.map { $0.split(separator: " ")[1] }).sorted()
      for name in names {
        let silent = Self.head + "warnings = -\(name)\n" + text
        #expect(
          try Swift.Set(warnings(silent).map { $0.split(separator: " ")[1] }) == Swift.Set(names).subtracting([name]))
      }
      let all = Self.head + "Warnings = \(names.map { "-\($0)" }.joined(separator: ", "))\n" + text
      #expect(try warnings(all) == [])
    }
  }

  @Test func `a minus that takes nothing away is found, on a device and in a file for it`() throws {
    func vain(_ text: String, has prefixes: [String], replacing: Bool = false) throws -> [String] {
      let update = try configuration(text, .plain).update(replacing: replacing, endpoints: [:])
      var peer = PeerStatus(publicKey: update.peers[0].publicKey)
      peer.allowedIPs = try prefixes.map { try #require(IPPrefix($0)) }
      let device = DeviceStatus(peers: [peer])
      return update.vainRemovals(before: device).map { "\($0.prefix)" }
    }
    let text = "\(Self.peer)AllowedIPs = +0.0.0.0/0, -192.168.0.0/16\n"
    #expect(try vain(text, has: []) == ["192.168.0.0/16"])
    #expect(try vain(text, has: ["192.168.0.0/16"]) == [])
    #expect(try vain(text, has: ["192.168.0.0/16"], replacing: true) == ["192.168.0.0/16"])
    #expect(try vain("\(Self.peer)AllowedIPs = +fd00::/8, -fd00::/8, -fd00::/8\n", has: []) == ["fd00::/8"])
    #expect(
      try vain("\(Self.peer)AllowedIPs = 10.0.0.0/8\n\(Self.other)AllowedIPs = -10.0.0.0/8\n", has: []) == [
        "10.0.0.0/8"
      ])
  }

  @Test func `an octal address is the one that getaddrinfo makes of it`() throws {
    for (text, address) in [("192.168.001.010", "192.168.1.8"), ("010.0.0.1", "8.0.0.1"), ("1.2.3.0377", "1.2.3.255")] {
      let name = try EndpointName(Array("\(text):7".utf8).span.bytes)
      #expect(name.octalAddress?.description == address)
      #expect(try name.resolve(retries: 0) { _, _ in }.address.description == address)
    }
  }

  private func warnings(_ text: String) throws -> [String] {
    let file = try configuration(text)
    let findings = file.findings(
      named: "test.conf", isWorldAccessible: false, coverage: Coverage(file, connected: []), endpoints: [:],
      name: { "\($0)" })
    return (file.warnings + findings).map { "\($0.line) \($0.warning?.rawValue ?? "without a name")" }
  }
}

@Suite struct `Words and bytes of a file` {
  @Test(arguments: [
    ("yes", true), ("true", true), ("on", true), ("no", false), ("false", false), ("off", false), ("YES", true),
    ("Off", false),
  ])
  func `the same word means the same in every key`(word: String, isOn: Bool) throws {
    let file = try configuration(
      "[Interface]\nSaveConfig = \(word)\nKillSwitch = \(word)\nClampMSS = \(word)\nSpoofGuard = \(word)\n")
    #expect(file.guardsAgainstSpoofing == isOn)
    #expect(file.savesConfiguration == isOn)
    #expect(file.killSwitch == (isOn ? .on : .off))
    #expect(file.clampsMSS == isOn)
    let numbers =
      "[Interface]\nFwMark = \(word)\nTable = \(word)\n[Peer]\nPublicKey = @laptop\nPersistentKeepalive = \(word)\n"
    if isOn {
      #expect(throws: FileMistakes.self) { try configuration(numbers) }
    } else {
      let file = try configuration(numbers)
      #expect(file.firewallMark == 0 && file.table == .off && file.peers[0].persistentKeepalive == 0)
      #expect(file.warnings == [])
    }
  }

  @Test func `an export has the words that wg and wg-quick know, and no byte order mark`() throws {
    let text =
      "\u{FEFF}[Interface]\nSaveConfig = Yes # keep\nFwMark = no\nTable = AUTO\nWarnings = -one-family\nSaveConfig = TRUE\n[Peer]\nPublicKey = \(BrokenFile.publicKey)\nPersistentKeepalive=false\n"
    let bytes = Array(text.utf8)
    let file = try ConfigurationFile(reading: bytes.span.bytes, named: "test.conf", dialect: .quick)
    var exported = WipedBytes()
    file.writeExported(bytes.span.bytes, coverage: Coverage(file, connected: []), to: &exported)
    #expect(
      exported.string
        == "[Interface]\nSaveConfig = true # keep\nFwMark = off\nTable = auto\nSaveConfig = TRUE\n[Peer]\nPublicKey = \(BrokenFile.publicKey)\nPersistentKeepalive=off\n"
    )
  }

  @Test func `a byte order mark is skipped, in files of both dialects and in the address book`() throws {
    #expect(try configuration("\u{FEFF}[Interface]\nMTU = 1400\n").mtu == 1400)
    #expect(try configuration("\u{FEFF}[Interface]\nListenPort = 7\n", .plain).listenPort == 7)
    let book = Array("\u{FEFF}home \(BrokenFile.publicKey)\n".utf8)
    #expect(try AddressBook(reading: book.span.bytes, named: "keys").entries.map(\.name) == ["home"])
  }

  @Test func `text with wider units is named, whether it has a mark or not`() {
    let text = Array("[Interface]\nPrivateKey = \(BrokenFile.privateKey)\n".utf8)
    let little: [UInt8] = text.flatMap { byte -> [UInt8] in [byte, 0] }
    let big: [UInt8] = text.flatMap { byte -> [UInt8] in [0, byte] }
    let files: [([UInt8], String)] = [
      ([0xFF, 0xFE] + little, "UTF-16"), ([0xFE, 0xFF] + big, "UTF-16"), (little, "UTF-16"), (big, "UTF-16"),
      ([0xFF, 0xFE, 0, 0] + text.flatMap { byte -> [UInt8] in [byte, 0, 0, 0] }, "UTF-32"),
    ]
    for (bytes, name) in files {
      for dialect in [ConfigurationDialect.quick, .plain] {
        do throws(FileMistakes) {
          _ = try ConfigurationFile(reading: bytes.span.bytes, named: "f", dialect: dialect)
          Issue.record("accepted")
        } catch {
          #expect(
            error.mistakes.count == 1 && error.description.hasPrefix("f:1: read text in \(name), expected UTF-8;"))
        }
      }
      #expect(throws: FileMistakes.self) { try AddressBook(reading: bytes.span.bytes, named: "keys") }
    }
  }

  @Test func `a link-local server has its interface, an IPv4 address two lengths`() throws {
    let file = try configuration("[Interface]\nDNS = fe80::1%eth0, 10.0.0.53\nAddress = 10.0.0.1/24, 10.0.0.1/32\n")
    #expect(file.resolver.servers.map(\.description) == ["fe80::1%eth0", "10.0.0.53"])
    #expect(file.addresses.map(\.description) == ["10.0.0.1/24", "10.0.0.1/32"])
  }
}
