import Glibc
import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

/// How a tunnel is to come up.
public struct UpOrder {
  public var file: TunnelFile
  /// The daemon's path.
  public var daemon: String
  public var disabledOffloads: Offloads = []
  /// The daemon stays this process's child.
  public var stays = false
  /// This program's own path, for what goes on behind it: names that have no address yet, and reloading by a signal.
  public var program: String
  /// How often a name is asked for again where it must have an address; `nil`: for ever.
  public var retries: Int?
  public var waiting: (ResolutionFailure, UInt32) -> Void

  public init(
    file: TunnelFile, daemon: String, program: String, retries: Int?,
    waiting: @escaping (ResolutionFailure, UInt32) -> Void
  ) {
    self.file = file
    self.daemon = daemon
    self.program = program
    self.retries = retries
    self.waiting = waiting
  }
}

extension Tunnel {
  /// Brings the tunnel up: firewall, daemon, device, addresses, link, resolver, routes, rules, in this order. When a step
  /// fails, everything is as it was before; a kill switch that a dead daemon left in force stays so. Returns the daemon where it stays a child.
  public func up(_ order: UpOrder) throws(TunnelError) -> Child? {
    try alone { () throws(TunnelError) in
      let remains = try recover(
        keepingFirewall: order.file.configuration.killSwitch != .off, order.program)
      try stopIfInterrupted()
      try requireAbsence()
      try refuse(order.file, beforePreUp: !order.file.hooks.preUp.isEmpty)
      tell("resolving \(counted(order.file.configuration.peers.count { $0.endpoint != nil }, "endpoint"))")
      let endpoints = try order.file.endpoints(
        known: remains.known, retries: order.retries, isInterrupted: isInterrupted, waiting: order.waiting)
      for failure in endpoints.missing.values { warn("\(failure); the tunnel comes up without, and goes on asking") }
      let turn = try takeTurn()
      let setup = try plan(order.file.configuration, endpoints.found)
      var journal = try begin(order.file.journalEntries(setup, endpoints) + remains.entries)
      try arrangeSharedRulesInTurn()
      _ = consume turn
      tellFindings(order.file, setup, endpoints)
      if setup.hasDefaultRoute, let mark = setup.mark { awaitPassage(of: mark, order.program) }
      var child: Child?
      do throws(TunnelError) {
        try raise(order, setup, &journal, &child)
      } catch {
        tell("undoing")
        child?.send(signal: SIGTERM)
        let left = undo(journal, keepingKillSwitch: remains.hasKillSwitch)
        for problem in left.problems { warn(problem) }
        if remains.hasKillSwitch { warn("the kill switch of before stays in force until the next 'up' or 'down'") }
        end(journal, left)
        if left.hasKillSwitch { watchOver(order.program) }
        throw error
      }
      if !setup.rules.isEmpty || !setup.firewall.isEmpty { watchOver(order.program, staysHere: order.stays) }
      if !endpoints.missing.isEmpty { askOn(order.program) }
      return child
    }
  }

  private func begin(_ entries: [Journal.Entry]) throws(TunnelError) -> Journal {
    do {
      return try Journal.begin(interface, entries)
    } catch {
      throw TunnelError("cannot write its journal in \(StateDirectory.path): \(error)")
    }
  }

  private func plan(
    _ configuration: ConfigurationFile, _ endpoints: [EndpointName: Endpoint]
  ) throws(TunnelError) -> Setup {
    let netlink = try openNetlink()
    let others = othersWithDefaultRoutes()
    // Another tunnel's default route is no way for one that has its own.
    let mark = configuration.hasDefaultRoute ? others.first?.mark ?? 0 : 0
    do {
      let machine = try Machine.this(netlink, link: nil, mark: mark, taken: marksOfOthers())
      var setup = try Setup(configuration, interface: interface, endpoints: endpoints, machine: machine)
      setup.firewall.others = others
      setup.firewall.sharers = sharers(of: setup)
      return setup
    } catch {
      throw TunnelError(error)
    }
  }

