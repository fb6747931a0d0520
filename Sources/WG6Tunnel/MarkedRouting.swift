import WG6Config
import WG6Linux
import WG6Protocol

/// What leads a tunnel's own datagrams past its routes, and nothing else: the routes that they would take stand in tables of
/// their own, which unmarked packets alone are looked up in.
///
/// A rule before each of these looks-up asks the main table for longer prefixes, as the longest wins there. For a default
/// route these are wg-quick's two rules. A further route that an endpoint lies in has a rule of its length in the block of all
/// tunnels (`RuleOrder`): its table counts from that length on, and the main table above it.
struct MarkedRouting: Equatable {
  /// The families whose table is asked about all addresses, but for what the main table knows better.
  var defaultFamilies: Set<Bool> = []
  /// Those of them that have no default route, which is so with `lan` alone.
  private(set) var narrowFamilies: Set<Bool> = []
  /// Whether the main table is asked before that about local addresses alone, as `lan` among the exclusions wants it.
  private(set) var asksLocalOnly = false
  /// Then the networks of the tunnel's own addresses are in the tunnel, also where the main table has longer routes to them.
  private var innerNetworks: [IPPrefix] = []
  /// The lengths of the other prefixes that have an endpoint in them, by family (`isIPv6`).
  private(set) var lengths: [Bool: Set<Int>] = [:]

  init(
    defaultFamilies: [Bool], narrow: [Bool] = [], asksLocalOnly: Bool = false, inner: [IPPrefix] = [],
    _ prefixes: [IPPrefix],
    endpoints: [IPAddress]
  ) {
    self.asksLocalOnly = asksLocalOnly && !defaultFamilies.isEmpty
    if self.asksLocalOnly {
      for network in inner where network.isLocalNetwork && !innerNetworks.contains(network) {
        innerNetworks.append(network)
      }
    }
    self.defaultFamilies = Set(defaultFamilies)
    narrowFamilies = self.defaultFamilies.intersection(narrow)
    add(prefixes, endpoints)
  }

  /// What the rules that a tunnel has lead past.
  init(_ rules: [PolicyRule]) {
    asksLocalOnly = rules.contains { $0.destination != nil }
    for rule in rules where rule.isInverted {
      if let suppressed = rule.suppressedPrefixLength {
        lengths[rule.isIPv6, default: []].insert(suppressed + 1)
      } else {
        defaultFamilies.insert(rule.isIPv6)
        if rule.isOfNarrowTable { narrowFamilies.insert(rule.isIPv6) }
      }
    }
  }

  var isEmpty: Bool { defaultFamilies.isEmpty && lengths.isEmpty }

  /// The families that have rules.
  var families: Set<Bool> { defaultFamilies.union(lengths.keys) }

  /// Leads past those of `prefixes` that an endpoint lies in, too.
  mutating func add(_ prefixes: [IPPrefix], _ endpoints: [IPAddress]) {
    for prefix in prefixes where MarkedRouting.hold(prefix, endpoints) {
      lengths[prefix.address.isIPv6, default: []].insert(prefix.length)
    }
  }

  static func hold(_ prefix: IPPrefix, _ endpoints: [IPAddress]) -> Bool {
    prefix.length > 0 && endpoints.contains { $0.isIPv6 == prefix.address.isIPv6 && prefix.contains($0) }
  }

  /// What is left of `prefixes` without the endpoints: for a table that is asked where another, before it, has had no route.
  static func pieces(of prefixes: [IPPrefix], around endpoints: [IPAddress]) -> [IPPrefix] {
    var rest = PrefixSet(prefixes)
    rest.subtract(PrefixSet(endpoints.map { IPPrefix($0, length: $0.bitWidth) }))
    return rest.prefixes
  }

  /// The kernel's own tables: unspecific, `default`, `main` and `local`.
  private static let reserved: Set<UInt32> = [0, 253, 254, 255]

  private static func table(_ number: UInt32) -> UInt32 {
    reserved.contains(number) ? number ^ 0x2000_0000 : number
  }

  /// The table of a default route, which has the number of the mark.
  static func defaultTable(of mark: UInt32) -> UInt32 { table(mark) }

  /// The table of other routes: those that an endpoint lies in, or all with `lan` where there is no default route.
  static func table(of mark: UInt32) -> UInt32 { table(mark ^ 0x4000_0000) }

  /// A family's rules in the order in which they are asked, but those of the block each without the one that asks the main
  /// table before: tunnels share that (`RuleOrder.block`).
  func rules(mark: UInt32) -> [PolicyRule] {
    [false, true].flatMap { isIPv6 in
      (lengths[isIPv6] ?? []).sorted(by: >).map {
        PolicyRule(
          isIPv6: isIPv6, mark: mark, isInverted: true, table: MarkedRouting.table(of: mark),
          suppressedPrefixLength: $0 - 1)
      } + (defaultFamilies.contains(isIPv6) ? ofDefaultRoute(isIPv6, mark) : [])
    }
  }

