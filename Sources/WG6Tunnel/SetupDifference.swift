import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// One kind of change; those of a reload are made in the order of these cases.
  enum Change {
    case firewall(FirewallRules)
    case removeRoutes([Route])
    case device(DeviceDifference)
    case addAddress(InterfaceAddress)
    case mtu(Int, before: Int)
    case addRoutes([Route])
    case setting(name: String, value: String)
    case restoreSetting(name: String, before: String)
    case addRule(PolicyRule)
    case removeRule(PolicyRule)
    case removeAddress(InterfaceAddress)
    case resolver(ResolverRequest?)

    var lines: [String] {
      switch self {
      case .firewall(let rules): ["firewall table \(rules.tableName)\(rules.isEmpty ? " removed" : "")"]
      case .removeRoutes(let routes): routes.map { "- route \($0.prefix)\($0.tableText)" }
      case .device(let difference): difference.lines
      case .addAddress(let address): ["+ address \(address)"]
      case .mtu(let mtu, let before): ["MTU \(before) → \(mtu)"]
      case .addRoutes(let routes): routes.map { "+ route \($0.prefix)\($0.tableText)" }
      case .setting(let name, let value), .restoreSetting(let name, let value): ["\(name) = \(value)"]
      case .addRule(let rule): ["+ rule \(rule)"]
      case .removeRule(let rule): ["- rule \(rule)"]
      case .removeAddress(let address): ["- address \(address)"]
      case .resolver(let request): ["DNS \(request?.journalText ?? "removed")"]
      }
    }
  }

  /// What makes the tunnel that there is, by the journal and by the kernel, what `setup` says.
  func changes(
    to setup: Setup, _ device: DeviceDifference, _ link: Link, _ netlink: borrowing NetlinkSocket,
    _ journal: borrowing Journal
  ) throws(NetlinkError) -> [Change] {
    var changes: [Change] = []
    var device = device
    if let mark = device.takeMark() { changes.append(.device(mark)) }
    // A reload that was killed had written down what it would do next, and may not have done it.
    let wasCutShort = journal.contains(.reloading)
    var digest: UInt64?
    for case .firewall(let number, _) in journal.entries { digest = number }
    let isAsBefore =
      setup.firewall.isEmpty ? digest == nil : setup.firewall.digest == digest && isInForce(setup.firewall)
    if wasCutShort || !isAsBefore { changes.append(.firewall(setup.firewall)) }

    // What others gave the interface is theirs.
    var ownRoutes: Set<Route> = [], ownAddresses: Set<InterfaceAddress> = []
    for entry in journal.entries {
      if case .route(let route) = entry { ownRoutes.insert(route) }
      if case .address(let address) = entry { ownAddresses.insert(address) }
    }
    let needless = try netlink.routes(via: link).intersection(ownRoutes).subtracting(setup.routes)
    if !needless.isEmpty { changes.append(.removeRoutes(needless.sorted { $0.prefix.length > $1.prefix.length })) }
    if !device.isEmpty { changes.append(.device(device)) }

    let addresses = Set(
      try netlink.addresses(of: link).map { InterfaceAddress($0.address, prefixLength: $0.prefixLength) })
    let added = setup.addresses.filter { !addresses.contains($0) }
    changes += added.map { .addAddress($0) }
    if link.mtu != setup.mtu { changes.append(.mtu(setup.mtu, before: link.mtu)) }
    let missing = try netlink.needed(setup.routes, via: link, without: needless, addresses: added)
    if !missing.isEmpty { changes.append(.addRoutes(missing)) }

    // One that another tunnel has set already is this one's from now on as well, and stays when the other goes.
    let settingsOfOthers = settingsOfOthers()
    for (name, value) in setup.settings
    where (try? Sysctl.value(of: name)) != value
      || (settingsOfOthers[name] != nil && !journal.entries.contains(where: { $0.isSetting(name) }))
    {
      changes.append(.setting(name: name, value: value))
    }
    for case .setting(let name, let before) in journal.entries
    where !setup.settings.contains(where: { $0.name == name }) && !TunnelExecution.isUsed(interface) {
      changes.append(.restoreSetting(name: name, before: before))
    }
    var rules = try netlink.present(
      journal.entries.compactMap { entry in if case .rule(let rule) = entry { rule } else { nil } })
    for rule in setup.rules {
      if let index = rules.firstIndex(where: rule.isMeant) {
        rules.remove(at: index)
      } else {
        changes.append(.addRule(rule))
      }
    }
    changes += rules.map { .removeRule($0) }
    let removed = addresses.intersection(ownAddresses).subtracting(setup.addresses)
    changes += removed.sorted { "\($0)" < "\($1)" }.map { .removeAddress($0) }

    var request: String?
    for case .resolverRequest(let text) in journal.entries { request = text }
    if wasCutShort || setup.resolver?.journalText != request { changes.append(.resolver(setup.resolver)) }
    return changes
  }

  /// Whether the table is there; others may have cleared the whole firewall meanwhile.
  private func isInForce(_ rules: FirewallRules) -> Bool {
    (try? Firewall.hasTable(rules.tableName)) ?? true
  }
}

extension NetlinkSocket {
  /// Those of `rules` that there are.
  fileprivate borrowing func present(_ rules: [PolicyRule]) throws(NetlinkError) -> [PolicyRule] {
    if rules.isEmpty { return [] }
    let all = try self.rules(isIPv6: false) + self.rules(isIPv6: true)
    return rules.filter { rule in all.contains(where: rule.isMeant) }
  }
}

extension Journal {
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