  private func raise(
    _ order: UpOrder, _ setup: Setup, _ journal: inout Journal, _ child: inout Child?
  ) throws(TunnelError) {
    let configuration = order.file.configuration
    try runHooks(order.file.hooks.preUp, prelude(order, nil))
    try stopIfInterrupted()
    if !order.file.hooks.preUp.isEmpty { try refuse(order.file, beforePreUp: false) }
    try close(setup.firewall, &journal)
    try write(.daemon, to: &journal)
    child = try startDaemon(order, &journal)
    tell("configuring \(counted(setup.device.peers.count, "peer"))")
    do {
      try RemoteDevice(interface: interface).apply(setup.device)
    } catch {
      guard error.errno == EADDRINUSE, let port = setup.device.listenPort else {
        throw TunnelError("the daemon refused the configuration: \(error.reason)")
      }
      throw TunnelError(portInUse: port)
    }
    derive(in: setup.derivedNetworks)
    Fault.point()

    let netlink = try openNetlink()
    guard let link = try link(netlink) else { throw TunnelError("the interface went away") }
    turnOffAutoconfiguration()
    // Before there is an address: then the kernel asks for a router.
    if setup.routerAdvertisements != .none { take(setup.routerAdvertisements) }
    for address in setup.addresses { try add(address, to: link, netlink, &journal) }
    tell("MTU \(setup.mtu), up")
    do {
      try netlink.setMTU(setup.mtu, of: link)
      try netlink.setUp(link)
    } catch {
      throw TunnelError(error)
    }
    Fault.point()
    if let request = setup.resolver { try apply(request, &journal) }
    let routes: [Route]
    for (name, value) in setup.settings { try set(name, to: value, &journal) }
    do {
      routes = try netlink.needed(setup.routes, via: link)
    } catch {
      throw TunnelError(error)
    }
    try add(routes, via: link, netlink, &journal)
    try add(setup.rules, netlink, &journal)
    reclaimPrograms(link)
    try checkSocket(wanted: configuration.listenPort ?? 0)
    try stopIfInterrupted()
    try runHooks(order.file.hooks.postUp, prelude(order, setup))
    try stopIfInterrupted()
    try write(.complete, to: &journal)
  }

  /// What stands before a command of the file; with a setup, it runs when that is made.
  private func prelude(_ order: UpOrder, _ setup: Setup?) -> String {
    let states = [("HAVE_SET_DNS", setup?.resolver != nil), ("HAVE_SET_FIREWALL", setup?.hasDefaultRoute == true)]
    return HookVariables(order.file, interface: interface).prelude(
      program: HookVariables.ownProgram, verb: "up", states: states.map { "\($0)=\($1 ? 1 : 0)" }.joined(separator: " ")
    )
  }

  // MARK: The daemon

  /// A daemon that does not start leaves nothing, and what there is under the name by then is another program's.
  private func startDaemon(_ order: UpOrder, _ journal: inout Journal) throws(TunnelError) -> Child? {
    tell("starting \(order.daemon)")
    // Other daemons know no such option.
    let options = order.disabledOffloads.isEmpty ? [] : ["--no-offload=\(order.disabledOffloads)"]
    unsafe setenv("WG6_RELOAD", order.program, 1)
    defer { unsafe unsetenv("WG6_RELOAD") }
    let child: Child
    let ending: Child.Ending
    do {
      child = try Child(order.daemon, options + (order.stays ? ["-f"] : []) + Child.argument(interface))
      Fault.point()
      ending = order.stays ? .exited(0) : try child.wait()
    } catch {
      try? journal.withdraw([.daemon])
      throw TunnelError("\(order.daemon): \(error)")
    }
    guard ending == .exited(0) else {
      try? journal.withdraw([.daemon])
      throw TunnelError("\(order.daemon) did not start")
    }
    if order.stays {
      try awaitReadiness(of: child)
      return child
    }
    try stopIfInterrupted()
    return nil
  }

