import WG6Config
import WG6Linux
import WG6Protocol

/// All that a tunnel needs of a machine: what `up` makes, and what `reload` compares with what there is.
struct Setup {
  /// What the daemon is told.
  var device: DeviceUpdate
  var addresses: [InterfaceAddress]
  /// Bytes.
  var mtu: Int
  /// What is to be said about a way too narrow for IPv6; `nil` where the file chose the MTU itself.
  var mtuWarning: String?
  /// The longest first.
  var routes: [Route]
  /// Each family's in the order in which they are asked (`RuleOrder`).
  var rules: [PolicyRule]
  var settings: [(name: String, value: String)]
  /// Of the tunnel's own interface.
  var routerAdvertisements: RouterAdvertisements
  /// In which networks peers have addresses that follow from their keys, also those that are added later; in
  /// ascending order.
  var derivedNetworks: [UInt64]
  var firewall: FirewallRules
  var resolver: ResolverRequest?
  /// The mark of the tunnel's own datagrams, where it has one.
  var mark: UInt32?
  /// Whether `mark` was drawn here and is not the file's.
  var isMarkChosen: Bool
  /// What its own datagrams must go past.
  let routing: MarkedRouting
  /// Whether a table of its own is asked before the main one about all that the tunnel takes, past which its own datagrams
  /// must go, and those of other tunnels that have one.
  var hasDefaultRoute: Bool { !routing.defaultFamilies.isEmpty }
  /// Which address goes to which peer.
  let coverage: Coverage
  /// What the main table has a way to and `lan` does not stand for, although the file says `lan`: these networks stay in
  /// the tunnel. Those that are connected, and those behind a router.
  private(set) var foreign = MachineNetworks()
  /// Local networks that the machine is in and that share addresses with the tunnel's own.
  private(set) var inTheTunnel: [IPPrefix] = []
}

extension Setup {
  /// wg-quick's first choice of a mark and of a table with that number.
  static let firstChosenMark: UInt32 = 51820
  /// Has the reverse path filter look at the mark of an answer.
  static let markedAnswers = "net.ipv4.conf.all.src_valid_mark"
  /// Bytes of an Ethernet frame, where nothing says what the way takes.
  private static let usualMTU = 1500
  /// Outer IP header, UDP header, and a data message's header and tag.
  private static func overhead(isIPv6: Bool) -> Int { (isIPv6 ? 40 : 20) + 8 + 32 }

