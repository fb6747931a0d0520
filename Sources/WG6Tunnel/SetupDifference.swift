import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// One kind of change that a reload makes.
  enum Change {
    case firewall(FirewallRules)
    case removeRoutes([Route])
    case device(DeviceDifference)
    case addAddress(InterfaceAddress)
    case mtu(Int, before: Int)
    case setUp
    case addRoutes([Route])
    case setting(name: String, value: String)
    case restoreSetting(name: String, before: String)
    /// In the order in which they are asked.
    case addRules([PolicyRule])
    case removeRule(PolicyRule)
    case removeAddress(InterfaceAddress)
    case resolver(ResolverRequest?)
    case derivedNetworks([UInt64])
    case routerAdvertisements(RouterAdvertisements)

    var lines: [String] {
      switch self {
      case .firewall(let rules): ["firewall table \(rules.tableName)\(rules.isEmpty ? " removed" : "")"]
      case .removeRoutes(let routes): routes.map { "- route \($0.prefix)\($0.tableText)" }
      case .device(let difference): difference.lines
      case .addAddress(let address): ["+ address \(address)"]
      case .mtu(let mtu, let before): ["MTU \(before) → \(mtu)"]
      case .setUp: ["up"]
      case .addRoutes(let routes): routes.map { "+ route \($0.prefix)\($0.tableText)" }
      case .setting(let name, let value), .restoreSetting(let name, let value): ["\(name) = \(value)"]
      case .addRules(let rules): rules.map { "+ rule \($0)" }
      case .removeRule(let rule): ["- rule \(rule)"]
      case .removeAddress(let address): ["- address \(address)"]
      case .derivedNetworks(let networks):
        [
          networks.isEmpty
            ? "no addresses from keys"
            : "addresses from keys in "
              + networks.map { "\(IPPrefix(.v6(high: $0, low: 0), length: 64))" }.joined(separator: ", ")
        ]
      case .routerAdvertisements(let advertisements): ["router advertisements: \(advertisements.words)"]
      case .resolver(let request): ["DNS \(request?.journalText ?? "removed")"]
      }
    }
  }

  /// What makes the tunnel that there is, by the journal and by the kernel, what `setup` says: first all that is new, then
  /// away with what is old, so that no packet is without a way in between. An endpoint that lies in a route through the tunnel
  /// comes last: only then do the tunnel's own datagrams go past that route.
  func changes(
    to setup: Setup, _ device: DeviceDifference, _ link: Link, _ netlink: borrowing NetlinkSocket,
    _ journal: borrowing Journal
  ) throws(NetlinkError) -> [Change] {
    var device = device
    let mark = device.takeMark()
    var changes: [Change] = []
    var bridges: [PolicyRule] = []
    if let mark, mark.new != 0 {
      // While one mark takes the other's place, a rule leads the new one past default routes that know the old one, and
      // the kill switch lets both pass.
      if mark.former != 0 {
        bridges = setup.bridges(for: mark.new)
        changes.append(.addRules(bridges))
        if let both = setup.firewall.lettingPass(mark.former) { changes.append(.firewall(both)) }
      }
      changes.append(.device(mark.difference))
    }
    // A reload that was killed had written down what it would do next, and may not have done it.
    if journal.contains(.reloading) || !isInForce(setup.firewall, journal) { changes.append(.firewall(setup.firewall)) }
    // The daemon first: what it still gives peers by their keys, a change of their allowed IPs could not take away.
    if journal.contains(.reloading) || journal.derivedNetworks != setup.derivedNetworks {
      changes.append(.derivedNetworks(setup.derivedNetworks))
    }
    let inside = device.takeEndpoints { endpoint in
      setup.routes.contains { $0.prefix.address.isIPv6 == endpoint.isIPv6 && $0.prefix.contains(endpoint) }
    }
    if !device.isEmpty { changes.append(.device(device)) }
    let ways = try wayChanges(to: setup, link, netlink, journal)
    let rules = try ruleChanges(to: setup, netlink, journal)
    changes += ways.first
    // After a change of the MTU, which may have made all of IPv6's settings anew.
    if journal.routerAdvertisements != setup.routerAdvertisements
      || setup.routerAdvertisements != .none && !setup.routerAdvertisements.isInForce(on: interface)
    {
      changes.append(.routerAdvertisements(setup.routerAdvertisements))
    }
    changes += settingChanges(to: setup, journal)
    if !rules.added.isEmpty { changes.append(.addRules(rules.added)) }
    changes += (rules.removed + bridges).map { .removeRule($0) }
    if let mark, mark.new == 0 { changes.append(.device(mark.difference)) }
    changes += ways.last
    if let inside { changes.append(.device(inside)) }

    var request: String?
    for case .resolverRequest(let text) in journal.entries { request = text }
    if journal.contains(.reloading) || setup.resolver?.journalText != request {
      changes.append(.resolver(setup.resolver))
    }
    return changes
  }

  /// Whether the firewall is as `rules` want it; others may have cleared all of it meanwhile.
  private func isInForce(_ rules: FirewallRules, _ journal: borrowing Journal) -> Bool {
    var digest: UInt64?
    for case .firewall(let number, _) in journal.entries { digest = number }
    if rules.isEmpty { return digest == nil }
    return rules.digest == digest && (try? Firewall.hasTable(rules.tableName)) ?? true
  }

  /// Addresses, MTU and routes: what comes, and what goes after it. What others gave the interface is theirs.
  private func wayChanges(
    to setup: Setup, _ link: Link, _ netlink: borrowing NetlinkSocket, _ journal: borrowing Journal
  ) throws(NetlinkError) -> (first: [Change], last: [Change]) {
    var ownRoutes: Set<Route> = [], ownAddresses: Set<InterfaceAddress> = []
    for entry in journal.entries {
      if case .route(let route) = entry { ownRoutes.insert(route) }
      if case .address(let address) = entry { ownAddresses.insert(address) }
    }
    var addresses = Set(
      try netlink.addresses(of: link).map { InterfaceAddress($0.address, prefixLength: $0.prefixLength) })
    // An older kernel does not say which of these are its own.
    if !NetlinkSocket.tellsOriginOfAddresses {
      addresses.formUnion(ownAddresses.filter { $0.address.isLinkLocal && $0.prefixLength == 64 })
    }
    let added = setup.addresses.filter { !addresses.contains($0) }
    let removed = addresses.intersection(ownAddresses).subtracting(setup.addresses).sorted { "\($0)" < "\($1)" }
    // IPv6 has an address once, whatever its length: there the old one makes room first.
    let inTheWay = removed.filter { old in old.address.isIPv6 && added.contains { $0.address == old.address } }
    var first: [Change] = inTheWay.map { .removeAddress($0) } + added.map { .addAddress($0) }
    if link.mtu != setup.mtu { first.append(.mtu(setup.mtu, before: link.mtu)) }
    if !link.isUp { first.append(.setUp) }

    // The routes that a fresh `up` would make: beside what others gave the interface, and the kernel for its addresses.
    let present = try netlink.routes(via: link, includingKernels: true)
    let own = try netlink.routes(via: link).intersection(ownRoutes)
    let lost = Set(removed.map { Route(IPPrefix($0.address, length: $0.prefixLength)) })
    let wanted = try netlink.needed(setup.routes, via: link, without: own.union(lost), addresses: setup.addresses)
    let missing = wanted.filter { !present.contains($0) }
    if !missing.isEmpty { first.append(.addRoutes(missing)) }

    var last: [Change] = []
    let needless = own.subtracting(wanted)
    if !needless.isEmpty { last.append(.removeRoutes(needless.sorted { $0.prefix.length > $1.prefix.length })) }
    if removed.isEmpty { return (first, last) }
    last += removed.filter { !inTheWay.contains($0) }.map { .removeAddress($0) }
    // With an address goes the kernel's route to its network, which may have stood for one of ours; with the last of IPv4
    // all of IPv4's routes go.
    let stay = addresses.union(setup.addresses).subtracting(removed)
    let losesIPv4 = removed.contains { !$0.address.isIPv6 } && stay.allSatisfy { $0.address.isIPv6 }
    let late = wanted.filter {
      losesIPv4 && !$0.prefix.address.isIPv6 || lost.contains($0) && !own.contains($0)
    }
    if !late.isEmpty { last.append(.addRoutes(late)) }
    return (first, last)
  }

  private func settingChanges(to setup: Setup, _ journal: borrowing Journal) -> [Change] {
    var changes: [Change] = []
    // One that another tunnel has set already is this one's from now on as well, and stays when the other goes.
    let settingsOfOthers = settingsOfOthers()
    for (name, value) in setup.settings
    where (try? Sysctl.value(of: name)) != value && mustSet(name)
      || (settingsOfOthers[name] != nil && !journal.entries.contains(where: { $0.isSetting(name) }))
    {
      changes.append(.setting(name: name, value: value))
    }
    for case .setting(let name, let before) in journal.entries
    where !setup.settings.contains(where: { $0.name == name }) && !TunnelExecution.isUsed(interface) {
      changes.append(.restoreSetting(name: name, before: before))
    }
    return changes
  }

  private func ruleChanges(
    to setup: Setup, _ netlink: borrowing NetlinkSocket, _ journal: borrowing Journal
  ) throws(NetlinkError) -> (added: [PolicyRule], removed: [PolicyRule]) {
    PolicyRule.changes(from: try netlink.present(journal.rules), of: journal.rules, to: setup.rules)
  }
}

