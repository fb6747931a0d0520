import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `What keeps a tunnel from coming up` {
  private static let text = """
    [Interface]
    PrivateKey = \(ownKey)
    ListenPort = 51820
    DNS = 192.0.2.53
    DNS = ~corp.example
    Address = 10.0.0.1/24
    Address = fd00::1/64
    KillSwitch = yes
    PostUp = true
    [Peer]
    PublicKey = \(peerKey(1))
    AllowedIPs = 10.0.0.0/24, fd00::/64
    """

  private static let sound = Conditions(service: .resolved)

  private func obstacles(
    _ change: (inout Conditions) -> Void, _ text: String = Self.text, hooksProblem: String? = nil,
    runsHooks: Bool = true
  ) throws -> [Obstacle] {
    var conditions = Self.sound
    change(&conditions)
    return TunnelFile(
      try configuration(text), path: "/t.conf", runsHooks: runsHooks, hooksProblem: hooksProblem
    ).obstacles(conditions)
  }

  @Test func `is nothing on a machine that has all that the file asks for`() throws {
    #expect(try obstacles { _ in }.isEmpty)
  }

  @Test func `each is told with its line`() throws {
    func told(_ change: (inout Conditions) -> Void) throws -> [String] {
      try obstacles(change).map { "\($0.kind) \($0.line)" }
    }
    #expect(try told { $0.service = nil } == ["resolver 4"])
    #expect(try told { $0.service = .resolvconf } == ["routingDomains 5"])
    #expect(try told { $0.hasIPv6 = false } == ["ipv6 7"])
    #expect(try told { $0.deviceProblem = "/dev/net/tun: none" } == ["device 1"])
    #expect(try told { $0.isPortFree = { $0 != 51820 } } == ["port 3"])
    #expect(try told { $0.firewallProblem = "no nftables" } == ["firewall 8"])
    #expect(try told { $0.settingProblem = "read-only" } == [])
    #expect(
      try obstacles({ $0.settingProblem = "read-only" }, Self.text + ", 0.0.0.0/0").map { "\($0.kind) \($0.line)" }
        == ["setting 1"])
    #expect(
      try obstacles(
        { $0.settingProblem = "read-only" }, "[Interface]\nTable = off\n" + Self.text.dropFirst(12) + ", 0.0.0.0/0"
      )
      .isEmpty)
    #expect(try obstacles({ _ in }, hooksProblem: "open to all").map { "\($0.kind) \($0.line)" } == ["hooks 9"])
    #expect(try obstacles({ _ in }, hooksProblem: "open to all", runsHooks: false).isEmpty)
  }

  @Test func `what the file does not ask for keeps nothing down`() throws {
    let plain =
      "[Interface]\nAddress = 10.0.0.1\nDNS = corp.example\n[Peer]\nPublicKey = \(peerKey(1))\nAllowedIPs = 10.0.0.0/8\n"
    let nothing: (inout Conditions) -> Void = {
      ($0.service, $0.hasIPv6, $0.firewallProblem, $0.isPortFree) = (nil, false, "none", { _ in false })
    }
    #expect(try obstacles(nothing, plain, hooksProblem: "open to all").isEmpty)
    #expect(try obstacles(nothing, plain + "AllowedIPs = fd00::/8\n").map(\.line) == [7])
    #expect(
      try obstacles(nothing, "[Interface]\nTable = off\n" + plain.dropFirst(12) + "AllowedIPs = fd00::/8\n").isEmpty)
  }

  @Test func `of many networks four are named, and the others counted`() {
    let networks = (1...6).map { prefix("10.\($0).0.0/16") }
    #expect(IPPrefix.list(Array(networks.prefix(1))) == "10.1.0.0/16")
    #expect(IPPrefix.list(Array(networks.prefix(4))) == "10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16")
    #expect(IPPrefix.list(Array(networks.prefix(5))) == "10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16 and 1 more")
    #expect(IPPrefix.list(networks).hasSuffix("10.4.0.0/16 and 2 more"))
  }

  @Test func `PreUp may clear everything away but the right to run it`() {
    for kind in Obstacle.Kind.allCases {
      #expect(Obstacle(kind: kind, line: 1, message: "").isLeftToPreUp == (kind != .hooks))
    }
  }
}
