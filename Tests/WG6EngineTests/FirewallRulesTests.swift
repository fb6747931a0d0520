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

  @Test func `guard the addresses of each family`() throws {
    let rules = FirewallRules(
      interface: "wg0", guardedAddresses: try ["10.66.0.2", "fd66::2", "10.66.0.3"].map(address))
    #expect(rules.script.contains("iifname != \"wg0\" ip daddr { 10.66.0.2, 10.66.0.3 } fib saddr type != local drop"))
    #expect(rules.script.contains("iifname != \"wg0\" ip6 daddr { fd66:0:0:0:0:0:0:2 } fib saddr type != local drop"))
    let one = FirewallRules(interface: "wg0", guardedAddresses: [try address("10.66.0.2")])
    #expect(!one.script.contains("ip6 daddr"))
  }

  @Test func `know no set where everything is covered`() throws {
    let script = try rules(covered: ["0.0.0.0/0", "::/0"], lan: nil).script
    #expect(!script.contains("set "))
    #expect(!script.contains("daddr @") && !script.contains("daddr !="))
    #expect(!script.contains("meta nfproto ipv4 accept") && !script.contains("meta nfproto ipv6 accept"))
  }

  @Test func `leave a family alone that is not covered`() throws {
    #expect(try rules(covered: ["::/0"], lan: nil).script.contains("    meta nfproto ipv4 accept\n"))
    #expect(try rules(covered: ["10.0.0.0/8"], lan: nil).script.contains("    meta nfproto ipv6 accept\n"))
  }

  @Test func `let out what is not covered, and local networks where they may`() throws {
    let script = try rules(covered: ["10.0.0.0/8", "fd00::/8"], lan: ["10.1.0.0/16"]).script
    #expect(script.contains("ip daddr != @covered4 accept\n    ip daddr @lan4 accept"))
    #expect(script.contains("ip6 daddr != @covered6 accept\n    ip6 daddr @lan6 accept"))
    #expect(script.contains("elements = { 10.1.0.0/16, 169.254.0.0/16, 224.0.0.0/24, 255.255.255.255/32 }"))
    #expect(!(try rules(covered: ["10.0.0.0/8"], lan: nil).script.contains("@lan")))
  }

  @Test func `let the tunnel's datagrams out by mark, of UDP alone, and programs that bypass it whatever they send`()
    throws
  {
    let script = try rules(covered: ["0.0.0.0/0"], lan: nil).script
    let outside = ExecutionMark.outside(of: "wg0")
    #expect(script.contains("    meta l4proto udp meta mark 51820 accept\n    meta mark \(outside) accept\n"))
  }

  private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

  private func rules(covered: [String], lan: [String]?) throws -> FirewallRules {
    func prefixes(_ list: [String]) throws -> [IPPrefix] { try list.map { try #require(IPPrefix($0)) } }
    return FirewallRules(
      interface: "wg0", mark: 51820,
      killSwitch: KillSwitchRules(covered: try prefixes(covered), lan: try lan.map(prefixes)))
  }
}
