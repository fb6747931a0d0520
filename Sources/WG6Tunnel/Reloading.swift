import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Makes the tunnel what `file` says, by the difference from what there is: who is not concerned loses no packet and no
  /// session. Returns what was changed, or with `isTrial` what would be, a line each.
  ///
  /// Everything that the file could get wrong is found out before the first change.
  public func reload(
    _ file: TunnelFile, isTrial: Bool, name: (PublicKey) -> String
  ) throws(TunnelError) -> [String] {
    try alone { () throws(TunnelError) in
      guard var journal = try readJournal(), journal.contains(.complete), !journal.contains(.leaving) else {
        throw TunnelError("it is not up, or was not brought up by “wg6 up”")
      }
      var mark: UInt32?
      for case .mark(let number) in journal.entries { mark = number }

      let status: DeviceStatus
      do throws(RemoteDevice.Failure) {
        status = try RemoteDevice(interface: interface).status()
      } catch {
        throw TunnelError(error.description)
      }
      let netlink = try openNetlink()
      guard let link = try link(netlink) else { throw TunnelError("the interface is not here") }
      var known: [String: Endpoint] = [:]
      for case .found(let text, let endpoint) in journal.entries { known[text] = endpoint }
      let endpoints = try file.endpoints(known: known, retries: 0) { _, _ in }
      for failure in endpoints.missing.values { warn("\(failure); its peer stays where it is") }

      let changes: [Change]
      let setup: Setup
      do throws(NetlinkError) {
        let machine = try Machine.this(netlink, link: link, mark: status.firewallMark)
        setup = try Setup(
          file.configuration, interface: interface, endpoints: endpoints.found, machine: machine, previousMark: mark)
        let device = DeviceDifference(
          from: status, to: setup.device, movedEndpoints: journal.endpointsOtherwise(in: file.configuration), name: name
        )
        changes = try self.changes(to: setup, device, link, netlink, journal)
      } catch {
        throw TunnelError(error)
      }
      for finding in file.findings(setup.coverage, endpoints.found) { warn(finding) }
      let lines = changes.flatMap(\.lines)
      if isTrial { return lines }
      if !changes.isEmpty { try write(.reloading, &journal) }
      for change in changes { try carryOut(change, link, netlink, &journal) }
      do {
        try journal.replace(with: journal.entriesAfterReload(file, setup, endpoints))
      } catch {
        throw TunnelError("\(journal.path): \(error)")
      }
      reclaimPrograms(link)
      return lines
    }
  }

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

  private func changes(
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
    if wasCutShort || (setup.firewall.isEmpty ? digest != nil : setup.firewall.digest != digest) {
      changes.append(.firewall(setup.firewall))
    }

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
    let removed = addresses.intersection(ownAddresses).subtracting(setup.addresses).sorted { "\($0)" < "\($1)" }
    // IPv6 has an address once, whatever its length: there the old one makes room first.
    let inTheWay = removed.filter { old in old.address.isIPv6 && added.contains { $0.address == old.address } }
    changes += inTheWay.map { .removeAddress($0) } + added.map { .addAddress($0) }
    if link.mtu != setup.mtu { changes.append(.mtu(setup.mtu, before: link.mtu)) }
    let missing = try netlink.needed(setup.routes, via: link, without: needless, addresses: added)
    if !missing.isEmpty { changes.append(.addRoutes(missing)) }

    for (name, value) in setup.settings where (try? Sysctl.value(of: name)) != value {
      changes.append(.setting(name: name, value: value))
    }
    for case .setting(let name, let before) in journal.entries
    where !setup.settings.contains(where: { $0.name == name }) && !TunnelExecution.isUsed(interface) {
      changes.append(.restoreSetting(name: name, before: before))
    }
    var rules = try netlink.present(
      journal.entries.compactMap { entry in if case .rule(let rule) = entry { rule } else { nil } })
    for rule in setup.rules {
      if let index = rules.firstIndex(of: rule) {
        rules.remove(at: index)
      } else {
        changes.append(.addRule(rule))
      }
    }
    changes += rules.map { .removeRule($0) }
    changes += removed.filter { !inTheWay.contains($0) }.map { .removeAddress($0) }
    // With an address the kernel's route to its network goes, which may have stood in for one of the file's; with the last
    // IPv4 address all routes of IPv4 go.
    var gone = Set(removed.map { Route(IPPrefix($0.address, length: $0.prefixLength)) })
    let isLast =
      removed.contains { !$0.address.isIPv6 }
      && addresses.union(setup.addresses).subtracting(removed).allSatisfy(\.address.isIPv6)
    if isLast { gone.formUnion(setup.routes.filter { !$0.prefix.address.isIPv6 }) }
    let uncovered = try netlink.needed(
      setup.routes, via: link, without: needless.union(gone), addresses: setup.addresses
    ).filter { gone.contains($0) && isLast || !missing.contains($0) }
    if !uncovered.isEmpty { changes.append(.addRoutes(uncovered)) }

    var request: String?
    for case .resolverRequest(let text) in journal.entries { request = text }
    if wasCutShort || setup.resolver?.journalText != request { changes.append(.resolver(setup.resolver)) }
    return changes
  }

  private func carryOut(
    _ change: Change, _ link: Link, _ netlink: borrowing NetlinkSocket, _ journal: inout Journal
  ) throws(TunnelError) {
    do {
      switch change {
      case .firewall(let rules) where rules.isEmpty: try run(rules.removal)
      case .firewall(let rules): try close(rules, &journal)
      case .removeRoutes(let routes):
        do throws(RouteError) {
          try netlink.removeRoutes(routes, via: link)
        } catch {
          throw error.reason
        }
      case .device(let difference):
        do throws(RemoteDevice.Failure) {
          try RemoteDevice(interface: interface).apply(difference.update)
        } catch {
          throw TunnelError("the daemon refused the configuration: \(error.reason)")
        }
      case .addAddress(let address): try add(address, to: link, netlink, &journal)
      case .mtu(let mtu, _): try netlink.setMTU(mtu, of: link)
      case .addRoutes(let routes): try add(routes, via: link, netlink, &journal)
      case .setting(let name, let value): try set(name, to: value, &journal)
      case .restoreSetting(let name, let before): try restore(name, before)
      case .addRule(let rule): try add(rule, netlink, &journal)
      case .removeRule(let rule): try netlink.removeRule(rule)
      case .removeAddress(let address): try remove(address, from: link, netlink)
      case .resolver(nil): try revertResolver(journal)
      case .resolver(let request?): try apply(request, &journal)
      }
    } catch let error as NetlinkError {
      guard error.isMissing else { throw TunnelError(error) }
    } catch let error as TunnelError {
      throw error
    } catch {
      throw TunnelError("\(error)")
    }
    Fault.point()
  }

  /// Takes an address away and no other: with the first IPv4 address of a network the kernel removes the rest of them,
  /// and routes with the last of all, unless it is told to keep them.
  private func remove(
    _ address: InterfaceAddress, from link: Link, _ netlink: borrowing NetlinkSocket
  ) throws(NetlinkError) {
    let name = "net/ipv4/conf/\(interface)/promote_secondaries"
    let before = try? Sysctl.value(of: name)
    try? Sysctl.set(name, to: "1")
    defer { if let before { try? Sysctl.set(name, to: before) } }
    try netlink.removeAddress(address.address, prefixLength: address.prefixLength, from: link)
  }

  private func run(_ script: String) throws(TunnelError) {
    do {
      try Firewall.run(script)
    } catch {
      throw TunnelError("the firewall: \(error)")
    }
  }

  private func revertResolver(_ journal: borrowing Journal) throws(TunnelError) {
    for case .resolver(let service) in journal.entries {
      do {
        try service.revert(interface)
      } catch {
        throw TunnelError("DNS: \(error)")
      }
    }
  }
}

