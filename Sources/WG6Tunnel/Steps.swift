import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

/// The single steps of `up` and `reload`, each journalled before it is made where `down` has to undo it.
extension Tunnel {
  func write(_ entries: Journal.Entry..., to journal: inout Journal) throws(TunnelError) {
    try write(entries, to: &journal)
  }

  func write(_ entries: [Journal.Entry], to journal: inout Journal) throws(TunnelError) {
    do {
      try journal.append(entries)
    } catch {
      throw TunnelError("\(journal.path): \(error)")
    }
  }

  /// Makes a change that the journal has first. One that fails was not made: its entries are withdrawn, or undo would touch
  /// what is not the tunnel's, and fail where the change did.
  func make(
    _ entries: Journal.Entry..., in journal: inout Journal, _ change: () throws(TunnelError) -> Void
  ) throws(TunnelError) {
    try write(entries, to: &journal)
    do throws(TunnelError) {
      try change()
    } catch {
      try? journal.withdraw(entries)
      throw error
    }
    Fault.point()
  }

  /// Puts these entries in the place of all.
  func replace(_ journal: inout Journal, with entries: [Journal.Entry]) throws(TunnelError) {
    do {
      try journal.replace(with: entries)
    } catch {
      throw TunnelError("\(journal.path): \(error)")
    }
  }

  func remove(_ routes: [Route], via link: Link, _ netlink: borrowing NetlinkSocket) throws(TunnelError) {
    do {
      try netlink.removeRoutes(routes, via: link)
    } catch {
      throw TunnelError(error.reason)
    }
  }

  /// Puts the firewall's table in place of any before, or removes it where nothing is asked of it.
  ///
  /// Without nftables there is no kill switch, but a tunnel still comes up, without the guard against forged packets, or with
  /// as much of it as the kernel supports: routes (CONFIG_NFT_FIB_INET) and sockets (CONFIG_NFT_SOCKET) are modules of their own.
  func close(_ rules: FirewallRules, _ journal: inout Journal) throws(TunnelError) {
    guard !rules.isEmpty else { return }
    tell("firewall table \(rules.tableName)\(rules.killSwitch == nil ? "" : ", with the kill switch")")
    do throws(FirewallError) {
      return try put(rules, &journal)
    } catch {
      if !rules.hasGuard || error == .unsupported { return try goOn(without: rules, error) }
      warn("no whole guard against forged packets: \(error)")
    }
    var less = rules
    less.guardedSources = []
    do throws(FirewallError) {
      return try put(less, &journal)
    } catch {
      less.guardedAddresses = []
      if less.isEmpty { return }
    }
    do throws(FirewallError) {
      try put(less, &journal)
    } catch {
      try goOn(without: less, error)
    }
  }

  /// Of a kernel without nftables `warnings` has told.
  private func goOn(without rules: FirewallRules, _ error: FirewallError) throws(TunnelError) {
    if rules.isRequired { throw TunnelError("\(error)") }
    if error != .unsupported { warn("no guard against forged packets: \(error)") }
  }

  private func put(_ rules: FirewallRules, _ journal: inout Journal) throws(FirewallError) {
    let entry = Journal.Entry.firewall(digest: rules.digest, isKillSwitch: rules.killSwitch != nil)
    var refusal: FirewallError?
    do throws(TunnelError) {
      try make(entry, .filter(rules), in: &journal) { () throws(TunnelError) in
        do throws(FirewallError) {
          try Firewall.put(rules)
        } catch {
          refusal = error
          throw TunnelError("\(error)")
        }
      }
    } catch {
      throw refusal ?? FirewallError(reason: "\(error)", details: "")
    }
  }

  /// Keeps peers and the kernel from configuring the interface. The daemon has done so, but for one of another make.
  func turnOffAutoconfiguration() {
    for problem in Autoconfiguration.turnOff(interface) {
      warn("\(problem): peers' router advertisements may configure the interface")
    }
  }

