import Testing
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `In whatever order tunnels come up, the longest prefix wins` {
  /// A family's rules and routes as the kernel keeps them.
  private struct Kernel {
    var places = [
      RulePlace(priority: 0, isOwn: false, rule: PolicyRule(isIPv6: false, table: 255, priority: 0)),
      RulePlace(priority: 32766, isOwn: false, rule: PolicyRule(isIPv6: false, table: 254, priority: 32766)),
    ]
    var tables: [UInt32: [IPPrefix: String]] = [254: [prefix("0.0.0.0/0"): "uplink"]]

    mutating func add(_ rule: PolicyRule, isOwn: Bool = true) {
      let behind = places.firstIndex { $0.priority > rule.priority! } ?? places.endIndex
      places.insert(RulePlace(priority: rule.priority!, isOwn: isOwn, rule: rule), at: behind)
    }

    mutating func remove(_ rule: PolicyRule) throws {
      places.remove(at: try #require(places.firstIndex { $0.rule == rule }))
    }

    /// The way of a packet.
    func way(_ destination: IPAddress, mark: UInt32 = 0) -> String? {
      for case let rule? in places.map(\.rule) {
        let isMeant = (rule.mark.map { $0 == mark } ?? true) && (rule.destination?.contains(destination) ?? true)
        guard isMeant != rule.isInverted else { continue }
        let found = tables[rule.table, default: [:]].filter { $0.key.contains(destination) }
          .max { $0.key.length < $1.key.length }
        if let found, found.key.length > rule.suppressedPrefixLength ?? -1 { return found.value }
      }
      return nil
    }
  }

  private struct Up {
    let name: String
    let prefixes: [IPPrefix]
    let takesAll: Bool
    var journal: [Journal.Entry]
  }

  /// A machine on which tunnels come and go, with their rules put there as `up` and `down` do.
  private struct Home {
    var kernel = Kernel()
    var tunnels: [Up] = []

    /// What all commands do with the shared rules.
    mutating func arrange(before limit: UInt32? = nil, leaving: Int? = nil) throws {
      let journals = tunnels.indices.filter { $0 != leaving }.map { tunnels[$0].journal }
      let change = BlockChange(
        RuleOrder(kernel.places), needed: SharedRules.markedTables(journals),
        marks: SharedRules.marks(tunnels.map(\.journal)), before: limit)
      for rule in change.added where !kernel.places.contains(where: { $0.rule == rule }) { kernel.add(rule) }
      for rule in change.removed where !change.added.contains(rule) { try kernel.remove(rule) }
    }

    mutating func up(_ routing: MarkedRouting, _ prefixes: [IPPrefix], mark: UInt32) throws {
      let name = "\(mark)"
      var routes: [Route] = []
      for prefix in prefixes {
        let isDefault = routing.defaultFamilies.contains(false) && (prefix.length == 0 || routing.asksLocalOnly)
        routes.append(
          Route(prefix, table: isDefault ? routing.table(false, mark) : MarkedRouting.table(of: mark)))
      }
      for route in routes { kernel.tables[route.table, default: [:]][route.prefix] = name }
      let rules = routing.rules(mark: mark)
      let group = RuleOrder(kernel.places).placing(rules.filter { !$0.isOfMarkedTable })
      let entries =
        routes.map(Journal.Entry.route) + (rules.filter(\.isOfMarkedTable) + group).map(Journal.Entry.rule)
      tunnels.append(
        Up(name: name, prefixes: prefixes, takesAll: prefixes.contains { $0.length == 0 }, journal: entries))
      try arrange(before: group.first?.priority)
      for rule in group { kernel.add(rule) }
    }

    mutating func down(_ number: Int) throws {
      for entry in tunnels[number].journal {
        if case .rule(let rule) = entry, !rule.isOfMarkedTable { try kernel.remove(rule) }
        if case .route(let route) = entry { kernel.tables[route.table]?[route.prefix] = nil }
      }
      try arrange(leaving: number)
      tunnels.remove(at: number)
    }

    /// The tunnel for a destination: the longest prefix of all that are narrower than everything, or else the newest default.
    func expected(_ destination: IPAddress) -> String {
      var best: (length: Int, name: String)?
      for tunnel in tunnels {
        for prefix in tunnel.prefixes where prefix.contains(destination) && prefix.length >= best?.length ?? 0 {
          best = (prefix.length, tunnel.name)
        }
      }
      return best?.name ?? "uplink"
    }
  }

  private static let nested = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32", "10.128.0.0/9"].map(prefix)
  private static let destinations =
    ["10.1.1.1", "10.1.1.2", "10.1.2.1", "10.2.0.1", "10.129.0.1", "8.8.8.8", "203.0.113.7"].map(address)

  private static func routing(_ prefixes: [IPPrefix], lan: Bool = false) -> MarkedRouting {
    let hasDefault = prefixes.contains { $0.length == 0 }
    return MarkedRouting(
      defaultFamilies: hasDefault || lan ? [false] : [], narrow: hasDefault ? [] : [false], asksLocalOnly: lan,
      lan ? [] : prefixes, endpoints: prefixes.map(\.address))
  }

  @Test(arguments: 1...40) func `tunnels come and go`(run: Int) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = Numbers(seed: seed)
    var home = Home()
    var mark: UInt32 = 100
    for _ in 0..<60 {
      if home.tunnels.count > 5 || !home.tunnels.isEmpty && Bool.random(using: &random) {
        try home.down(Int.random(in: home.tunnels.indices, using: &random))
      } else {
        mark += 1
        // One prefix is one tunnel's: which of two the same would win is nobody's to say.
        let free = Self.nested.filter { wanted in !home.tunnels.contains { $0.prefixes.contains(wanted) } }
        let own = free.filter { _ in Int.random(in: 0..<3, using: &random) == 0 }
        let prefixes = Bool.random(using: &random) || own.isEmpty ? own + [prefix("0.0.0.0/0")] : own
        try home.up(Self.routing(prefixes), prefixes, mark: mark)
      }
      for destination in Self.destinations {
        #expect(
          home.kernel.way(destination) == home.expected(destination),
          "seed \(seed): \(destination), \(home.kernel.places)")
        for tunnel in home.tunnels {
          #expect(home.kernel.way(destination, mark: UInt32(tunnel.name)!) != tunnel.name)
        }
      }
    }
    while !home.tunnels.isEmpty { try home.down(0) }
    #expect(home.kernel.places == Kernel().places)
  }

  @Test(
    arguments: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]],
    [nil, 20_000, 100, 10, 1] as [UInt32?])
  func `also with 'lan', and before rules of other programs as low as 1`(order: [Int], foreign: UInt32?) throws {
    var home = Home()
    if let foreign {
      home.kernel.tables[7] = [prefix("0.0.0.0/0"): "elsewhere"]
      home.kernel.add(PolicyRule(isIPv6: false, table: 7, priority: foreign), isOwn: false)
    }
    let tunnels: [(prefixes: [IPPrefix], lan: Bool)] = [
      ([prefix("0.0.0.0/0")], false), ([prefix("10.1.1.0/24")], false), ([prefix("10.1.0.0/16")], true),
    ]
    for number in order {
      let tunnel = tunnels[number]
      try home.up(Self.routing(tunnel.prefixes, lan: tunnel.lan), tunnel.prefixes, mark: UInt32(number + 1))
    }
    #expect(home.kernel.way(address("8.8.8.8")) == "1")
    // Before 1 there is the local table's priority alone: nothing gets before what is there.
    if foreign == 1 { return }
    for (destination, way) in [("8.8.8.8", "1"), ("10.1.1.9", "2"), ("10.1.2.9", "3")] {
      #expect(home.kernel.way(address(destination)) == way, "\(home.kernel.places)")
    }
  }

  @Test func `a rule that another program puts before the block is asked before, until a default route comes`() throws {
    var home = Home()
    try home.up(Self.routing([prefix("10.0.0.0/8")]), [prefix("10.0.0.0/8")], mark: 1)
    let first = try #require(home.kernel.places.first { $0.isOwn }?.priority)
    home.kernel.tables[7] = [prefix("10.2.0.0/16"): "elsewhere"]
    home.kernel.add(PolicyRule(isIPv6: false, table: 7, priority: first - 1), isOwn: false)
    try home.arrange()
    #expect(home.kernel.way(address("10.2.0.1")) == "elsewhere" && home.kernel.way(address("10.3.0.1")) == "1")
    try home.up(Self.routing([prefix("0.0.0.0/0")]), [prefix("0.0.0.0/0")], mark: 2)
    #expect(home.kernel.way(address("10.2.0.1")) == "1" && home.kernel.way(address("10.3.0.1")) == "1")
    #expect(home.kernel.way(address("8.8.8.8")) == "2")
  }

  @Test func `the main table is asked for longer prefixes in the tunnel's own alone`() throws {
    var home = Home()
    try home.up(Self.routing([prefix("198.51.100.0/24")]), [prefix("198.51.100.0/24")], mark: 1)
    try home.up(Self.routing([prefix("0.0.0.0/0")], lan: true), [prefix("0.0.0.0/0")], mark: 2)
    // As a DHCP server may say (RFC 3442).
    for claimed in ["198.51.100.128/25", "203.0.113.0/25", "192.168.7.0/24"] {
      home.kernel.tables[254]?[prefix(claimed)] = "uplink"
    }
    let ways = ["198.51.100.129", "198.51.100.1", "203.0.113.1", "192.168.7.1"].map { home.kernel.way(address($0)) }
    #expect(ways == ["uplink", "1", "2", "uplink"])
  }

  @Test func `a rule whose tunnel no journal knows stays`() throws {
    var home = Home()
    try home.up(Self.routing([prefix("10.1.0.0/16")]), [prefix("10.1.0.0/16")], mark: 1)
    home.tunnels = []
    try home.up(Self.routing([prefix("10.0.0.0/8")]), [prefix("10.0.0.0/8")], mark: 2)
    #expect(home.kernel.way(address("10.1.0.1")) == "1" && home.kernel.way(address("10.2.0.1")) == "2")
    try home.down(0)
    #expect(home.kernel.way(address("10.1.0.1")) == "1" && home.kernel.way(address("10.2.0.1")) == "uplink")
  }

  @Test(arguments: [0, 253, 254, 255, 0x4000_0000, 0x4000_00FD, 0x4000_00FE, 0x4000_00FF, 51820] as [UInt32])
  func `no mark leads to a table of the kernel's own`(mark: UInt32) {
    let tables = [MarkedRouting.table(of: mark), MarkedRouting.defaultTable(of: mark)]
    #expect(tables[0] != tables[1] && !tables.contains { [0, 253, 254, 255].contains($0) })
    #expect(mark != 51820 || tables[1] == mark)
  }
}

/// Reproducible numbers (xorshift64*).
private struct Numbers: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed | 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
}
