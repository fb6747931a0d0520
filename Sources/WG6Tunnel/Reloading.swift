import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Makes the tunnel what its file says, by the difference from what there is: who is not concerned loses no packet and no
  /// session. Returns what was changed, or with `isTrial` what would be, a line each.
  ///
  /// Everything that the file could get wrong is found out before the first change.
  ///
  /// - Parameters:
  ///   - program: this program's own path, to ask on for names that have no address yet.
  ///   - reading: reads the file, first for its names, and again when no other command can change the tunnel any more: the
  ///     last to change it has read it last.
  ///   - followsNetworks: the local networks have changed, and nothing else is to: names are not looked up, and a file that
  ///     has other contents than were carried out last is left for another `reload`.
  public func reload(
    isTrial: Bool, followsNetworks: Bool = false, program: String, name: (PublicKey) -> String,
    reading: (_ isLast: Bool) throws -> TunnelFile
  ) throws -> [String] {
    // A name server may take long to answer, and other commands should not wait for that.
    let first = try reading(false)
    let known = try foundEndpoints()
    let earlier = followsNetworks ? Endpoints(first.configuration, known) : Endpoints()
    let endpoints = try first.endpoints(known: known, earlier: earlier, retries: 0) { _, _ in }
    try stopIfInterrupted()
    let lock = try lock()
    defer { lock.release() }
    let file = try reading(true)
    if followsNetworks { try requireSame(file) }
    return try follow(file, endpoints, isTrial: isTrial, program: program, name: name)
  }

  private func requireSame(_ file: TunnelFile) throws(TunnelError) {
    guard let journal = try readJournal() else { return }
    var version: String?
    for case .fileVersion(let text) in journal.entries { version = text }
    guard version == file.version else {
      throw TunnelError(
        "the local networks are others now, and \(file.path) has been changed since it was carried out: 'wg6 reload "
          + "\(interface)' follows both")
    }
  }

  /// What the names of endpoints were found to be last.
  private func foundEndpoints() throws(TunnelError) -> [String: Endpoint] {
    var endpoints: [String: Endpoint] = [:]
    guard let journal = try readJournal() else { return endpoints }
    for case .found(let text, let endpoint) in journal.entries { endpoints[text] = endpoint }
    return endpoints
  }

  private func follow(
    _ file: TunnelFile, _ earlier: Endpoints, isTrial: Bool, program: String, name: (PublicKey) -> String
  ) throws(TunnelError) -> [String] {
    guard var journal = try readJournal(), journal.contains(.complete), !journal.contains(.leaving) else {
      throw TunnelError("it is not up, or was not brought up by 'wg6 up'")
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
    let known = try foundEndpoints()
    let endpoints = try file.endpoints(known: known, earlier: earlier, retries: 0) { _, _ in }
    for failure in endpoints.missing.values { warn("\(failure); its peer stays where it is for now") }
    for failure in endpoints.kept.values { warn("\(failure); its peer keeps its endpoint") }

    let changes: [Change]
    var setup: Setup
    do throws(NetlinkError) {
      let machine = try Machine.this(
        netlink, link: link, mark: status.firewallMark, taken: marksOfOthers())
      let moved = journal.endpointsOtherwise(in: file.configuration)
        .union(endpoints.moved(file.configuration, since: known))
      setup = try Setup(
        file.configuration, interface: interface,
        endpoints: endpoints.inUse(file.configuration, status, moved: moved), machine: machine,
        resolved: endpoints.found.values.map(\.address), previousMark: mark)
      setup.firewall.others = othersWithDefaultRoutes()
      setup.firewall.sharers = sharers(of: setup)
      let device = DeviceDifference(from: status, to: setup.device, movedEndpoints: moved, name: name)
      changes = try self.changes(to: setup, device, link, netlink, journal)
    } catch {
      throw TunnelError(error)
    }
    if let hooksProblem = file.hooksProblem, !file.hooks.isEmpty { throw TunnelError(hooksProblem) }
    for case .resolver(let request?) in changes { _ = try service(for: request) }
    tellFindings(file, setup, endpoints)
    let lines = changes.flatMap(\.lines)
    if isTrial { return lines }
    if !changes.isEmpty { try write(.reloading, to: &journal) }
    if setup.hasDefaultRoute, let mark = setup.mark, !journal.contains(.exempt(mark)) {
      try write(.exempt(mark), to: &journal)
      try arrangeSharedRules()
      awaitPassage(of: mark, program)
    }
    for change in changes { try carryOut(change, link, netlink, &journal) }
    let rules: [PolicyRule]
    do throws(NetlinkError) {
      rules = try netlink.present(journal.rules)
    } catch {
      throw TunnelError(error)
    }
    let marks = SharedRules.marks([journal.entries])
    try replace(&journal, with: journal.entriesAfterReload(file, setup, endpoints, rules: rules))
    try arrangeSharedRules(former: marks)
    if !setup.rules.isEmpty || !setup.firewall.isEmpty { watchOver(program) } else { endWatching() }
    reclaimPrograms(link)
    if !endpoints.missing.isEmpty { askOn(program) }
    return lines
  }

  private func carryOut(
    _ change: Change, _ link: Link, _ netlink: borrowing NetlinkSocket, _ journal: inout Journal
  ) throws(TunnelError) {
    do {
      switch change {
      case .firewall(let rules) where rules.isEmpty: try Firewall.remove(rules)
      case .firewall(let rules): try close(rules, &journal)
      case .removeRoutes(let routes): try remove(routes, via: link, netlink)
      case .device(let difference):
        do throws(RemoteDevice.Failure) {
          try RemoteDevice(interface: interface).apply(difference.update)
        } catch {
          throw TunnelError("the daemon refused the configuration: \(error.reason)")
        }
      case .addAddress(let address): try add(address, to: link, netlink, &journal)
      case .mtu(let mtu, let before):
        try netlink.setMTU(mtu, of: link)
        // With room for IPv6 again it has the settings of a new interface.
        if before < Limits.smallestMTU, mtu >= Limits.smallestMTU { turnOffAutoconfiguration() }
      case .setUp: try netlink.setUp(link)
      case .addRoutes(let routes): try add(routes, via: link, netlink, &journal)
      case .setting(let name, let value): try set(name, to: value, &journal)
      case .restoreSetting(let name, let before): try restore(name, before)
      case .addRules(let rules): try add(rules, netlink, &journal)
      case .removeRule(let rule): try netlink.removeRule(rule)
      case .removeAddress(let address): try remove(address, from: link, netlink)
      case .derivedNetworks(let networks):
        do throws(RemoteDevice.Failure) {
          try deriveStrictly(in: networks)
        } catch {
          warn("the daemon gives peers that are added later no addresses from their keys: \(error.reason)")
        }
      case .routerAdvertisements(let advertisements):
        take(advertisements)
        if advertisements != .all { try netlink.forgetRouters(of: link) }
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

  private func revertResolver(_ journal: borrowing Journal) throws(TunnelError) {
    for case .resolver(let service) in journal.entries {
      do {
        try service.revert(interface)
      } catch {
        throw TunnelError("\(error)")
      }
    }
  }
}

extension Endpoints {
  /// What the names of a file were found to be before.
  fileprivate init(_ configuration: ConfigurationFile, _ known: [String: Endpoint]) {
    for peer in configuration.peers {
      if let name = peer.endpoint, let endpoint = known[name.text] { found[name] = endpoint }
    }
  }

  /// Peers whose endpoint's name stands for another address than it did.
  func moved(_ configuration: ConfigurationFile, since known: [String: Endpoint]) -> Set<PublicKey> {
    let peers = configuration.peers.filter { peer in
      guard let name = peer.endpoint, let before = known[name.text], let now = found[name] else { return false }
      return now != before
    }
    return Set(peers.map(\.publicKey))
  }

  /// Peers that the file has as before, and whose names stand for the same addresses, are where they were heard from last.
  fileprivate func inUse(
    _ configuration: ConfigurationFile, _ status: DeviceStatus, moved: Set<PublicKey>
  ) -> [EndpointName: Endpoint] {
    let current = Dictionary(status.peers.map { ($0.publicKey, $0.endpoint) }) { first, _ in first }
    var result = found
    for peer in configuration.peers where !moved.contains(peer.publicKey) {
      if let name = peer.endpoint, let endpoint = current[peer.publicKey] ?? nil { result[name] = endpoint }
    }
    return result
  }
}

extension Journal {
  /// What is to be undone after a reload that went well.
  fileprivate borrowing func entriesAfterReload(
    _ file: TunnelFile, _ setup: Setup, _ endpoints: Endpoints, rules: [PolicyRule]
  ) -> [Entry] {
    var result = file.journalEntries(setup, endpoints)
    if !setup.firewall.isEmpty {
      result.append(.firewall(digest: setup.firewall.digest, isKillSwitch: setup.firewall.killSwitch != nil))
    }
    // What is in force was put there with the other tunnels of that moment.
    if !setup.firewall.isEmpty, let filter { result.append(.filter(filter)) }
    result.append(.daemon)
    result += setup.addresses.map { .address($0) } + setup.routes.map { .route($0) }
    result += rules.map { .rule($0) }
    for entry in entries {
      switch entry {
      case .resolver where setup.resolver != nil: if !result.contains(entry) { result.append(entry) }
      case .setting(let name, _)
      where setup.settings.contains(where: { $0.name == name }) || TunnelExecution.isUsed(setup.firewall.interface):
        if !result.contains(entry) { result.append(entry) }
      default: break
      }
    }
    if let request = setup.resolver { result.append(.resolverRequest(request.journalText)) }
    return result + [.complete]
  }
}