extension PolicyRule {
  /// What makes of a tunnel's rules those that are wanted. Those of a family's table are asked in an order: where others are
  /// wanted, all are made anew, and what another program took gets its former priority. Those of the block each stand for
  /// themselves.
  ///
  /// - Parameter own: those that the tunnel made, of which `present` are there.
  static func changes(
    from present: [PolicyRule], of own: [PolicyRule], to wanted: [PolicyRule]
  ) -> (added: [PolicyRule], removed: [PolicyRule]) {
    let marked = (present: present.filter(\.isOfMarkedTable), wanted: wanted.filter(\.isOfMarkedTable))
    var added = marked.wanted.filter { rule in !marked.present.contains(where: rule.isMeant) }
    var removed = marked.present.filter { !marked.wanted.contains($0.withoutPriority) }
    for isIPv6 in [false, true] {
      func group(_ rules: [PolicyRule]) -> [PolicyRule] { rules.filter { $0.isIPv6 == isIPv6 && !$0.isOfMarkedTable } }
      let (present, own, wanted) = (group(present), group(own), group(wanted))
      // In the journal, what was restored stands last.
      if own.sorted(by: { $0.priority ?? 0 < $1.priority ?? 0 }).map(\.withoutPriority) == wanted {
        added += own.filter { !present.contains($0) }
        continue
      }
      added += wanted
      removed += present
    }
    return (added, removed)
  }
}

