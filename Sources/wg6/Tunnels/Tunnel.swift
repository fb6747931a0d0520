import ArgumentParser
import Glibc
import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

/// A tunnel on its way up: daemon, device, addresses, link, routes. Everything is undone when a step fails.
struct Tunnel {
  let interface: String
  let configuration: ConfigurationFile
  let update: DeviceUpdate
  let disabledOffloads: Offloads
  let steps: Steps

  /// What wg-quick takes where the path to the peers is unknown: 1500 bytes less 80 for an IPv6 outer header.
  private static let defaultMTU = 1420

  /// Why a step failed; printed before everything is undone.
  private struct StepFailure: Error {
    let reason: String
  }

  /// Starts `daemon` and sets the interface up. With `staying` the daemon is this process's child and is returned.
  func start(_ daemon: String, staying: Bool, _ signals: inout Signals) throws -> Child? {
    var child: Child?
    do {
      child = try startDaemon(daemon, staying: staying, signals)
      try configure(signals)
      return child
    } catch let error as StepFailure {
      undo(child)
      throw failure("\(interface): \(error.reason)")
    } catch let error as NetlinkError {
      undo(child)
      throw failure("\(interface): \(error)")
    } catch {
      undo(child)
      throw failure("\(interface): \(error)")
    }
  }

  private func configure(_ signals: borrowing Signals) throws {
    steps.tell("configuring \(update.peers.count) peers")
    do {
      try Device(interface: interface).apply(update)
    } catch {
      throw StepFailure(reason: "the daemon refused the configuration: \(error.reason)")
    }
    let netlink = try NetlinkSocket()
    guard let link = try netlink.link(named: interface) else { throw StepFailure(reason: "the interface went away") }
    try addAddresses(link, netlink)
    let mtu = configuration.mtu ?? Tunnel.defaultMTU
    steps.tell("MTU \(mtu), up")
    try netlink.setMTU(mtu, of: link)
    try netlink.setUp(link)
    try addRoutes(link, netlink)
    try checkSocket()
    try stopIfInterrupted(signals)
  }

  private func startDaemon(_ daemon: String, staying: Bool, _ signals: borrowing Signals) throws -> Child? {
    steps.tell("starting \(daemon)")
    let child: Child
    do {
      // Other daemons know no such option.
      let options = disabledOffloads.isEmpty ? [] : ["--no-offload=\(disabledOffloads)"]
      child = try Child(daemon, options + (staying ? ["-f", interface] : [interface]))
    } catch {
      throw StepFailure(reason: "\(daemon): \(systemText(error.rawValue))")
    }
    if staying {
      try awaitReadiness(of: child, signals)
      return child
    }
    guard try child.wait() == .exited(0) else { throw StepFailure(reason: "\(daemon) did not start") }
    try stopIfInterrupted(signals)
    return nil
  }

  /// A daemon in the foreground says nothing when it is ready: its socket does.
  private func awaitReadiness(of child: Child, _ signals: borrowing Signals) throws {
    let netlink = try NetlinkSocket()
    let ready = try Tunnel.wait(seconds: 10) {
      if try child.poll() != nil { throw StepFailure(reason: "the daemon did not start") }
      if signals.pending != nil {
        child.send(signal: SIGTERM)
        _ = try child.wait()
        throw StepFailure(reason: "interrupted")
      }
      return try ControlSocket.isAlive(interface) && netlink.link(named: interface) != nil
    }
    guard ready else {
      child.send(signal: SIGTERM)
      throw StepFailure(reason: "the daemon is not ready after 10 seconds")
    }
  }

  private func addAddresses(_ link: Link, _ netlink: borrowing NetlinkSocket) throws {
    for address in configuration.addresses {
      steps.tell("address \(address)")
      do {
        try netlink.addAddress(address.address, prefixLength: address.prefixLength, to: link)
      } catch {
        throw StepFailure(reason: "Address = \(address): \(error.reason)")
      }
    }
  }

  /// Routes to every allowed IP, the longest first; none where a route of the interface leads there already.
  private func addRoutes(_ link: Link, _ netlink: borrowing NetlinkSocket) throws {
    let table: UInt32
    switch configuration.table {
    case .off: return
    case .automatic: table = NetlinkSocket.mainTable
    case .number(let number): table = number
    }
    let inTable = try netlink.routes(via: link, includingKernels: true).filter { $0.table == table }
    var present = CoveringRoutes(Swift.Set(inTable.map(\.prefix)))
    var missing: [Route] = []
    for prefix in wantedRoutes() where !present.cover(prefix) {
      steps.tell("route \(prefix)\(table == NetlinkSocket.mainTable ? "" : " in table \(table)")")
      missing.append(Route(prefix, table: table))
      present.insert(prefix)
    }
    do throws(RouteError) {
      try netlink.addRoutes(missing, via: link)
    } catch {
      throw StepFailure(reason: "the route to \(error.route.prefix): \(error.reason.reason)")
    }
  }

  private func wantedRoutes() -> [IPPrefix] {
    var prefixes: Swift.Set<IPPrefix> = []
    for peer in update.peers {
      for change in peer.allowedIPs {
        switch change {
        case .add(let prefix): prefixes.insert(prefix)
        case .remove(let prefix): prefixes.remove(prefix)
        }
      }
    }
    return prefixes.sorted { $0.length > $1.length }
  }

  /// The daemon binds its sockets when the link comes up: only now is it known whether the port was free.
  private func checkSocket() throws {
    let wanted = configuration.listenPort ?? 0
    var port: UInt16 = 0
    let bound = try Tunnel.wait(seconds: 2) {
      port = try Device(interface: interface).status().listenPort
      return port != 0 && (wanted == 0 || port == wanted)
    }
    guard bound else {
      throw StepFailure(
        reason: wanted == 0 ? "no UDP port could be bound" : "ListenPort = \(wanted) could not be bound; is it in use?")
    }
    steps.tell("listening on port \(port)")
  }

  private func stopIfInterrupted(_ signals: borrowing Signals) throws {
    if signals.pending != nil { throw StepFailure(reason: "interrupted") }
  }

  /// Back to how it was: no interface, no daemon, no socket.
  private func undo(_ child: Child?) {
    steps.tell("undoing")
    child?.send(signal: SIGTERM)
    if let netlink = try? NetlinkSocket(), let link = try? netlink.link(named: interface) { try? netlink.delete(link) }
    try? Tunnel.awaitAbsence(of: interface)
  }
}

/// Routes that an interface has, to ask whether one of them leads where a further one would.
private struct CoveringRoutes {
  private var prefixes: Swift.Set<IPPrefix>
  private var lengths: Swift.Set<Int>

  init(_ prefixes: Swift.Set<IPPrefix>) {
    self.prefixes = prefixes
    lengths = Swift.Set(prefixes.map(\.length))
  }

  func cover(_ prefix: IPPrefix) -> Bool {
    lengths.contains { $0 <= prefix.length && prefixes.contains(IPPrefix(prefix.address, length: $0)) }
  }

  mutating func insert(_ prefix: IPPrefix) {
    prefixes.insert(prefix)
    lengths.insert(prefix.length)
  }
}
