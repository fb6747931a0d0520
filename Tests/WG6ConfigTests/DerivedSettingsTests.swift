import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Addresses from keys in a file` {
  private static let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
  private static let laptop = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
  // The vectors of docs/addresses.md.
  private static let otherAddress = "fe80::3acd:857e:9648:17c"
  private static let laptopAddress = "fe80::6e93:96c3:ba42:4f11"
  private static let home = (
    laptop: "fd58:f25b:e75d:0:6e93:96c3:ba42:4f11", other: "fd58:f25b:e75d:0:3acd:857e:9648:17c"
  )
  private static let key = "PrivateKey = \(BrokenFile.privateKey)"

  private static let own: UInt64 = {
    let bytes = Array(BrokenFile.privateKey.utf8)
    let key = KeyBase64.decode(bytes.span.bytes) { PrivateKey(bytes: $0) }!!
    return DerivedAddress.interfaceIdentifier(of: key.publicKey)
  }()
  private static let ownAddress = IPAddress.v6(high: DerivedAddress.linkLocalNetwork, low: own)
  private static let ownAtHome = IPAddress.v6(high: 0xFD58_F25B_E75D_0000, low: own)

  private func file(_ interface: String, _ peers: String...) throws -> ConfigurationFile {
    try configuration(([("[Interface]\n\(interface)\n")] + peers.map { "[Peer]\n\($0)\n" }).joined())
  }

  private func allowed(_ file: ConfigurationFile, connected: [IPPrefix] = []) -> [[String]] {
    Coverage(file, connected: connected).allowedIPs.map { $0.map(\.description) }
  }

  private func mistakes(_ text: String) -> [String] {
    do throws(FileMistakes) {
      _ = try ConfigurationFile(reading: Array(text.utf8).span.bytes, named: "f", dialect: .quick)
      return []
    } catch {
      return error.mistakes.map(\.description)
    }
  }

  @Test func `LinkLocal gives the interface its address behind the written ones, and each peer its own`() throws {
    let file = try file(
      "LinkLocal = auto\nAddress = 10.0.0.1/24\n\(Self.key)", "PublicKey = @laptop\nAllowedIPs = 10.0.0.2/32",
      "PublicKey = \(Self.other)")
    #expect(file.addresses.map(\.description) == ["10.0.0.1/24", "\(Self.ownAddress)/64"])
    #expect(file.addressTexts == ["10.0.0.1/24", "\(Self.ownAddress)/64"])
    #expect(allowed(file) == [["10.0.0.2/32", "\(Self.laptopAddress)/128"], ["\(Self.otherAddress)/128"]])
    // They are on the link: nothing outside is routed, excluded or held back by them.
    let coverage = Coverage(file, connected: [])
    #expect(coverage.routes().map(\.description) == ["10.0.0.2/32"])
    #expect(coverage.covered.prefixes.map(\.description) == ["10.0.0.2/32"])
  }

  @Test func `the only peer of a link gets what goes to all neighbours, and one of several does not`() throws {
    let alone = try file("LinkLocal = auto\n\(Self.key)", "PublicKey = @laptop")
    #expect(allowed(alone) == [["\(Self.laptopAddress)/128", "ff02::/16"]])
    let given = try file(
      "LinkLocal = auto\n\(Self.key)", "PublicKey = @laptop\nAllowedIPs = ff02::/16", "PublicKey = \(Self.other)")
    #expect(allowed(given) == [["ff02::/16", "\(Self.laptopAddress)/128"], ["\(Self.otherAddress)/128"]])
  }

  @Test func `without the settings nothing follows from keys`() throws {
    for setting in ["", "LinkLocal = no", "LinkLocal = off", "LinkLocal = auto\nLinkLocal = no"] {
      let file = try file("\(Self.key)\n\(setting)", "PublicKey = @laptop\nAllowedIPs = 10.0.0.2/32")
      #expect(file.addresses.isEmpty && allowed(file) == [["10.0.0.2/32"]])
    }
  }

  @Test func `a network's name gives an address in its place, and each peer its own, with a route`() throws {
    let file = try file(
      "Address = 10.0.0.1/24, ula:home, fd00::1/64\n\(Self.key)", "PublicKey = @laptop\nAllowedIPs = 10.0.0.2/32")
    #expect(file.addresses.map(\.description) == ["10.0.0.1/24", "\(Self.ownAtHome)/64", "fd00::1/64"])
    #expect(file.addressTexts[1] == "\(Self.ownAtHome)/64")
    #expect(allowed(file) == [["10.0.0.2/32", "\(Self.home.laptop)/128"]])
    let coverage = Coverage(file, connected: [])
    #expect(coverage.routes().map(\.description) == ["\(Self.home.laptop)/128", "10.0.0.2/32"])
  }

  @Test func `local networks leave link-local addresses and the tunnel's own network in the tunnel`() throws {
    let file = try file(
      "LinkLocal = auto\nAddress = ula:home\nExcludedIPs = lan\n\(Self.key)",
      "PublicKey = @laptop\nAllowedIPs = ::/0\nExcludedIPs = fe80::/10")
    let connected = ["fe80::/64", "fd58:f25b:e75d::/64"].compactMap { IPPrefix($0) }
    let prefixes = allowed(file, connected: connected)[0]
    for address in ["\(Self.laptopAddress)/128", "\(Self.home.laptop)/128", "ff02::/16"] {
      #expect(prefixes.contains(address), "\(address)")
    }
  }

  @Test func `several sections of one peer give it its addresses once`() throws {
    let file = try file(
      "LinkLocal = auto\nAddress = ula:home\n\(Self.key)", "PublicKey = @laptop\nAllowedIPs = 10.0.0.2/32",
      "PublicKey = @laptop\nAllowedIPs = 10.0.0.3/32")
    #expect(
      allowed(file) == [[], ["10.0.0.3/32", "\(Self.home.laptop)/128", "\(Self.laptopAddress)/128", "ff02::/16"]])
  }

  @Test func `what contradicts the keys is refused, and both lines are told`() {
    let peer = "[Peer]\nPublicKey = \(Self.laptop)\n", second = "[Peer]\nPublicKey = \(Self.other)\n"
    let head = "[Interface]\n\(Self.key)\nLinkLocal = auto\n"
    let named = "[Interface]\n\(Self.key)\nAddress = ula:home\n"
    let cases: [(text: String, message: String)] = [
      (
        "[Interface]\nLinkLocal = auto\n",
        "f:2: read LinkLocal = auto without PrivateKey, expected the key that the address follows from"
      ),
      (
        "[Interface]\nAddress = ula:home\n",
        "f:2: read Address = ula:home without PrivateKey, expected the key that the address follows from"
      ),
      (
        head + "Address = fe80::1/64\n",
        "f:4: read Address = fe80::1/64 beside LinkLocal = auto (line 3), which is \(Self.ownAddress)/64: expected one of both"
      ),
      (
        named + "Address = \(Self.ownAtHome)/128\n",
        "f:4: read Address = \(Self.ownAtHome)/128 beside Address = ula:home (line 3), which is \(Self.ownAtHome)/64: expected one of both"
      ),
      (
        head + peer + second + "AllowedIPs = ::/0, \(Self.laptopAddress)\n",
        "f:8: read AllowedIPs = \(Self.laptopAddress)/128, which by LinkLocal = auto (line 3) is the address of the peer \(Self.laptop), expected another"
      ),
      (
        head + peer + "AllowedIPs = \(Self.ownAddress)\n",
        "f:6: read AllowedIPs = \(Self.ownAddress)/128, which by LinkLocal = auto (line 3) is the address of this interface, expected another"
      ),
      (
        named + "ExcludedIPs = fd00::/8\n" + peer,
        "f:4: read ExcludedIPs = fd00::/8, which takes \(Self.home.laptop) away from the peer that has it by line 3, expected another prefix"
      ),
      (
        named + peer + "ExcludedIPs = \(Self.home.laptop)\n",
        "f:6: read ExcludedIPs = \(Self.home.laptop)/128, which takes \(Self.home.laptop) away from the peer that has it by line 3, expected another prefix"
      ),
    ]
    for (text, message) in cases { #expect(mistakes(text) == [message], "\(text)") }
    // Of a key with a mistake, that is told alone.
    #expect(mistakes("[Interface]\nPrivateKey = x\nLinkLocal = auto\n").count == 1)
    // Another peer's exclusion, and a peer's own prefixes, contradict nothing.
    for text in [
      named + peer + second + "ExcludedIPs = \(Self.home.laptop)\n",
      head + peer + "AllowedIPs = \(Self.laptopAddress)\n",
      head + "ExcludedIPs = fe80::/10\n" + peer, head + peer + "AllowedIPs = fe80::/64, fe80::1\n" + second,
    ] {
      #expect(mistakes(text).isEmpty, "\(text)")
    }
  }

  @Test func `an export has the addresses where plain WireGuard reads them`() throws {
    let text = """
      [Interface]
      LinkLocal = AUTO # ours
      \(Self.key)
      Address = 10.0.0.1/24, ULA:home # mine
      AcceptRA = yes
      [Peer]
      PublicKey = @laptop # Anna's
      AllowedIPs = 10.0.0.2
      AllowedIPs = 10.0.0.3/32, fd00::/8 # more
      [Peer]
      PublicKey = \(Self.other)
      """
    let file = try configuration(text)
    var output = WipedBytes()
    let bytes = Array(text.utf8)
    file.writeExported(bytes.span.bytes, coverage: Coverage(file, connected: []), to: &output)
    #expect(
      output.string == """
        [Interface]
        Address = \(Self.ownAddress)/64 # ours
        \(Self.key)
        Address = 10.0.0.1/24, \(Self.ownAtHome)/64 # mine
        [Peer]
        PublicKey = \(Self.laptop) # Anna's
        AllowedIPs = 10.0.0.2
        AllowedIPs = 10.0.0.3/32, fd00::/8, \(Self.laptopAddress)/128, \(Self.home.laptop)/128 # more
        [Peer]
        PublicKey = \(Self.other)
        AllowedIPs = \(Self.otherAddress)/128, \(Self.home.other)/128

        """)
    var stripped = WipedBytes()
    output.withBytes { ConfigurationFile.writeStripped($0, to: &stripped) }
    let plain = try configuration(stripped.string, .plain)
    #expect(plain.peers.map { $0.allowedIPs.count } == [5, 2])
  }

  @Test func `a saved file has the settings, and not what follows from them`() throws {
    let file = try file(
      "LinkLocal = auto\nAddress = ula:home, 10.0.0.1/24\nAcceptRA = yes\n\(Self.key)",
      "PublicKey = @laptop\nAllowedIPs = 10.0.0.2/32, \(Self.laptopAddress)")
    let shown = """
      [Interface]
      \(Self.key)

      [Peer]
      PublicKey = \(Self.laptop)
      AllowedIPs = 10.0.0.2/32, \(Self.laptopAddress)/128, \(Self.home.laptop)/128

      [Peer]
      PublicKey = \(Self.other)
      AllowedIPs = \(Self.otherAddress)/128, \(Self.home.other)/128
      """
    var output = WipedBytes()
    let addresses = file.addresses
    let bytes = Array(shown.utf8)
    file.writeSaved(
      bytes.span.bytes, addresses: addresses, mtu: nil, coverage: Coverage(file, connected: []), to: &output)
    #expect(
      output.string == """
        [Interface]
        Address = ula:home
        Address = 10.0.0.1/24
        LinkLocal = auto
        AcceptRA = yes
        \(Self.key)

        [Peer]
        PublicKey = \(Self.laptop)
        AllowedIPs = 10.0.0.2/32, \(Self.laptopAddress)/128

        [Peer]
        PublicKey = \(Self.other)

        """)
  }

  @Test func `a file with nothing but keys has no finding, and AcceptRA without use has`() throws {
    func warnings(_ text: String) throws -> [String] {
      let file = try configuration(text)
      let endpoints = file.lookUpEndpoints(named: "f", retries: 0) { _, _ in }.found
      return file.findings(
        named: "f", isWorldAccessible: false, coverage: Coverage(file, connected: []), endpoints: endpoints
      ) { "\($0)" }.compactMap { $0.warning?.rawValue }
    }
    let peer = "[Peer]\nPublicKey = @laptop\n", head = "[Interface]\n\(Self.key)\n"
    #expect(try warnings(head + "LinkLocal = auto\nAddress = ula:home\nAcceptRA = yes\n" + peer) == [])
    #expect(
      try warnings(
        head + "Address = fd00::1/64\nAcceptRA = yes\n" + peer
          + "AllowedIPs = ::/0, 0.0.0.0/0\nEndpoint = 192.0.2.1:1\n") == ["idle-accept-ra"])
    #expect(try warnings(head + "Address = fe80::1/64\nAcceptRA = yes\n" + peer + "AllowedIPs = fe80::2\n") == [])
    #expect(
      try warnings(head + "Address = fe80::1/64, fd00::1/64\nAcceptRA = yes\n" + peer + "AllowedIPs = fd00::/64\n")
        .contains("idle-accept-ra"))
    let endpoint = peer + "Endpoint = [2001:db8::1]:1\n"
    #expect(try warnings(head + "LinkLocal = auto\nAcceptRA = yes\n" + endpoint) == ["router-loop"])
    #expect(
      try warnings(
        head + "LinkLocal = auto\nAcceptRA = yes\nAddress = 10.0.0.1\n" + endpoint + "AllowedIPs = ::/0, 0.0.0.0/0\n")
        == [])
  }
}