  /// Has the daemon give peers that are added later, too, what follows from their keys. Those of the file have it among
  /// their allowed IPs.
  func derive(in networks: [UInt64]) {
    guard !networks.isEmpty else { return }
    do throws(RemoteDevice.Failure) {
      try deriveStrictly(in: networks)
    } catch {
      warn("the daemon gives peers that are added later no addresses from their keys: \(error.reason)")
    }
  }

  func deriveStrictly(in networks: [UInt64]) throws(RemoteDevice.Failure) {
    var update = DeviceUpdate()
    update.derivedNetworks = networks
    try RemoteDevice(interface: interface).apply(update)
  }

  func take(_ advertisements: RouterAdvertisements) {
    tell("router advertisements: \(advertisements.words)")
    for problem in advertisements.apply(to: interface) { warn("\(problem): AcceptRA has no effect") }
  }

  func add(
    _ address: InterfaceAddress, to link: Link, _ netlink: borrowing NetlinkSocket, _ journal: inout Journal
  ) throws(TunnelError) {
    tell("address \(address)")
    try make(.address(address), in: &journal) { () throws(TunnelError) in
      do throws(NetlinkError) {
        try netlink.addAddress(address.address, prefixLength: address.prefixLength, to: link)
      } catch {
        throw TunnelError("Address = \(address): \(error.reason)")
      }
    }
  }

  func add(
    _ routes: [Route], via link: Link, _ netlink: borrowing NetlinkSocket, _ journal: inout Journal
  ) throws(TunnelError) {
    guard !routes.isEmpty else { return }
    if routes.count <= 20 {
      for route in routes { tell("route \(route.prefix)\(route.tableText)") }
    } else {
      tell(counted(routes.count, "route"))
    }
    try write(routes.map { .route($0) }, to: &journal)
    do {
      try netlink.addRoutes(routes, via: link)
    } catch {
      throw TunnelError("the route to \(error.route.prefix): \(error.reason.reason)")
    }
    Fault.point()
  }

  /// Rules of several tunnels may be alike but for their priority. It is chosen here, so that the journal tells which of them
  /// is this tunnel's. Those of the block are put there with those of all other tunnels.
  ///
  /// - Parameter rules: in the order in which they are asked; those that have a priority keep it.
  func add(
    _ rules: [PolicyRule], _ netlink: borrowing NetlinkSocket, _ journal: inout Journal
  ) throws(TunnelError) {
    guard !rules.isEmpty else { return }
    for rule in rules { tell("rule \(rule)") }
    let turn = try takeTurn()
    var chosen = rules.filter { $0.priority != nil }
    var places: [Bool: UInt32] = [:]
    for isIPv6 in [false, true] {
      let group = rules.filter { $0.isIPv6 == isIPv6 && $0.priority == nil && !$0.isOfMarkedTable }
      guard !group.isEmpty else { continue }
      do throws(NetlinkError) {
        let placed = RuleOrder(try netlink.rulePlaces(isIPv6: isIPv6)).placing(group)
        places[isIPv6] = placed.first?.priority
        chosen += placed
      } catch {
        throw TunnelError(error)
      }
    }
    try write(rules.filter(\.isOfMarkedTable).map { .rule($0) } + chosen.map { .rule($0) }, to: &journal)
    // No datagram of another tunnel meets a rule before its exemption, or before the routes that are more specific.
    try arrangeSharedRulesInTurn(before: places)
    for rule in chosen {
      do throws(NetlinkError) {
        try netlink.addRule(rule)
      } catch  where error.isExisting {
        // The process that watches over the tunnel reads the journal, and was quicker.
      } catch {
        throw TunnelError("the rule '\(rule)': \(error.reason)")
      }
      Fault.point()
    }
    _ = consume turn
  }

  /// Who can do what is asked.
  func service(for request: ResolverRequest) throws(TunnelError) -> ResolverService {
    guard let service = ResolverService.find() else { throw TunnelError("DNS: \(ResolverService.absence)") }
    do {
      try service.check(request)
    } catch {
      throw TunnelError("\(error)")
    }
    return service
  }