extension Setup {
  /// Rules that lead what has a new mark past default routes whose rules know the former one only.
  fileprivate func bridges(for mark: UInt32) -> [PolicyRule] {
    Set(rules.map(\.isIPv6)).map { isIPv6 in
      PolicyRule(
        isIPv6: isIPv6, mark: mark, isInverted: false, table: NetlinkSocket.mainTable, suppressedPrefixLength: nil,
        priority: nil)
    }
  }
}

extension FirewallRules {
  /// The same for as long as datagrams have one mark or the other; `nil` where nobody is kept in.
  fileprivate func lettingPass(_ former: UInt32) -> FirewallRules? {
    guard killSwitch != nil else { return nil }
    var rules = self
    rules.formerMark = former
    return rules
  }
}

extension NetlinkSocket {
  /// Those of `rules` that there are.
  borrowing func present(_ rules: [PolicyRule]) throws(NetlinkError) -> [PolicyRule] {
    if rules.isEmpty { return [] }
    let all = try self.rules(isIPv6: false) + self.rules(isIPv6: true)
    return rules.filter { rule in all.contains(where: rule.isMeant) }
  }
}

extension Journal {
  fileprivate var derivedNetworks: [UInt64] {
    for case .derivedNetworks(let networks) in entries { return networks }
    return []
  }

  fileprivate var routerAdvertisements: RouterAdvertisements {
    for case .routerAdvertisements(let advertisements) in entries { return advertisements }
    return .none
  }

  /// Whether there is something that other programs should not delete.
  var isGuarded: Bool { filter != nil || !rules.isEmpty }

  /// What the firewall table says that was put there last.
  var filter: FirewallRules? {
    var last: FirewallRules?
    for case .filter(let rules) in entries { last = rules }
    return last
  }

  /// Each once, in the order in which they were added last.
  var rules: [PolicyRule] {
    var rules: [PolicyRule] = []
    for case .rule(let rule) in entries {
      rules.removeAll { $0 == rule }
      rules.append(rule)
    }
    return rules
  }

  /// Peers whose endpoint the file writes otherwise than when it was last carried out.
  borrowing func endpointsOtherwise(in configuration: ConfigurationFile) -> Set<PublicKey> {
    var known: [PublicKey: String] = [:]
    for entry in entries {
      switch entry {
      case .endpoint(let key, let text), .unresolved(let key, let text): known[key] = text
      default: break
      }
    }
    return Set(
      configuration.peers.filter { $0.endpoint != nil && $0.endpoint?.text != known[$0.publicKey] }.map(\.publicKey))
  }
}