extension NetlinkSocket {
  /// Those of `rules` that there are; of rules that are alike, as many as there are.
  fileprivate borrowing func present(_ rules: [PolicyRule]) throws(NetlinkError) -> [PolicyRule] {
    if rules.isEmpty { return [] }
    var all = try self.rules(isIPv6: false) + self.rules(isIPv6: true)
    for index in all.indices { all[index].priority = nil }
    return rules.filter { rule in
      guard let index = all.firstIndex(of: rule) else { return false }
      all.remove(at: index)
      return true
    }
  }
}

extension Journal {
  /// Peers whose endpoint the file writes otherwise than when it was last carried out.
  fileprivate borrowing func endpointsOtherwise(in configuration: ConfigurationFile) -> Set<PublicKey> {
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

  /// What is to be undone after a reload that went well.
  fileprivate borrowing func entriesAfterReload(
    _ file: TunnelFile, _ setup: Setup, _ endpoints: Endpoints
  ) -> [Entry] {
    var result = file.journalEntries(setup, endpoints)
    if !setup.firewall.isEmpty {
      result.append(.firewall(digest: setup.firewall.digest, isKillSwitch: setup.firewall.killSwitch != nil))
    }
    result.append(.daemon)
    result += setup.addresses.map { .address($0) } + setup.routes.map { .route($0) }
    var wanted = setup.rules
    for entry in entries {
      switch entry {
      case .resolver where setup.resolver != nil: if !result.contains(entry) { result.append(entry) }
      case .setting(let name, _)
      where setup.settings.contains(where: { $0.name == name }) || TunnelExecution.isUsed(setup.firewall.interface):
        if !result.contains(entry) { result.append(entry) }
      case .rule(let rule):
        guard let index = wanted.firstIndex(of: rule) else { continue }
        wanted.remove(at: index)
        result.append(entry)
      default: break
      }
    }
    if let request = setup.resolver { result.append(.resolverRequest(request.journalText)) }
    return result + [.complete]
  }
}