  /// A daemon in the foreground says nothing when it is ready: its socket does.
  private func awaitReadiness(of child: Child) throws(TunnelError) {
    let netlink = try openNetlink()
    let isReady = try wait(seconds: 10) { () throws(TunnelError) in
      if isInterrupted() {
        child.send(signal: SIGTERM)
        throw .interrupted
      }
      if child.hasEnded { throw TunnelError("the daemon did not start") }
      let isPresent = try link(netlink) != nil
      return isPresent && ControlSocket.isAlive(interface)
    }
    guard isReady else {
      child.send(signal: SIGTERM)
      throw TunnelError("the daemon is not ready after 10 seconds")
    }
  }

  /// The daemon binds its sockets when the link comes up: only now is it known whether the port was free.
  private func checkSocket(wanted: UInt16) throws(TunnelError) {
    var port: UInt16 = 0
    let isBound = try wait(seconds: 2) { () throws(TunnelError) in
      do throws(RemoteDevice.Failure) {
        port = try RemoteDevice(interface: interface).status().listenPort
      } catch {
        throw TunnelError(error.description)
      }
      return port != 0 && (wanted == 0 || port == wanted)
    }
    guard isBound else {
      throw wanted == 0 ? TunnelError("no UDP port could be bound") : TunnelError(portInUse: wanted)
    }
    tell("listening on port \(port)")
  }

  /// A process of its own asks on for the names that have no address yet, as long as the tunnel is up.
  func askOn(_ program: String) {
    tell("asking on for names in the background")
    do {
      _ = try Child(program, ["resolve"] + Child.argument(interface), outlivesCaller: true, silentOutput: true)
    } catch {
      warn("\(program): \(error); names that had no address stay without")
    }
  }
}

extension ConfigurationFile {
  /// Whether it has a default route that takes all traffic but its own datagrams.
  fileprivate var hasDefaultRoute: Bool {
    let coverage = Coverage(self, connected: [])
    return table == .automatic && [false, true].contains { coverage.hasDefaultRoute(isIPv6: $0) }
  }
}

extension TunnelFile {
  /// What `down` needs to know of the file, which may be gone by then.
  func journalEntries(_ setup: Setup, _ endpoints: Endpoints) -> [Journal.Entry] {
    var entries: [Journal.Entry] = [.namespace(.this), .file(path)]
    if let version { entries.append(.fileVersion(version)) }
    if let networks = setup.coverage.localNetworks { entries.append(.lan(networks)) }
    if setup.isMarkChosen, let mark = setup.mark { entries.append(.mark(mark)) }
    if setup.hasDefaultRoute, let mark = setup.mark { entries.append(.exempt(mark)) }
    if !runsHooks { entries.append(.withoutHooks) }
    if configuration.savesConfiguration { entries.append(.saves) }
    if !setup.derivedNetworks.isEmpty { entries.append(.derivedNetworks(setup.derivedNetworks)) }
    if setup.routerAdvertisements != .none { entries.append(.routerAdvertisements(setup.routerAdvertisements)) }
    if !hooks.preDown.isEmpty || !hooks.postDown.isEmpty {
      entries.append(.hookVariables(HookVariables(self, interface: setup.firewall.interface).assignments))
    }
    entries += hooks.preDown.map { .preDown($0) } + hooks.postDown.map { .postDown($0) }
    for peer in configuration.peers {
      guard let name = peer.endpoint else { continue }
      guard let found = endpoints.found[name] else {
        entries.append(.unresolved(peer.publicKey, name.text))
        continue
      }
      entries.append(.endpoint(peer.publicKey, name.text))
      if !name.isAddress { entries.append(.found(name.text, found)) }
    }
    return entries
  }
}

extension TunnelError {
  /// Names the port, and the program that has it where that can be seen.
  fileprivate init(portInUse port: UInt16) {
    self.init("ListenPort = \(port) is in use by \(PortHolder.describe(port: port) ?? "another program or tunnel")")
  }
}

extension Child {
  fileprivate var hasEnded: Bool {
    do {
      return try poll() != nil
    } catch {
      return true
    }
  }
}