  /// What `configuration` asks for on `machine`.
  ///
  /// - Parameters:
  ///   - endpoints: the addresses of those peers' endpoints that have one.
  ///   - resolved: what names of endpoints stand for, where a peer is elsewhere by now and may come back.
  ///   - previousMark: what was chosen before, to stay with it.
  init(
    _ configuration: ConfigurationFile, interface: String, endpoints: [EndpointName: Endpoint], machine: Machine,
    resolved: [IPAddress] = [], previousMark: UInt32? = nil
  ) throws(NetlinkError) {
    let coverage = Coverage(configuration, connected: machine.connectedNetworks)
    self.coverage = coverage
    let excludesLAN = configuration.excludesLAN
    // Routes and the kill switch must hold when the machine has left these networks: nothing is cut out for them.
    let uncut = excludesLAN ? Coverage(configuration, connected: []) : coverage
    let isAutomatic = configuration.table == .automatic
    // Where `lan` is excluded, the main table is not asked before the tunnel's own about any other than local addresses.
    let defaultFamilies = [false, true].filter { isIPv6 in
      isAutomatic
        && (coverage.hasDefaultRoute(isIPv6: isIPv6)
          || excludesLAN && uncut.covered.prefixes.contains { $0.address.isIPv6 == isIPv6 })
    }

    let fileMark = configuration.firewallMark.flatMap { $0 == 0 ? nil : $0 }
    let outer = configuration.peers.compactMap { $0.endpoint.flatMap { endpoints[$0] }?.address }
    routing = MarkedRouting(
      defaultFamilies: defaultFamilies, narrow: [false, true].filter { !uncut.hasDefaultRoute(isIPv6: $0) },
      asksLocalOnly: excludesLAN, inner: configuration.innerNetworks,
      isAutomatic && !excludesLAN ? coverage.specificRoutes() : [], endpoints: outer + resolved)
    let needsMark = !routing.isEmpty || configuration.killSwitch != .off
    isMarkChosen = fileMark == nil && needsMark
    if let known = fileMark ?? (needsMark ? previousMark : nil) {
      mark = known
    } else {
      mark = needsMark ? try Setup.freeMark(machine) : nil
    }

    device = configuration.update(replacing: true, endpoints: endpoints, coverage: coverage)
    if isMarkChosen { device.firewallMark = mark }
    addresses = configuration.addresses
    (mtu, mtuWarning) = Setup.mtu(configuration, coverage, over: outer, machine)

    routes = Setup.routes(
      coverage, configuration.table, routing, mark: mark, past: outer + resolved,
      beyondLAN: excludesLAN ? uncut : nil)
    rules = if let mark { routing.rules(mark: mark) } else { [] }
    // Answers to marked datagrams are looked up with the mark too, or the reverse path filter would drop them.
    settings = routing.families.contains(false) ? [(name: Setup.markedAnswers, value: "1")] : []

    routerAdvertisements =
      !configuration.acceptsRouterAdvertisements
      ? .none : configuration.takesDefaultRoutesOfRouters(coverage) ? .all : .withoutDefaultRoute
    derivedNetworks = configuration.derivedNetworks.map(\.high).sorted()

    var killSwitch: KillSwitchRules?
    if configuration.killSwitch != .off {
      let isOpen = configuration.killSwitch == .exceptLAN
      let excludesAll = configuration.excludedIPs.includesLAN
      killSwitch = KillSwitchRules(
        covered: (isOpen || excludesAll ? uncut : coverage).covered.prefixes,
        networks: LocalScope.networks(among: machine.connectedNetworks, besides: configuration.innerNetworks),
        lan: isOpen ? .networksAndGroups : excludesAll ? .networks : .closed)
    }
    if excludesLAN || configuration.killSwitch == .exceptLAN {
      inTheTunnel = machine.connectedNetworks.filter { network in
        network.isLocalNetwork && configuration.innerNetworks.contains(where: network.overlaps)
      }
      foreign.connected = machine.connectedNetworks.filter { !$0.isLocalNetwork && coverage.covered.intersects($0) }
      foreign.routed = machine.routedNetworks.filter {
        excludesLAN && !$0.isLocalNetwork && coverage.covered.intersects($0)
      }
    }
    firewall = FirewallRules(
      interface: interface, mark: mark,
      guardedAddresses: configuration.guardsAgainstSpoofing
        ? addresses.map(\.address).filter { !$0.isLinkLocal } : [],
      guardedSources: configuration.guardsAgainstSpoofing ? Setup.guardedSources(configuration, coverage) : [],
      savesMarks: !routing.isEmpty, killSwitch: killSwitch, clampsMSS: configuration.clampsMSS)
    // Domains alone are nothing to a resolver that has nobody to ask.
    resolver = configuration.resolver.servers.isEmpty ? nil : ResolverRequest(configuration.resolver)
  }

  /// Sources that may come through the tunnel alone: in a family with a default route those of other prefixes. Link-local
  /// addresses are not among them: other links have their own, and perhaps the same, as a router that is fe80::1.
  private static func guardedSources(_ configuration: ConfigurationFile, _ coverage: Coverage) -> [IPPrefix] {
    [false, true].flatMap { isIPv6 -> [IPPrefix] in
      let networks = configuration.addresses.filter { $0.address.isIPv6 == isIPv6 }.map {
        IPPrefix($0.address, length: $0.prefixLength)
      }
      guard coverage.hasDefaultRoute(isIPv6: isIPv6) else {
        let isIdle = networks.isEmpty && !coverage.covered.prefixes.contains { $0.address.isIPv6 == isIPv6 }
        return isIdle ? [] : [IPPrefix(isIPv6 ? .v6(high: 0, low: 0) : .v4(0), length: 0)]
      }
      return coverage.specificRoutes().filter { $0.address.isIPv6 == isIPv6 }
        + networks.filter { $0.length < $0.address.bitWidth && !$0.address.isLinkLocal }
    }
  }

