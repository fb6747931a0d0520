import Foundation
import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

/// Rules that the kernel is given, in namespaces of their own.
@Suite("The firewall", .enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence)) struct FirewallTests {
  private static let mark: UInt32 = 51820

  @Test func `takes the rules of every kind of tunnel, and lists them`() throws {
    let namespace = try NetworkNamespace()
    let covers = [[], ["0.0.0.0/0"], ["::/0"], ["0.0.0.0/0", "::/0"], ["10.0.0.0/8", "fd00::/8", "fd77::/16"]]
    // Networks within each other, and twice: several interfaces on one link.
    let lans = [[], ["10.1.0.0/16", "10.1.2.0/24", "10.1.2.0/24", "fe80::/64", "fd77::/64"]]
    for cover in covers {
      for (lan, networks) in [.closed, .networks, .networksAndGroups].flatMap({ lan in
        lans.map { (lan as KillSwitchRules.LAN, $0) }
      }) {
        for mark in [nil, Self.mark] {
          var rules = FirewallRules(interface: "wg0", mark: mark)
          rules.guardedAddresses = try ["10.66.0.2", "fd66::2", "::ffff:10.66.0.2"].map { try #require(IPAddress($0)) }
          // Of all, of some, and of a family alone.
          rules.guardedSources = try prefixes(
            lan == .closed ? ["0.0.0.0/0", "::/0"] : ["10.0.0.0/8", "10.2.0.0/16", "::/0"])
          rules.sharers = lan == .closed ? [] : [Sharer(address: rules.guardedAddresses[0], interface: "lan")]
          rules.savesMarks = mark != nil
          rules.clampsMSS = true
          rules.killSwitch = KillSwitchRules(
            covered: try prefixes(cover), networks: try prefixes(networks), lan: lan)
          let wanted = rules
          try namespace.inside { try Firewall.run(wanted.script) }
          let chains = try chains(in: namespace, table: "wg6-wg0")
          let marking: Set<String> = mark == nil ? [] : ["restore-mark", "save-mark"]
          #expect(
            chains
              == marking.union([
                "spoof-guard", "source-guard", "forged", "clamp-mss", "within", "without", "forward", "output",
                "postrouting",
              ]))
        }
      }
    }
  }

  @Test(arguments: ["a=b+c", "-x.y_z", "+", "=", "0.1", "lo-", "A_very-long=nam"])
  func `takes interfaces of any name that a tunnel may have`(interface: String) throws {
    #expect(ControlSocket.isInterfaceName(interface))
    let namespace = try NetworkNamespace()
    var rules = FirewallRules(interface: interface, mark: 7, clampsMSS: true)
    rules.killSwitch = KillSwitchRules(covered: try prefixes(["0.0.0.0/0"]))
    let wanted = rules
    let (before, after) = try namespace.inside {
      try Firewall.run(wanted.script)
      let there = try Firewall.hasTable(wanted.tableName)
      try Firewall.run(wanted.removal)
      return (there, try Firewall.hasTable(wanted.tableName))
    }
    #expect(before)
    #expect(!after)
  }

  /// Every kind of contents in the place of every other, in a table that stays the same one.
  @Test func `replaces a table's contents as if it were made anew, and the table outlives whoever owned it`() throws {
    let (namespace, other) = (try NetworkNamespace(), try NetworkNamespace())
    let full = FirewallRules(
      interface: "wg0", mark: Self.mark, guardedAddresses: [.v4(0x0A42_0002), .v6(high: 1, low: 2)], savesMarks: true,
      killSwitch: KillSwitchRules(
        covered: try prefixes(["10.0.0.0/8", "fd00::/8"]), networks: try prefixes(["10.1.0.0/16", "fe80::/64"]),
        lan: .networksAndGroups),
      clampsMSS: true)
    /// The sets and chains of a listing.
    func parts(_ listing: String) -> [String] {
      listing.split(separator: "\n").dropFirst().dropLast().joined(separator: "\n").split(separator: "\n\t}")
        .map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }.sorted()
    }
    let kinds = [
      full, FirewallRules(interface: "wg0", clampsMSS: true),
      FirewallRules(interface: "wg0", mark: 7, killSwitch: KillSwitchRules(covered: try prefixes(["0.0.0.0/0"]))),
      FirewallRules(interface: "wg0", guardedAddresses: [.v4(0x0A42_0002)]),
      FirewallRules(
        interface: "wg0", guardedAddresses: [.v4(0x0A42_0002)], guardedSources: try prefixes(["10.0.0.0/8", "::/0"])),
      FirewallRules(interface: "wg0", guardedSources: try prefixes(["0.0.0.0/0", "fd00::/8"])),
    ]
    for before in kinds {
      for after in kinds {
        let listed = try namespace.inside {
          try Firewall.put(before)
          try Firewall.put(after)
          return try Firewall.listing(of: after.tableName)
        }
        let fresh = try other.inside {
          try Firewall.run(after.script)
          return try Firewall.listing(of: after.tableName)
        }
        // Chains that stay are listed in the order in which they came.
        #expect(parts(listed.replacing("\tflags \n\n", with: "")) == parts(fresh))
      }
    }
    try namespace.inside {
      let name = full.tableName
      try #require(try FilterTables.state(of: name) == FilterTables.State(isOwned: false, persists: true))
      let owner = try TableOwnership(of: name)
      #expect(try FilterTables.state(of: name) == FilterTables.State(isOwned: true, persists: true))
      #expect(throws: FirewallError.self) { try Firewall.run("delete table inet \(name)\n") }
      // Others own theirs, or do not exist.
      #expect(throws: NetlinkError.self) { _ = try TableOwnership(of: name) }
      try Firewall.run("flush ruleset\n")
      #expect(try Firewall.hasTable(name))
      _ = consume owner
      // A program that another test starts has the socket too, for a moment.
      for _ in 0..<200 where try FilterTables.state(of: name)?.isOwned == true { usleep(10_000) }
      #expect(try FilterTables.state(of: name) == FilterTables.State(isOwned: false, persists: true))
      try Firewall.remove(full)
      try Firewall.remove(full)
      #expect(try FilterTables.state(of: name) == nil)
    }
  }

  @Test func `replaces a tunnel's rules by the next ones, leaves other tables alone, and forgets twice`() throws {
    let namespace = try NetworkNamespace()
    let clamp = FirewallRules(interface: "wg0", clampsMSS: true)
    let guarding = FirewallRules(interface: "wg0", guardedAddresses: [.v4(0x0A42_0002)])
    let other = FirewallRules(interface: "wg1", clampsMSS: true)
    try namespace.inside {
      try Firewall.run(other.script)
      try Firewall.run(clamp.script)
    }
    let first = try text(in: namespace, table: "wg6-wg0")
    try namespace.inside { try Firewall.run(clamp.script) }
    #expect(try text(in: namespace, table: "wg6-wg0") == first)
    try namespace.inside { try Firewall.run(guarding.script) }
    #expect(try chains(in: namespace, table: "wg6-wg0") == ["spoof-guard"])
    try namespace.inside { try Firewall.run(FirewallRules(interface: "wg0").script) }
    try namespace.inside { try Firewall.run(clamp.removal) }
    let (one, two) = try namespace.inside { (try Firewall.hasTable("wg6-wg0"), try Firewall.hasTable("wg6-wg1")) }
    #expect(!one)
    #expect(two)
  }

  @Test(arguments: ["10.77.0.", "fd77::"])
  func `gives answers to the tunnel's own datagrams their mark, and answers to others none`(network: String) throws {
    let pair = try VethPair(), mark = Self.mark
    let rules = FirewallRules(interface: "wg0", mark: mark, savesMarks: true)
    try pair.left.inside {
      try Firewall.run(rules.script)
      // What comes without the mark is not seen. Behind the rules that give it one.
      try Firewall.run(
        "table inet probe { chain c { type filter hook prerouting priority -140; meta mark != \(mark) drop; }; }\n")
    }
    func isAnswered(port: UInt16, mark: UInt32) throws -> Bool {
      #expect(try Attempt(to: network + "2", port: 4000, from: port, mark: mark).carriedOut(in: pair.left) == 0)
      let receiver = try Receiver(on: network + "1", port: port, in: pair.left)
      #expect(try Attempt(to: network + "1", port: port, from: 4000).carriedOut(in: pair.right) == 0)
      return receiver.hasReceived(within: mark == Self.mark ? 5 : 0.2)
    }
    #expect(try isAnswered(port: 7001, mark: mark))
    #expect(try !isAnswered(port: 7002, mark: 0))
    #expect(try !isAnswered(port: 7003, mark: mark + 1))
  }

  @Test func `says what it can't do, and where, and then has done nothing`() throws {
    let namespace = try NetworkNamespace()
    let script = "table inet good { }\ndelete table inet nowhere\n"
    let error = try namespace.inside { () -> FirewallError? in
      do throws(FirewallError) {
        try Firewall.run(script)
        return nil
      } catch {
        return error
      }
    }
    let reason = try #require(error).reason
    #expect(reason == "Could not process rule: No such file or directory, at 'delete table inet nowhere'")
    #expect(try namespace.inside { try Firewall.hasTable("good") } == false)
  }

  @Test func `names what a kernel without nftables lacks`() {
    let text = "netlink: Error: cache initialization failed: Invalid argument\n"
    #expect(FirewallError(text) == .unsupported)
    #expect(FirewallError("netlink: Error: cache initialization failed: Operation not permitted\n") != .unsupported)
  }

  @Test func `takes twenty thousand prefixes`() throws {
    let namespace = try NetworkNamespace()
    // Every other one, so that none can be taken together.
    let v4 = (0..<10_000).map { IPPrefix(.v4(0x0A00_0000 + UInt32($0) * 512), length: 24) }
    let v6 = (0..<10_000).map { IPPrefix(.v6(high: 0xFD00 << 48 + UInt64($0) * 2, low: 0), length: 64) }
    var rules = FirewallRules(interface: "wg0", mark: 7)
    rules.killSwitch = KillSwitchRules(covered: v4 + v6)
    let wanted = rules
    try namespace.inside { try Firewall.run(wanted.script) }
    let sets = try listing(in: namespace, table: "wg6-wg0").compactMap {
      ($0["set"] as? [String: Any])?["elem"] as? [Any]
    }
    #expect(sets.map(\.count) == [10_000, 10_000])
  }

  private func prefixes(_ list: [String]) throws -> [IPPrefix] { try list.map { try #require(IPPrefix($0)) } }

  private func text(in namespace: NetworkNamespace, table: String, json: Bool = false) throws -> String {
    let ip = try #require(Program.locate("ip"))
    let words = ["nft"] + (json ? ["-j"] : []) + ["list", "table", "inet", table]
    let (ending, output) = try Program.run(ip, ["netns", "exec", namespace.name] + words, most: 4 << 20)
    #expect(ending == .exited(0), "\(output)")
    return output
  }

  private func listing(in namespace: NetworkNamespace, table: String) throws -> [[String: Any]] {
    let json = try JSONSerialization.jsonObject(with: Data(text(in: namespace, table: table, json: true).utf8))
    return try #require((json as? [String: Any])?["nftables"] as? [[String: Any]])
  }

  private func chains(in namespace: NetworkNamespace, table: String) throws -> Set<String> {
    Set(try listing(in: namespace, table: table).compactMap { ($0["chain"] as? [String: Any])?["name"] as? String })
  }
}
