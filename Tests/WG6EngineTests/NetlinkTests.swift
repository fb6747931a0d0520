import Foundation
import Glibc
import SystemPackage
import Testing
import WG6Linux
import WG6Protocol

/// What we do to addresses, routes and rules, as `ip -j` sees it; in a namespace for each test.
@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence))
struct `Addresses, routes and rules` {
  private let namespace: NetworkNamespace

  /// A veth pair stands for whatever interface it may be; its other end is called v1.
  init() throws {
    namespace = try NetworkNamespace()
    try namespace.ip("link add v0 type veth peer v1")
    for end in ["v0", "v1"] { try namespace.ip("link set \(end) up") }
  }

  private func withLink<Value>(
    _ body: @escaping @Sendable (borrowing NetlinkSocket, Link) throws -> Value
  ) throws -> Value {
    try namespace.inside {
      let netlink = try NetlinkSocket()
      return try body(netlink, try #require(try netlink.link(named: "v0")))
    }
  }

  @Test func `an address is there once added, is refused the second time, and is gone once removed`() throws {
    let added: [(address: IPAddress, prefixLength: Int)] = [
      (v4(10, 7, 0, 1), 24), (v4(10, 8, 0, 1), 32), (v6(0xFD07, 1), 64), (v6(0xFE80, 7), 64), (v6(0xFE80, 8), 128),
    ]
    try withLink { netlink, link in
      for entry in added {
        try netlink.addAddress(entry.address, prefixLength: entry.prefixLength, to: link)
        let again = #expect(throws: NetlinkError.self) {
          try netlink.addAddress(entry.address, prefixLength: entry.prefixLength, to: link)
        }
        #expect(again?.isExisting == true)
      }
      // The link-local address that the kernel made by itself is left out, those that we made are not.
      #expect(Set(try netlink.addresses(of: link).map(Entry.init)) == Set(added.map(Entry.init)))
    }
    let seen = try namespace.ipAnswer("address show dev v0").flatMap { $0["addr_info"] as? [[String: Any]] ?? [] }
    let texts = seen.map { "\($0["local"] ?? "")/\($0["prefixlen"] ?? "")" }
    for text in ["10.7.0.1/24", "10.8.0.1/32", "fd07::1/64", "fe80::7/64", "fe80::8/128"] {
      #expect(texts.contains(text))
    }
    #expect(texts.count == added.count + 1)

    try withLink { netlink, link in
      for entry in added {
        try netlink.removeAddress(entry.address, prefixLength: entry.prefixLength, from: link)
        let again = #expect(throws: NetlinkError.self) {
          try netlink.removeAddress(entry.address, prefixLength: entry.prefixLength, from: link)
        }
        #expect(again?.isMissing == true, "\(again?.description ?? "")")
      }
      #expect(try netlink.addresses(of: link).isEmpty)
    }
  }

  @Test func `an address of a family that is switched off is refused in clear words`() throws {
    try namespace.inside { try Sysctl.set("net.ipv6.conf.v0.disable_ipv6", to: "1") }
    try withLink { netlink, link in
      let refusal = #expect(throws: NetlinkError.self) {
        try netlink.addAddress(v6(0xFD07, 1), prefixLength: 64, to: link)
      }
      #expect(refusal?.reason.contains("disable_ipv6") == true)
      let noRoute = #expect(throws: RouteError.self) {
        try netlink.addRoutes([Route(IPPrefix(v6(0xFD08, 0), length: 64))], via: link)
      }
      #expect(noRoute?.reason.reason.contains("disable_ipv6") == true, "\(noRoute?.description ?? "")")
    }
  }

  @Test func `routes are made in any table, told apart from the kernel's, and removed`() throws {
    try namespace.ip("address add 10.7.0.1/24 dev v0")
    let routes = [
      Route(IPPrefix(v4(0, 0, 0, 0), length: 0), table: 51820), Route(IPPrefix(v6(0, 0), length: 0), table: 51820),
      Route(IPPrefix(v4(192, 0, 2, 0), length: 24)), Route(IPPrefix(v4(192, 0, 2, 1), length: 32), table: 7),
      Route(IPPrefix(v6(0x2001, 1), length: 128), table: 0xFFFF_FFFE), Route(IPPrefix(v6(0x2002, 0), length: 16)),
    ]
    try withLink { netlink, link in
      #expect(try netlink.isTableEmpty(51820))
      try netlink.addRoutes(routes, via: link)
      #expect(try !netlink.isTableEmpty(51820))
      #expect(try !netlink.isTableEmpty(0xFFFF_FFFE))
      #expect(try netlink.isTableEmpty(51821))
      #expect(try netlink.routes(via: link) == Set(routes))
      let others = try netlink.routes(via: link, includingKernels: true).subtracting(routes)
      #expect(others == [Route(IPPrefix(v4(10, 7, 0, 0), length: 24)), Route(IPPrefix(v6(0xFE80, 0), length: 64))])
    }
    let seen = try ["-4", "-6"].flatMap { try namespace.ipAnswer("\($0) route show table all dev v0 proto 108") }
    let texts = Set(seen.map { "\($0["dst"] ?? "") \($0["table"] ?? "main")" })
    #expect(
      texts == [
        "default 51820", "192.0.2.0/24 main", "192.0.2.1 7", "2001::1 4294967294", "2002::/16 main",
      ])
    #expect(seen.count == routes.count)
    try withLink { netlink, link in
      try netlink.removeRoutes(routes, via: link)
      try netlink.removeRoutes(routes, via: link)
      #expect(try netlink.routes(via: link).isEmpty)
      #expect(try netlink.isTableEmpty(51820))
    }
  }

  @Test(arguments: [0, 1, 255, 256, 257, 700])
  func `of a thousand routes, those before the first that fails stand, and those behind it don't`(failing: Int) throws {
    try withLink { netlink, link in
      let routes = (0..<1000).map { Route(IPPrefix(v4(10, 9, UInt8($0 >> 8), UInt8($0 & 255)), length: 32)) }
      // Another one behind it exists as well, and has to survive.
      let present = [routes[failing], routes[failing + 20]]
      try netlink.addRoutes(present, via: link)
      let error = #expect(throws: RouteError.self) { try netlink.addRoutes(routes, via: link) }
      #expect(error?.route == routes[failing])
      #expect(error?.reason.isExisting == true)
      #expect(try netlink.routes(via: link) == Set(routes[..<failing]).union(present))
    }
  }

  @Test func `twenty thousand routes of both families come, are all refused the second time, and go`() throws {
    try withLink { netlink, link in
      let routes =
        (0..<10_000).map { Route(IPPrefix(v4(10, 64, UInt8($0 >> 8), UInt8($0 & 255)), length: 32), table: 51820) }
        + (0..<10_000).map { Route(IPPrefix(v6(0xFD09, UInt64($0)), length: 128), table: 51820) }
      let clock = ContinuousClock()
      let added = try clock.measure { try netlink.addRoutes(routes, via: link) }
      var read: Set<Route> = []
      let listed = try clock.measure { read = try netlink.routes(via: link) }
      #expect(read == Set(routes))
      for route in [routes.first!, routes.last!] {
        let error = #expect(throws: RouteError.self) { try netlink.addRoutes([route] + routes, via: link) }
        #expect(error?.reason.isExisting == true)
      }
      var isEmpty = true
      let looked = try clock.measure { isEmpty = try netlink.isTableEmpty(51820) }
      #expect(!isEmpty)
      let removed = try clock.measure { try netlink.removeRoutes(routes, via: link) }
      #expect(try netlink.routes(via: link).isEmpty)
      print(
        "20,000 routes: added in \(added), read in \(listed), table looked into in \(looked), removed in \(removed)")
    }
  }

  @Test(arguments: [false, true])
  func `rules are what ip would have made, and each is removed alone`(isIPv6: Bool) throws {
    let rules = [
      PolicyRule(isIPv6: isIPv6, mark: 0xCA6C, isInverted: true, table: 51820),
      PolicyRule(isIPv6: isIPv6, table: NetlinkSocket.mainTable, suppressedPrefixLength: 0),
      PolicyRule(isIPv6: isIPv6, mark: 0xCA6C, table: 51820),
      PolicyRule(isIPv6: isIPv6, mark: 7, table: 7, suppressedPrefixLength: 3, priority: 99),
      PolicyRule(
        isIPv6: isIPv6, to: isIPv6 ? IPPrefix(v6(0xFC00, 0), length: 7) : IPPrefix(v4(172, 16, 0, 0), length: 12),
        table: NetlinkSocket.mainTable, suppressedPrefixLength: 6),
      PolicyRule(isIPv6: isIPv6, table: NetlinkSocket.mainTable),
    ]
    let family = isIPv6 ? "-6" : "-4"
    let theirs = [
      "not fwmark 0xca6c table 51820", "table main suppress_prefixlength 0", "fwmark 0xca6c table 51820",
      "fwmark 7 table 7 suppress_prefixlength 3 priority 99",
      "to \(isIPv6 ? "fc00::/7" : "172.16.0.0/12") table main suppress_prefixlength 6", "table main",
    ]
    let (ours, other) = (namespace, try NetworkNamespace())
    for rule in theirs { try other.ip("\(family) rule add \(rule) protocol 108") }
    try ours.inside {
      let netlink = try NetlinkSocket()
      for rule in rules {
        try netlink.addRule(rule)
        #expect(try netlink.rules(isIPv6: isIPv6).contains(where: rule.isMeant))
        let places = try netlink.rulePlaces(isIPv6: isIPv6)
        #expect(places.contains { $0.isOwn && $0.rule.map(rule.isMeant) == true && $0.priority == $0.rule?.priority })
      }
    }
    let text = try ours.ipText("-d \(family) rule show")
    #expect(text == (try other.ipText("-d \(family) rule show")))
    let plain = try ours.ipText("\(family) rule show").split(separator: "\n").map {
      $0.replacing(" proto 108", with: "").trimmingCharacters(in: .whitespaces)
    }
    try ours.inside {
      let netlink = try NetlinkSocket()
      #expect(try netlink.rules(isIPv6: isIPv6).map(\.description) == plain)
      let existing = #expect(throws: NetlinkError.self) { try netlink.addRule(rules[3]) }
      #expect(existing?.isExisting == true)
    }
    // A rule that says more than we can say is none that we would mistake for ours.
    try ours.ip("\(family) rule add iif v1 fwmark 0xca6c table 51820")
    try ours.ip("\(family) rule add fwmark 0xca6c/0xffff table 51820")
    for (place, rule) in rules.enumerated() {
      try ours.inside {
        let netlink = try NetlinkSocket()
        let before = try netlink.rules(isIPv6: isIPv6)
        try netlink.removeRule(rule)
        let after = try netlink.rules(isIPv6: isIPv6)
        #expect(after.count == before.count - 1)
        // The rules of every machine lead to its main table too, so one such rule is always there.
        if place < rules.count - 1 {
          let missing = #expect(throws: NetlinkError.self) { try netlink.removeRule(rule) }
          #expect(missing?.isMissing == true)
        }
        #expect(try netlink.rules(isIPv6: isIPv6) == after)
      }
    }
    let left = try ours.ipAnswer("\(family) rule show")
    #expect(left.count == (isIPv6 ? 2 : 3) + 2)
  }

  /// Two tunnels have like rules, and each takes its own back.
  @Test(arguments: [false, true])
  func `of rules that are alike, the one with the priority is meant, and none where that is gone`(isIPv6: Bool) throws {
    @Sendable func rule(_ priority: UInt32?) -> PolicyRule {
      PolicyRule(isIPv6: isIPv6, table: NetlinkSocket.mainTable, suppressedPrefixLength: 0, priority: priority)
    }
    try namespace.inside {
      let netlink = try NetlinkSocket()
      func priorities() throws -> [UInt32] {
        try netlink.rules(isIPv6: isIPv6).filter { $0.suppressedPrefixLength == 0 }.compactMap(\.priority)
      }
      for priority in [100, 200, 300] as [UInt32] { try netlink.addRule(rule(priority)) }
      try netlink.removeRule(rule(200))
      #expect(try priorities() == [100, 300])
      for priority in [200, 99, 301] as [UInt32] {
        let missing = #expect(throws: NetlinkError.self) { try netlink.removeRule(rule(priority)) }
        #expect(missing?.isMissing == true)
        #expect(!rule(priority).isMeant(rule(100)) && rule(priority).isMeant(rule(priority)))
      }
      #expect(try priorities() == [100, 300])
      // Without a priority, any is meant.
      #expect(rule(nil).isMeant(rule(100)) && !rule(nil).isMeant(PolicyRule(isIPv6: isIPv6, table: 7, priority: 100)))
      try netlink.removeRule(rule(nil))
      #expect(try priorities().count == 1)
    }
  }

  @Test(arguments: [false, true])
  func `an exemption leads one mark past one rule, wherever it was added, and is removed alone`(isIPv6: Bool) throws {
    let family = isIPv6 ? "-6" : "-4", address = isIPv6 ? "2001:db8::9" : "192.0.2.9"
    for number in [1, 2] {
      try namespace.ip("\(family) route add default dev v0 table \(number)")
    }
    try namespace.ip("\(family) rule add not fwmark 1 table 1")
    try namespace.ip("\(family) rule add not fwmark 2 table 2")
    let rules = try namespace.inside { try NetlinkSocket().rules(isIPv6: isIPv6) }
    let passed = rules.filter(\.isInverted).compactMap(\.priority)
    try #require(passed.count == 2)
    let parts = [(passed[0], UInt32(1)), (passed[1], UInt32(2))].flatMap { priority, mark in
      [nil, mark].map { RuleExemption(isIPv6: isIPv6, mark: $0, passed: priority) }
    }
    func leads(_ mark: Int) -> String {
      (try? namespace.ipText("\(family) route get \(address) mark \(mark) 2>/dev/null")) ?? "nowhere"
    }
    #expect(leads(1).contains("table 2") && leads(2).contains("table 1"))
    try namespace.inside {
      let netlink = try NetlinkSocket()
      for part in parts + parts { try netlink.add(part) }
      #expect(try netlink.exemptions(isIPv6: isIPv6) == Set(parts))
      #expect(try netlink.exemptions(isIPv6: !isIPv6).isEmpty)
      #expect(try netlink.rules(isIPv6: isIPv6) == rules)
    }
    #expect(leads(1) == "nowhere" && leads(2) == "nowhere")
    #expect(leads(3).contains("table 2"))
    try namespace.inside {
      let netlink = try NetlinkSocket()
      for part in parts + parts { try netlink.remove(part) }
      #expect(try netlink.exemptions(isIPv6: isIPv6).isEmpty)
      #expect(try netlink.rules(isIPv6: isIPv6) == rules)
    }
  }

  @Test func `connected networks are those without a router, and none of tunnels`() throws {
    for command in [
      "address add 10.7.0.1/24 dev v0", "address add fd07::1/64 dev v0 nodad", "address add 10.8.0.1/16 dev v1",
      "route add 198.51.100.0/24 via 10.7.0.2", "route add default via 10.7.0.2", "route add 203.0.113.0/24 dev v0",
      "tuntap add mode tun name t0", "link set t0 up", "address add 10.9.0.1/24 dev t0",
      "route add 10.10.0.0/24 dev v0 table 9", "route add fd08::/64 via fd07::2",
    ] {
      try namespace.ip(command)
    }
    try withLink { netlink, link in
      let linkLocal = IPPrefix(v6(0xFE80, 0), length: 64)
      let all = try netlink.connectedNetworks(except: nil)
      #expect(
        all == [
          IPPrefix(v4(10, 7, 0, 0), length: 24), IPPrefix(v4(10, 8, 0, 0), length: 16),
          IPPrefix(v4(203, 0, 113, 0), length: 24), IPPrefix(v6(0xFD07, 0), length: 64), linkLocal,
        ])
      let others = try netlink.connectedNetworks(except: link.index)
      #expect(others == [IPPrefix(v4(10, 8, 0, 0), length: 16), linkLocal])
    }
  }

  @Test func `of a route with several next hops each counts, wherever it stands`() throws {
    for command in [
      "address add 10.7.0.1/24 dev v0", "address add fd07::1/64 dev v0 nodad", "address add 10.8.0.1/24 dev v1",
      "address add fd08::1/64 dev v1 nodad",
      // On-link first, and a router behind it; and the other way round.
      "route add 203.0.113.0/24 nexthop dev v1 nexthop via 10.7.0.2 dev v0",
      "route add 192.0.2.0/24 nexthop via 10.7.0.2 dev v0 nexthop dev v1",
      "route add 10.20.0.0/16 nexthop dev v1 nexthop dev v0",
      "route add 2001:db8:1::/48 nexthop via fd08::2 dev v1 nexthop via fd07::2 dev v0",
      "tuntap add mode tun name t0", "link set t0 up", "address add 10.9.0.1/24 dev t0",
      "route add 10.30.0.0/16 nexthop dev v1 nexthop dev t0", "route add 10.40.0.0/16 nexthop dev t0 nexthop dev v1",
    ] {
      try namespace.ip(command)
    }
    try withLink { netlink, link in
      let second = try #require(try netlink.link(named: "v1"))
      let multiple = [
        Route(IPPrefix(v4(203, 0, 113, 0), length: 24)), Route(IPPrefix(v4(192, 0, 2, 0), length: 24)),
        Route(IPPrefix(v4(10, 20, 0, 0), length: 16)), Route(IPPrefix.documentation),
      ]
      for link in [link, second] { #expect(try netlink.routes(via: link).isSuperset(of: multiple), "\(link.name)") }
      let networks = try netlink.machineNetworks(except: nil)
      #expect(networks.connected.contains(IPPrefix(v4(10, 20, 0, 0), length: 16)))
      let routed: Set = [
        IPPrefix(v4(203, 0, 113, 0), length: 24), IPPrefix(v4(192, 0, 2, 0), length: 24), .documentation,
      ]
      #expect(networks.connected.allSatisfy { !routed.contains($0) })
      #expect(Set(networks.routed).isSuperset(of: routed))
      // What may as well go through a tunnel is no network at hand.
      for second in [30, 40] as [UInt8] {
        #expect(!networks.connected.contains(IPPrefix(v4(10, second, 0, 0), length: 16)))
      }
      // A copy for programs beside a tunnel has nothing that may lead into the tunnel.
      try netlink.copyMainTable(to: 77, without: link.index, isIPv6: false)
      #expect(try netlink.routes(via: link).allSatisfy { $0.table != 77 })
    }
  }

  @Test func `a route's MTU is its own, else its interface's, and follows the mark`() throws {
    try withLink { netlink, _ in
      #expect(netlink.defaultRouteMTU() == nil)
      #expect(netlink.routeMTU(to: v4(192, 0, 2, 1), mark: 0) == nil)
    }
    for command in [
      "link set v1 mtu 1400", "address add 10.7.0.1/24 dev v0", "address add fd07::1/64 dev v0 nodad",
      "-6 route add default via fd07::2 mtu 1350",
    ] {
      try namespace.ip(command)
    }
    try withLink { netlink, _ in #expect(netlink.defaultRouteMTU() == 1350) }
    for command in [
      "route add default dev v0", "route add 192.0.2.0/24 dev v0 mtu 1300", "route add default dev v1 table 9",
      "rule add fwmark 9 table 9",
    ] {
      try namespace.ip(command)
    }
    try withLink { netlink, _ in
      #expect(netlink.routeMTU(to: v4(198, 51, 100, 1), mark: 0) == 1500)
      #expect(netlink.routeMTU(to: v4(192, 0, 2, 1), mark: 0) == 1300)
      #expect(netlink.routeMTU(to: v4(192, 0, 2, 1), mark: 9) == 1400)
      #expect(netlink.routeMTU(to: v6(0x2001, 1), mark: 9) == 1350)
      #expect(netlink.routeMTU(to: v6(0xFD07, 2), mark: 0) == 1500)
      #expect(netlink.defaultRouteMTU() == 1500)
    }
  }

  @Test func `settings of interfaces with dots in their names are found`() throws {
    try namespace.ip("link add link v0 name v0.100 type macvlan")
    try namespace.inside {
      try Sysctl.set("net.ipv4.conf.v0/100.rp_filter", to: "2")
      #expect(try Sysctl.value(of: "net.ipv4.conf.v0/100.rp_filter") == "2")
      #expect(try Sysctl.value(of: "net/ipv4/conf/v0.100/rp_filter") == "2")
      #expect(throws: Errno.noSuchFileOrDirectory) { try Sysctl.value(of: "net.ipv4.conf.none.rp_filter") }
      #expect(throws: Errno.self) { try Sysctl.set("net.ipv4.conf.v0.rp_filter", to: "word") }
    }
  }
}

/// An address of an interface, to compare.
private struct Entry: Hashable {
  let address: IPAddress
  let prefixLength: Int

  init(_ entry: (address: IPAddress, prefixLength: Int)) {
    address = entry.address
    prefixLength = entry.prefixLength
  }
}

private func v4(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) -> IPAddress {
  .v4(UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d))
}

/// `first::last`, of a first group and the last 64 bits.
private func v6(_ first: UInt64, _ last: UInt64) -> IPAddress { .v6(high: first << 48, low: last) }

extension NetworkNamespace {
  /// What `ip` prints here.
  fileprivate func ipText(_ command: String) throws -> String {
    guard let pipe = popen("ip -n \(name) \(command)", "re") else { throw NetworkNamespaces.Failure(command: command) }
    var text = [UInt8]()
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&buffer, 1, buffer.count, pipe)
      if count == 0 { break }
      text += buffer[..<count]
    }
    guard pclose(pipe) == 0 else { throw NetworkNamespaces.Failure(command: command) }
    return String(decoding: text, as: UTF8.self)
  }

  /// What `ip -j` prints here.
  func ipAnswer(_ command: String) throws -> [[String: Any]] {
    let text = try ipText("-j \(command)")
    return try JSONSerialization.jsonObject(with: Data((text.isEmpty ? "[]" : text).utf8)) as? [[String: Any]] ?? []
  }
}

extension IPPrefix {
  /// 2001:db8:1::/48
  fileprivate static let documentation = IPPrefix(.v6(high: 0x2001_0DB8_0001_0000, low: 0), length: 48)
}
