import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

/// The text that nftables is handed; `FirewallTests` shows the kernel to it.
@Suite("A tunnel's firewall rules") struct FirewallRulesTests {
  @Test func `replace the table in one transaction, and take it away whether it is there or not`() {
    let rules = FirewallRules(interface: "wg0", clampsMSS: true)
    #expect(rules.removal == "table inet wg6-wg0\ndelete table inet wg6-wg0\n")
    #expect(rules.script.hasPrefix(rules.removal + "table inet wg6-wg0 {\n"))
    #expect(rules.script.hasSuffix("}\n"))
  }

  @Test func `that ask for nothing are no table`() {
    let rules = FirewallRules(interface: "wg0", mark: 5)
    #expect(rules.isEmpty)
    #expect(rules.script == rules.removal)
  }

  @Test(arguments: [
    ("wg0", "wg6-wg0"), ("a=b+c", "wg6-a/3db/2bc"), ("-x.y_z", "wg6--x.y_z"), ("table", "wg6-table"),
  ])
  func `are in a table whose name nft can read, another one for each interface`(interface: String, table: String) {
    #expect(FirewallRules(interface: interface).tableName == table)
  }

  @Test func `guard the addresses of each family, before all else`() throws {
    let rules = FirewallRules(
      interface: "wg0", guardedAddresses: try ["10.66.0.2", "fd66::2", "10.66.0.3"].map(address))
    let head = "    iifname { \"lo\", \"wg0\" } accept\n    meta iifkind \"vrf\" accept\n"
    #expect(
      rules.script.contains(
        head + """
              ip daddr { 10.66.0.2, 10.66.0.3 } drop
              ip saddr { 10.66.0.2, 10.66.0.3 } drop
              ip6 daddr { fd66:0:0:0:0:0:0:2 } drop
              ip6 saddr { fd66:0:0:0:0:0:0:2 } drop

          """))
    let one = FirewallRules(interface: "wg0", guardedAddresses: [try address("10.66.0.2")])
    #expect(!one.script.contains("ip6 daddr") && !one.script.contains("forged"))
  }

  @Test func `guard sources as far as they are routed through the tunnel, default routes aside`() throws {
    var rules = FirewallRules(interface: "wg0", guardedAddresses: [], guardedSources: [IPPrefix(.v4(0), length: 0)])
    let looked = "fib saddr . mark oifname \"wg0\" fib saddr . mark . iif oif missing jump forged\n"
    // What comes out of a virtual router went in by an interface that was looked at.
    #expect(rules.script.contains("accept\n    meta iifkind \"vrf\" accept\n    ip saddr"))
    #expect(rules.script.contains("    ip saddr != 0.0.0.0 \(looked)"))
    #expect(!rules.script.contains("set ") && !rules.script.contains("ip6 saddr"))
    rules.guardedSources = [try #require(IPPrefix("10.0.0.0/8")), try #require(IPPrefix("fd00::/8"))]
    #expect(rules.script.contains("    ip saddr != 0.0.0.0 ip saddr @routed4 \(looked)"))
    #expect(rules.script.contains("    ip6 saddr != :: ip6 saddr @routed6 \(looked)"))
    rules.mark = 7
    #expect(rules.script.contains("fib daddr type local socket mark { 7, \(ExecutionMark.outside(of: "wg0")) } accept"))
  }

  @Test func `are known by all that they say, wherever it stands`() throws {
    var rules = try rules(covered: ["10.0.0.0/8", "fd00::/8"])
    rules.guardedAddresses = try ["10.66.0.2", "fd66::2"].map(address)
    let changes: [(inout FirewallRules) throws -> Void] = [
      { _ in }, { $0.interface = "wg1" }, { $0.mark = 51821 }, { $0.clampsMSS = true }, { $0.savesMarks = true },
      { $0.killSwitch = nil }, { $0.killSwitch?.lan = .networksAndGroups }, { $0.guardedAddresses.removeLast() },
      { $0.guardedAddresses[0] = .v4(0x0A42_0003) }, { $0.guardedSources = [IPPrefix(.v4(0), length: 0)] },
      { $0.killSwitch?.covered[0] = IPPrefix(.v4(0x0B00_0000), length: 8) },
      { $0.killSwitch?.covered.removeLast() },
    ]
    let digests = try changes.map { change in
      var other = rules
      try change(&other)
      return other.digest
    }
    #expect(Set(digests).count == digests.count)
    #expect(digests[0] == rules.digest)
  }

  @Test func `replace the guard alone by whole chains, and leave the sets of a kill switch in place`() throws {
    var rules = try self.rules(covered: ["10.0.0.0/8"], networks: ["10.1.0.0/16"], lan: .networks)
    rules.guardedAddresses = [try address("10.66.0.2")]
    rules.guardedSources = [try #require(IPPrefix("10.0.0.0/8"))]
    rules.groupAddresses = [try address("10.66.0.255")]
    let lines = rules.guardReplacement.split(separator: "\n")
    let flushed = ["spoof-guard", "forged", "source-guard"].map { "flush chain inet wg6-wg0 \($0)" }
    #expect(lines.prefix(3).map(String.init) == flushed)
    #expect(lines.dropFirst(3).allSatisfy { $0.hasPrefix("add rule inet wg6-wg0 ") && !$0.contains("@covered4") })
    #expect(lines.contains { $0.contains("spoof-guard ip daddr 10.66.0.255") })
    #expect(lines.contains { $0.contains("source-guard ip saddr != 0.0.0.0 ip saddr @routed4 fib") })
    #expect(lines.last?.hasSuffix("jump forged") == true)
  }

  @Test func `know no set where everything is covered`() throws {
    let script = try rules(covered: ["0.0.0.0/0", "::/0"]).script
    #expect(!script.contains("set "))
    #expect(!script.contains("daddr @") && !script.contains("daddr !="))
    #expect(!script.contains("meta nfproto ipv4 accept") && !script.contains("meta nfproto ipv6 accept"))
  }

  @Test func `leave a family alone that is not covered`() throws {
    #expect(try rules(covered: ["::/0"]).script.contains("    meta nfproto ipv4 accept\n"))
    #expect(try rules(covered: ["10.0.0.0/8"]).script.contains("    meta nfproto ipv6 accept\n"))
  }

  @Test func `let out what is not covered, and local networks where they may`() throws {
    let script = try rules(
      covered: ["10.0.0.0/8", "fd00::/8"], networks: ["10.1.0.0/16"], lan: .networksAndGroups
    ).script
    #expect(script.contains("ip daddr != @covered4 accept\n    ip daddr @lan4 accept"))
    #expect(script.contains("ip6 daddr != @covered6 accept\n    ip6 daddr @lan6 accept"))
    #expect(
      script.contains(
        "elements = { 10.1.0.0/16, 169.254.0.0/16, 224.0.0.0/24, 239.255.0.0/16, 255.255.255.255/32 }"))
    let networks = try rules(covered: ["10.0.0.0/8", "fd00::/8"], networks: ["10.1.0.0/16"], lan: .networks).script
    #expect(networks.contains("elements = { 10.1.0.0/16 }") && !networks.contains("@lan6"))
    #expect(!(try rules(covered: ["10.0.0.0/8"]).script.contains("@lan")))
  }

  @Test func `let the tunnel's datagrams out by mark, of UDP alone, and programs that bypass it whatever they send`()
    throws
  {
    let script = try rules(covered: ["0.0.0.0/0"]).script
    let outside = ExecutionMark.outside(of: "wg0")
    #expect(script.contains("    meta l4proto udp meta mark 51820 accept\n    meta mark \(outside) accept\n"))
  }

  private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

  @Test func `let a DHCP client ask everybody on its link, and servers in the local networks at hand`() throws {
    let anybody = [
      "    ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept\n",
      "    ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept\n",
    ]
    let known = [
      "    ip daddr @lan4 udp sport 68 udp dport 67 accept\n",
      "    ip6 daddr @lan6 udp sport 546 udp dport 547 accept\n",
    ]
    let none = try rules(covered: ["0.0.0.0/0", "::/0"]).script
    let some = try rules(covered: ["0.0.0.0/0", "::/0"], networks: ["10.1.0.0/16", "fd01::/64"]).script
    for line in anybody { #expect(none.contains(line) && some.contains(line)) }
    for line in known { #expect(!none.contains(line) && some.contains(line)) }
    // No other line names these ports.
    #expect(none.split(separator: "\n").count { $0.contains("dport") } == 2)
    #expect(some.split(separator: "\n").count { $0.contains("dport") } == 4)
    #expect(!some.contains("ip daddr @lan4 accept") && !some.contains("ip6 daddr @lan6 accept"))
  }

  private func rules(
    covered: [String], networks: [String] = [], lan: KillSwitchRules.LAN = .closed
  ) throws -> FirewallRules {
    func prefixes(_ list: [String]) throws -> [IPPrefix] { try list.map { try #require(IPPrefix($0)) } }
    return FirewallRules(
      interface: "wg0", mark: 51820,
      killSwitch: KillSwitchRules(covered: try prefixes(covered), networks: try prefixes(networks), lan: lan))
  }
}