  /// The first number from wg-quick's on whose routing table is nobody's.
  static func freeMark(_ machine: Machine) throws(NetlinkError) -> UInt32 {
    for number in firstChosenMark..<firstChosenMark + 1000 where try machine.isTableEmpty(number) { return number }
    return firstChosenMark
  }

  /// The smallest that any way to a peer leaves for the tunnel's packets, but what IPv6 needs where there is any.
  private static func mtu(
    _ configuration: ConfigurationFile, _ coverage: Coverage, over endpoints: [IPAddress], _ machine: Machine
  ) -> (mtu: Int, warning: String?) {
    if let mtu = configuration.mtu { return (mtu, nil) }
    let rooms = endpoints.compactMap { address in
      machine.pathMTU(address).map { $0 - overhead(isIPv6: address.isIPv6) }
    }
    let room = min(rooms.min() ?? (machine.defaultPathMTU() ?? usualMTU) - overhead(isIPv6: true), 65535)
    if room >= Limits.smallestMTU { return (room, nil) }
    let hasIPv6 =
      configuration.addresses.contains { $0.address.isIPv6 }
      || coverage.covered.prefixes.contains { $0.address.isIPv6 }
    let words = "the way to a peer leaves \(room) bytes, and IPv6 needs \(Limits.smallestMTU) (RFC 8200 §5)"
    return hasIPv6
      ? (Limits.smallestMTU, "MTU \(Limits.smallestMTU): \(words); larger packets go in fragments")
      : (room, "MTU \(room): \(words), so there is none on the interface")
  }

  /// Default routes, also those with holes in them, and routes that an endpoint lies in go where only unmarked packets look;
  /// the others stand with the machine's own. Of `beyondLAN`, from which local networks are not cut out, all go to the default
  /// route's table: the main table's routes to local networks are asked before these, and no others.
  private static func routes(
    _ coverage: Coverage, _ table: RouteTable, _ routing: MarkedRouting, mark: UInt32?, past outer: [IPAddress],
    beyondLAN: Coverage?
  ) -> [Route] {
    switch table {
    case .off: return []
    case .number(let number): return coverage.routes().map { Route($0, table: number) }
    case .automatic:
      let specific = coverage.specificRoutes().flatMap { prefix -> [Route] in
        guard MarkedRouting.hold(prefix, outer) else { return [Route(prefix)] }
        // Beyond the LAN, the table that is asked first has the endpoint, too.
        return beyondLAN == nil
          ? [Route(prefix, table: MarkedRouting.table(of: mark!))]
          : MarkedRouting.pieces(of: [prefix], around: outer).map { Route($0) }
      }
      let own = [false, true].filter(routing.defaultFamilies.contains).flatMap { isIPv6 in
        let all = beyondLAN ?? coverage
        let prefixes =
          all.hasDefaultRoute(isIPv6: isIPv6)
          ? all.defaultRoutes(isIPv6: isIPv6)
          : all.specificRoutes().filter { $0.address.isIPv6 == isIPv6 }
        return prefixes.map { Route($0, table: routing.table(isIPv6, mark!)) }
      }
      return (specific + own).sorted { $0.prefix.length > $1.prefix.length }
    }
  }
}

extension ResolverRequest {
  init(_ settings: ResolverSettings) {
    self.init(
      servers: settings.servers.map { "\($0)" }, searchDomains: settings.searchDomains,
      routingDomains: settings.routingDomains)
  }

  /// The same for the same request.
  var journalText: String {
    (servers + searchDomains + routingDomains.map { "~" + $0 }).joined(separator: " ")
  }

  init(journalText: String) {
    let words = journalText.split(separator: " ").map(String.init)
    let domains = words.filter { NameServer($0) == nil }
    self.init(
      servers: words.filter { NameServer($0) != nil }, searchDomains: domains.filter { !$0.hasPrefix("~") },
      routingDomains: domains.filter { $0.hasPrefix("~") }.map { String($0.dropFirst()) })
  }
}

extension FirewallRules {
  /// A number that the script of other rules would not have by chance (FNV-1a, 64 bits). Other tunnels come and go
  /// without a change to this one.
  var digest: UInt64 {
    var own = self
    own.others = []
    return own.script.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