  func apply(_ request: ResolverRequest, _ journal: inout Journal) throws(TunnelError) {
    let service = try service(for: request)
    tell("DNS \(request.journalText) through \(service.rawValue)")
    try make(.resolver(service), .resolverRequest(request.journalText), in: &journal) { () throws(TunnelError) in
      do {
        try service.apply(request, to: interface)
      } catch {
        throw TunnelError("\(error)")
      }
    }
  }

  /// Other interfaces that have guarded addresses, with a word on those that are no tunnels: neighbours there reach the
  /// address.
  func sharers(of setup: Setup) -> [Sharer] {
    let addresses = setup.firewall.guardedAddresses
    let all = Sharer.all(of: addresses, but: interface, tunnelsOnly: false)
    let tunnels = Set(Sharer.all(of: addresses, but: interface, tunnelsOnly: true))
    for sharer in all where !tunnels.contains(sharer) {
      warn("Address \(sharer.address): \(sharer.interface) has it too, and packets to it are taken from there as well")
    }
    return all
  }

  /// Warns of what is strange about a file on this machine.
  func tellFindings(_ file: TunnelFile, _ setup: Setup, _ endpoints: Endpoints) {
    for warning in warnings(of: file, setup, endpoints.found) { warn(warning.description) }
  }

  /// The marks that other tunnels of this namespace have chosen, and with them tables of these numbers.
  func marksOfOthers() -> Set<UInt32> {
    Set(entriesOfOthers().compactMap { entry in if case .mark(let mark) = entry { mark } else { nil } })
  }

  /// What the journals of other tunnels of this namespace say.
  func entriesOfOthers() -> [Journal.Entry] {
    StateDirectory.interfaces().filter { $0 != interface }.flatMap { other -> [Journal.Entry] in
      guard let journal = try? Journal.read(other, sharedOnly: true), journal.isOfThisNamespace else { return [] }
      return journal.entries
    }
  }
}

extension RouterAdvertisements {
  var words: String {
    switch self {
    case .none: "none taken"
    case .withoutDefaultRoute: "taken, without default routes"
    case .all: "taken"
    }
  }
}

extension Route {
  var tableText: String { table == NetlinkSocket.mainTable ? "" : " in table \(table)" }
}

extension NetlinkSocket {
  /// Those of `routes` that none of the interface's in the main table covers, as the one to an address's own network
  /// may; in other tables all that are not there. As wg-quick decides, and so the longest first.
  ///
  /// - Parameters:
  ///   - needless: routes that are there and will not stay.
  ///   - addresses: those that the interface is still to get.
  func needed(
    _ routes: [Route], via link: Link, without needless: Set<Route> = [], addresses: [InterfaceAddress] = []
  ) throws(NetlinkError) -> [Route] {
    let there = try self.routes(via: link, includingKernels: true).subtracting(needless)
    var present = CoveringRoutes(there)
    for address in addresses where address.address.isIPv6 || address.prefixLength < 32 {
      let network = IPPrefix(address.address, length: address.prefixLength)
      present.insert(Route(network))
    }
    return routes.filter { route in
      !present.has(route) && !(route.table == NetlinkSocket.mainTable && present.cover(route))
    }
  }
}

/// Routes that an interface has, to ask whether one of them leads where a further one would.
struct CoveringRoutes {
  private var routes: Set<Route>
  /// By table and family.
  private var lengths: Set<Int> = []

  init(_ routes: Set<Route>) {
    self.routes = routes
    lengths = Set(routes.map(\.prefix.length))
  }

  func has(_ route: Route) -> Bool { routes.contains(route) }

  func cover(_ route: Route) -> Bool {
    let prefix = route.prefix
    return lengths.contains {
      $0 <= prefix.length
        && routes.contains(Route(IPPrefix(prefix.address, length: $0), table: route.table))
    }
  }

  mutating func insert(_ route: Route) {
    routes.insert(route)
    lengths.insert(route.prefix.length)
  }
}
