import Foundation
import Testing

@testable import WG6Harness

/// What the comparison with wg-quick stands on.
@Suite("Side by side")
struct SideBySideTests {
  @Test("There are sixty files and more, each about something else")
  func cases() {
    #expect(QuickCase.all.count >= 60)
    #expect(Set(QuickCase.all.map(\.name)).count == QuickCase.all.count)
    #expect(
      Set(QuickCase.all.map { $0.text + $0.network.joined() + $0.meanwhile + $0.interface + $0.mode }).count
        == QuickCase.all.count)
  }

  @Test("docs/wg-quick.md has the known differences as the comparison has them")
  func documentation() {
    let page = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/wg-quick.md")
    let text = Files.text(page.standardizedFileURL.path)
    #expect(text.contains("\n" + KnownDifference.table), "it should say:\n\(KnownDifference.table)")
  }

  @Test("A known difference takes out what it explains, and nothing beside it")
  func knownDifferences() throws {
    let quick = try #require(QuickCase.all.first { $0.name == "an endpoint inside its allowed IPs" })
    let theirs = Snapshot([
      Fact(.link, "wgq mtu 1420"), Fact(.route, "IPv4 203.0.113.0/24 dev wgq protocol boot scope link"),
      Fact(.device, "wgq fwmark off"), Fact(.sysctl, "net/ipv4/conf/all/src_valid_mark = 0"),
    ])
    let ours = [
      Fact(.route, "IPv4 203.0.113.0/24 dev wgq table 1073793644 protocol boot scope link"),
      Fact(.rule, "IPv4 16382: from all to 203.0.113.0/24 lookup main suppress_prefixlength 24"),
      Fact(.rule, "IPv4 16383: not from all fwmark 0xca6c lookup 1073793644 suppress_prefixlength 23"),
      Fact(.device, "wgq fwmark 0xca6c"), Fact(.sysctl, "net/ipv4/conf/all/src_valid_mark = 1"),
    ]
    let marks = ["ip", "ip6"].flatMap { family in
      [
        Fact(.firewall, "\(family) filter postrouting -150: meta l4proto udp, meta mark 51820, ct mark set 51820"),
        Fact(.firewall, "\(family) filter prerouting -150: meta l4proto udp, ct mark 51820, meta mark set 51820"),
      ]
    }
    var difference = Difference(theirs, Snapshot([Fact(.link, "wgq mtu 1440")] + ours + marks))
    #expect(
      KnownDifference.explain(&difference, of: quick) == ["MTU without `MTU =`", KnownDifference.endpointRoutes.name])
    #expect(difference.isEmpty, "\(difference)")

    // Another MTU, a rule or a mark too few: no.
    for missing in 0..<ours.count {
      var some = ours
      some.remove(at: missing)
      difference = Difference(theirs, Snapshot([Fact(.link, "wgq mtu 1400")] + some + marks))
      #expect(KnownDifference.explain(&difference, of: quick).isEmpty)
      #expect(difference.left.count == 4 && difference.right.count == 9)
    }
  }

  @Test("What is left of a prefix is the fewest prefixes")
  func prefixes() throws {
    let all = try #require(Prefix("0.0.0.0/0"))
    #expect(all.without([]) == [all])
    #expect(all.without([all]).isEmpty)
    #expect(try all.without([#require(Prefix("128.0.0.0/1"))]).map(\.description) == ["0.0.0.0/1"])
    let six = try #require(Prefix("fd00::1:2/64"))
    #expect(six.description == "fd00::/64")
    #expect(try six.without([#require(Prefix("fd00::ffff"))]).count == 64)
    #expect(Prefix("10.0.0.0/33") == nil && Prefix("dev") == nil && Prefix("") == nil)
    #expect(Prefix("default", isIPv6: true)?.description == "::/0")
  }

  @Test("A firewall's rules read the same from tables of one family and of both")
  func firewalls() throws {
    let two = """
      {"nftables": [{"metainfo": {"version": "1"}},
      {"table": {"family": "ip", "name": "a"}},
      {"chain": {"family": "ip", "table": "a", "name": "pre", "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}},
      {"rule": {"family": "ip", "table": "a", "chain": "pre", "expr": [
        {"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "wgq"}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "10.0.0.1"}}, {"drop": null}]}},
      {"rule": {"family": "ip", "table": "a", "chain": "pre", "expr": [
        {"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "wgq"}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "10.0.0.2"}}, {"drop": null}]}}]}
      """
    let one = """
      {"nftables": [
      {"chain": {"family": "inet", "table": "b", "name": "x", "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}},
      {"set": {"family": "inet", "table": "b", "name": "own", "elem": ["10.0.0.2", "10.0.0.1"]}},
      {"rule": {"family": "inet", "table": "b", "chain": "x", "expr": [
        {"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "wgq"}}, {"counter": {"packets": 7, "bytes": 1}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "@own"}}, {"drop": null}]}}]}
      """
    #expect(
      try FirewallText.facts(two) == [
        "ip filter prerouting -300: meta iifname != wgq, ip daddr 10.0.0.1, drop",
        "ip filter prerouting -300: meta iifname != wgq, ip daddr 10.0.0.2, drop",
      ])
    #expect(try FirewallText.facts(one) == FirewallText.facts(two))
    #expect(try FirewallText.facts(one.replacing("drop", with: "accept")) != FirewallText.facts(two))
    #expect(try FirewallText.facts(one.replacing("-300", with: "-150")) != FirewallText.facts(two))
  }

  @Test("A snapshot that was cut short is no snapshot")
  func cutSnapshots() throws {
    let whole =
      [
        "links", "addresses", "routes IPv4", "routes IPv6", "rules IPv4", "rules IPv6", "firewall", "sysctl", "wg",
        "resolver", "files",
      ]
      .map { "=== \($0)\n" }.joined() + "/run/wg6/a.lock\n"
    #expect(try Snapshot(script: whole).facts == [Fact(.file, "/run/wg6/a.lock")])
    #expect(throws: Snapshot.Unreadable.self) { try Snapshot(script: whole.replacing("=== wg\n", with: "")) }
  }
}
