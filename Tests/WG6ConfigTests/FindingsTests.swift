import BrokenFiles
import Testing
import WG6Protocol

@testable import WG6Config

@Suite struct `What is strange in a file` {
  private static let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
  private static let peer = "[Peer]\nPublicKey = @laptop\n"

  @Test func `a sound file gets no word`() throws {
    for text in [
      "[Interface]\n",
      "[Interface]\nAddress = 10.0.0.2/24, fd00::2/128\n\(Self.peer)AllowedIPs = 10.0.0.0/24, fd00:1::/64\nEndpoint = 192.0.2.1:1\n",
      "[Interface]\nAddress = 10.0.0.2\n\(Self.peer)AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 192.0.2.1:1\n",
      "[Interface]\nAddress = 10.0.0.2/32, fd00::1\n\(Self.peer)AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, ::/0\n",
      "[Interface]\nTable = off\n\(Self.peer)AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.1:1\n",
    ] {
      #expect(try findings(text) == [], "\(text)")
    }
  }

  @Test func `a prefix taken over is told by the names of both`() throws {
    #expect(
      try findings(
        "[Interface]\n\(Self.peer)AllowedIPs = 10.0.0.0/8\nAllowedIPs = fd00::/8\n[Peer]\nPublicKey = \(Self.other)\nAllowedIPs = fd00::1/8\n"
      )
        == ["test.conf:8: (xTIB) takes fd00::/8 from (TrMv) (line 5) [takeover]"])
  }

  @Test(arguments: [
    ("0.0.0.0/0", "all of IPv4 goes through the tunnel, IPv6 does not; ::/0 is missing, perhaps"),
    ("fd00::/8, ::/1, 8000::/1", "all of IPv6 goes through the tunnel, IPv4 does not; 0.0.0.0/0 is missing, perhaps"),
  ])
  func `one family's default route without the other's is told`(allowedIPs: String, message: String) throws {
    #expect(
      try findings("[Interface]\n\(Self.peer)\nAllowedIPs = \(allowedIPs)\n") == [
        "test.conf:5: \(message) [one-family]"
      ])
  }

  @Test(arguments: ["10.0.0.0/8", "10.0.0.1", "0.0.0.0/1"])
  func `an endpoint in the peer's own prefixes is told where no mark leads past them`(allowedIPs: String) throws {
    func found(_ table: String) throws -> [String] {
      try findings("[Interface]\nTable = \(table)\n\(Self.peer)AllowedIPs = \(allowedIPs)\nEndpoint = 10.0.0.1:1\n")
    }
    #expect(try found("auto").isEmpty && found("off").isEmpty)
    let line = try #require(try found("7").first)
    #expect(line.hasPrefix("test.conf:6: Endpoint = 10.0.0.1:1 lies in the peer's own AllowedIPs = "))
    #expect(line.contains("may be led into the tunnel") && line.contains("(line 5)"))
  }

  @Test(arguments: ["auto", "7"])
  func `an endpoint in the network of the interface's address is told`(table: String) throws {
    let found = try findings(
      "[Interface]\nAddress = 10.0.0.2/24\nTable = \(table)\n\(Self.peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 10.0.0.1:1\n"
    )
    #expect(found.count == 1)
    #expect(found[0].contains("lies in the network of Address = 10.0.0.2/24 (line 2)"), "\(found)")
    let apart = try findings(
      "[Interface]\nAddress = 10.0.0.2/32\n\(Self.peer)AllowedIPs = 10.0.0.0/8\nEndpoint = 10.0.0.1:1\n")
    #expect(apart.isEmpty)
  }

  @Test func `an endpoint in another peer's prefixes, or excluded, is nothing strange`() throws {
    #expect(
      try findings(
        "[Interface]\n\(Self.peer)AllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = \(Self.other)\nAllowedIPs = 10.1.0.0/16\nExcludedIPs = 10.1.0.1\nEndpoint = 10.1.0.1:1\n"
      )
        == [])
  }

  @Test func `an address that leads nowhere is told`() throws {
    #expect(
      try findings(
        "[Interface]\nAddress = 10.0.0.2/24\nAddress = fd00::1, 10.1.0.2\n\(Self.peer)AllowedIPs = 10.1.0.0/24\n")
        == [
          "test.conf:2: Address = 10.0.0.2/24: nothing in 10.0.0.0/24 is in any peer's AllowedIPs [unused-address]",
          "test.conf:3: Address = fd00::1/128: no peer has AllowedIPs of IPv6 [unused-address]",
        ])
  }

  @Test func `a secret key is told in a file that everybody may read, another file is not`() throws {
    #expect(
      try findings("[Interface]\nPrivateKey = \(BrokenFile.privateKey)\n", isWorldAccessible: true)
        == ["test.conf:2: a secret key, in a file that anybody may read [readable-key]"])
    #expect(
      try findings(
        "[Interface]\n[Peer]\nPresharedKey = \(BrokenFile.privateKey)\nPublicKey = @laptop\nAllowedIPs = ::1\n",
        isWorldAccessible: true)
        == ["test.conf:3: a secret key, in a file that anybody may read [readable-key]"])
    #expect(try findings("[Interface]\n", isWorldAccessible: true) == [])
  }

  @Test func `names that nobody knows are told by line, the others are found`() throws {
    let file = try configuration(
      "[Interface]\n\(Self.peer)Endpoint = nobody.invalid:1\n[Peer]\nPublicKey = \(Self.other)\nEndpoint = 192.0.2.1:1\n"
    )
    let (found, failures) = file.lookUpEndpoints(named: "f", retries: 0) { _, _ in }
    #expect(found.count == 1 && failures.map(\.line) == [4])
  }

  /// Without what these short files lack.
  private func findings(_ text: String, isWorldAccessible: Bool = false) throws -> [String] {
    let file = try configuration(text)
    let (endpoints, failures) = file.lookUpEndpoints(named: "test.conf", retries: 0) { _, _ in }
    #expect(failures.isEmpty)
    return file.findings(
      named: "test.conf", isWorldAccessible: isWorldAccessible, coverage: Coverage(file, connected: []),
      endpoints: endpoints, name: { "(\($0.base64.prefix(4)))" }
    ).filter { ![.noPrivateKey, .noAddress, .noEndpoint].contains($0.warning) }.map(\.description)
  }
}
