import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `What wg-quick's files have besides` {
  @Test func `servers, search domains and routing domains are told apart as wg-quick does`() throws {
    let file = try configuration(
      """
      [Interface]
      DNS = 192.0.2.53, 2001:db8::53 example.org
      dns=corp.example,~corp.example # ours
      DNS = ~. , 1.1.1.1
      DNS =
      """)
    #expect(file.resolver.servers.map(\.description) == ["192.0.2.53", "2001:db8::53", "1.1.1.1"])
    #expect(file.resolver.searchDomains == ["example.org", "corp.example"])
    #expect(file.resolver.routingDomains == ["corp.example", "."])
    #expect(file.warnings.map(\.warning) == [.emptyValue])
    #expect(try configuration("[Interface]\n").resolver.isEmpty)
  }

  @Test func `hooks are what stands behind the first =, up to a comment, in order`() throws {
    let file = try configuration(
      """
      [Interface]
      PostUp = iptables -A FORWARD -i %i -j ACCEPT; echo "a = b"   # forwarding
      preup=\t true && false \r
      PostUp=ip rule add  table 5
      PreDown = x
      PostDown = y
      PostDown =
      PostUp = echo é
      """)
    #expect(
      file.hooks.postUp
        == ["iptables -A FORWARD -i %i -j ACCEPT; echo \"a = b\"", "ip rule add  table 5", "echo é"])
    #expect(file.hooks.preUp == ["true && false"])
    #expect(file.hooks.preDown == ["x"])
    #expect(file.hooks.postDown == ["y", ""])
    #expect(file.warnings.isEmpty)
  }

  @Test func `a hook that is no text is refused`() {
    let bytes = Array("[Interface]\nPostUp = echo ".utf8) + [0xFF, 10]
    #expect(throws: FileMistakes.self) {
      try ConfigurationFile(reading: bytes.span.bytes, named: "f", dialect: .quick)
    }
  }

  @Test(arguments: [("true", true), ("FALSE", false), ("True", true), ("false", false)])
  func `SaveConfig is true or false, in any case`(text: String, expected: Bool) throws {
    #expect(try configuration("[Interface]\nSaveConfig = \(text)\n").savesConfiguration == expected)
  }

  @Test(arguments: [
    ("auto", RouteTable.automatic), ("", .automatic), ("OFF", .off), ("51820", .number(51820)), ("0x10", .number(16)),
    ("main", .number(254)), ("default", .number(253)), ("local", .number(255)),
  ])
  func `a table is auto, off, a number or a name`(text: String, table: RouteTable) throws {
    let file = try configuration(
      "[Interface]\nTable = \(text)\n[Peer]\nPublicKey=@laptop\nAllowedIPs=::/0, 0.0.0.0/0\n")
    #expect(file.table == table)
  }

  @Test func `names of tables are read as ip route reads them`() {
    let text = Array("# reserved\n255\tlocal\n 7 office # ours\n0x20  hex\nx bad\n8\n#9 nine\n".utf8)
    #expect(RoutingTables.number(of: "office", in: text.span.bytes) == 7)
    #expect(RoutingTables.number(of: "hex", in: text.span.bytes) == 32)
    for name in ["nine", "bad", "8", ""] { #expect(RoutingTables.number(of: name, in: text.span.bytes) == nil) }
  }

  @Test func `what wg-quick takes as not given is not given`() throws {
    let file = try configuration(
      "[Interface]\nMTU = 1400\nMTU =\nTable = off\nTable =\nAddress =\nAddress = ,\nDNS = ,\nPrivateKey=\(BrokenFile.privateKey)"
    )
    #expect(file.mtu == nil)
    #expect(file.table == .automatic)
    #expect(file.addresses.isEmpty)
    #expect(file.warnings.filter { $0.warning == .repeatedKey }.map(\.line) == [3, 5])
    #expect(file.warnings.filter { $0.warning == .emptyValue }.map(\.line) == [3, 5, 6, 7, 8])
  }

  @Test func `an address may have a mask, an MTU may be hexadecimal`() throws {
    let file = try configuration("[Interface]\nAddress = 10.0.0.1/255.255.255.0, 10.1.0.1/0.0.0.0\nMTU = 0x578\n")
    #expect(file.addresses.map(\.description) == ["10.0.0.1/24", "10.1.0.1/0"])
    #expect(file.mtu == 1400)
  }

  @Test func `several sections and repeated keys add up`() throws {
    let file = try configuration(
      """
      [Interface]
      Address = 10.0.0.1
      PostUp = a
      [Peer]
      PublicKey = @laptop
      ExcludedIPs = 10.0.0.0/8
      ExcludedIPs = LAN fd00::1
      [interface]
      Address = fd00::1
      PostUp = b
      ExcludedIPs = 192.168.0.1/16, lan
      ExcludedIPs = 2001:db8::/32
      """)
    #expect(file.addresses.count == 2)
    #expect(file.hooks.postUp == ["a", "b"])
    #expect(file.excludedIPs.prefixes.map(\.description) == ["192.168.0.0/16", "2001:db8::/32"])
    #expect(file.excludedIPs.includesLAN)
    #expect(file.peers[0].excludedIPs.prefixes.map(\.description) == ["10.0.0.0/8", "fd00::1/128"])
    #expect(file.peers[0].excludedIPs.includesLAN)
    #expect(file.warnings.map(\.line) == [8, 11])
  }

  @Test(arguments: [("yes", KillSwitch.on), ("NO", .off), ("lan", .exceptLAN)])
  func `the kill switch is on, off, or lets the networks around alone`(text: String, expected: KillSwitch) throws {
    let file = try configuration("[Interface]\nKillSwitch = \(text)\nClampMSS = Yes\n")
    #expect(file.killSwitch == expected)
    #expect(file.clampsMSS)
    #expect(try configuration("[Interface]\n").killSwitch == .off)
    #expect(try configuration("[Interface]\n").guardsAgainstSpoofing)
  }
}