  private func ofDefaultRoute(_ isIPv6: Bool, _ mark: UInt32) -> [PolicyRule] {
    let table = table(isIPv6, mark)
    let last = PolicyRule(isIPv6: isIPv6, mark: mark, isInverted: true, table: table)
    guard asksLocalOnly else {
      return [PolicyRule(isIPv6: isIPv6, table: NetlinkSocket.mainTable, suppressedPrefixLength: 0), last]
    }
    let inner = innerNetworks.filter { $0.address.isIPv6 == isIPv6 }
    return inner.map { PolicyRule(isIPv6: isIPv6, to: $0, table: table) } + MarkedRouting.localRules(isIPv6: isIPv6)
      + [last]
  }

  /// The table of a family that goes into it as a whole, or with `lan` as far as the tunnel takes it.
  func table(_ isIPv6: Bool, _ mark: UInt32) -> UInt32 {
    narrowFamilies.contains(isIPv6) ? MarkedRouting.table(of: mark) : MarkedRouting.defaultTable(of: mark)
  }

  /// The main table is asked about local addresses alone, and its answer counts only where the route is no wider than
  /// their range: a network that claims more of the internet, or all of it, is not believed.
  private static func localRules(isIPv6: Bool) -> [PolicyRule] {
    LocalScope.networks.filter { $0.address.isIPv6 == isIPv6 }.map {
      PolicyRule(isIPv6: isIPv6, to: $0, table: NetlinkSocket.mainTable, suppressedPrefixLength: $0.length - 1)
    }
  }
}

extension Tunnel {
  /// Leads the tunnel's own datagrams to `endpoint` past its routes, as an `up` that had known it would have. Throws where
  /// they could not be, and so must not be sent.
  func leadPast(_ endpoint: IPAddress, _ program: String, _ journal: inout Journal) throws(TunnelError) {
    let netlink = try openNetlink()
    guard let link = try link(netlink) else { return }
    let present: Set<Route>
    do throws(NetlinkError) {
      present = try netlink.routes(via: link)
    } catch {
      throw TunnelError(error)
    }
    var inTheWay: [Route] = []
    for case .route(let route) in journal.entries
    where route.table == NetlinkSocket.mainTable && MarkedRouting.hold(route.prefix, [endpoint])
      && present.contains(route) && !inTheWay.contains(route)
    { inTheWay.append(route) }
    if inTheWay.isEmpty { return }
    if journal.rules.contains(where: { $0.isIPv6 == endpoint.isIPv6 && $0.destination != nil }) {
      // The table that is asked first has the endpoint as well.
      let pieces = MarkedRouting.pieces(of: inTheWay.map(\.prefix), around: [endpoint]).map { Route($0) }
      try add(pieces.filter { !present.contains($0) }, via: link, netlink, &journal)
      return try remove(inTheWay, via: link, netlink)
    }
    let mark = try ownMark(&journal)
    if !endpoint.isIPv6 { try set(Setup.markedAnswers, to: "1", &journal) }
    var filter = journal.filter ?? FirewallRules(interface: interface)
    filter.interface = interface
    filter.mark = mark
    filter.savesMarks = true
    filter.others = othersWithDefaultRoutes()
    try close(filter, &journal)
    try add(inTheWay.map { Route($0.prefix, table: MarkedRouting.table(of: mark)) }, via: link, netlink, &journal)
    var routing = MarkedRouting(journal.rules)
    routing.add(inTheWay.map(\.prefix), [endpoint])
    let known = journal.rules
    let new = routing.rules(mark: mark).filter { rule in rule.isOfMarkedTable && !known.contains(where: rule.isMeant) }
    try add(new, netlink, &journal)
    try arrangeSharedRules()
    try remove(inTheWay, via: link, netlink)
    let gone = Set(inTheWay.map(Journal.Entry.route))
    try replace(&journal, with: journal.entries.filter { !gone.contains($0) })
    watchOver(program)
  }

  /// The mark of the tunnel's own datagrams, which they have from now on if they had none.
  private func ownMark(_ journal: inout Journal) throws(TunnelError) -> UInt32 {
    let device = RemoteDevice(interface: interface)
    do throws(RemoteDevice.Failure) {
      let mark = try device.status().firewallMark
      if mark != 0 { return mark }
    } catch {
      throw TunnelError(error.description)
    }
    let turn = try takeTurn()
    let netlink = try openNetlink()
    let mark: UInt32
    do throws(NetlinkError) {
      mark = try Setup.freeMark(Machine.this(netlink, link: nil, mark: 0, taken: marksOfOthers()))
    } catch {
      throw TunnelError(error)
    }
    try write(.mark(mark), to: &journal)
    _ = consume turn
    do throws(RemoteDevice.Failure) {
      var update = DeviceUpdate()
      update.firewallMark = mark
      try device.apply(update)
    } catch {
      throw TunnelError(error.description)
    }
    return mark
  }
}
