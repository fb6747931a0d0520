import Logging
import WG6Config
import WG6Linux
import WG6Protocol

/// Reads the routes through the interface that have a gateway, for `RouteSync`, and takes those of silent peers away, for
/// `DeadAfter`.
///
/// Each change of such a route has all of them read again, within a budget: what was missed, because the kernel had more
/// to tell than fits its buffer or the daemon was busy, is made good by the next reading.
struct RouteSync {
  private var isDue = false
  private var budget = ReviewBudget()
  /// As they were read last.
  private var routes: [KernelGatewayRoute] = []
  private var withdrawn: [KernelGatewayRoute] = []
  private var told = Device.RouteSyncOutcome()
  private var isTroubleTold = false

  /// When `review` wants to be called; nil while there is nothing to do.
  var nextWake: Nanoseconds? { isDue ? budget.opensAt : nil }

  /// Routes through the interface may have changed, or what they mean.
  mutating func noteChange(_ device: Device) {
    if device.routeSync.isOn || !routes.isEmpty || !withdrawn.isEmpty { isDue = true }
  }

  /// Does what is due, if the budget allows it.
  ///
  /// - Parameter interface: the index of the tunnel's own; 0 where it is not here.
  mutating func review(_ device: Device, interface: UInt32, _ log: Logger) {
    let begun = Clock.monotonic
    guard nextWake.map({ begun >= $0 }) == true else { return }
    defer { budget.spend(from: begun, to: Clock.monotonic) }
    isDue = false
    do throws(NetlinkError) {
      routes = device.routeSync.isOn && interface != 0 ? try NetlinkSocket.gatewayRoutes(via: interface) : []
      device.routesTold(routes.map(\.route))
      try followSilence(device, log)
    } catch {
      if !isTroubleTold { log.warning("routes are not synced: \(error)") }
      isTroubleTold = true
    }
    tell(device.routeSyncOutcome, log)
  }

  /// Withdraws the routes through silent peers from the kernel, also those that a routing program has made anew, and puts
  /// back those through peers that are heard again.
  private mutating func followSilence(_ device: Device, _ log: Logger) throws(NetlinkError) {
    let heard = withdrawn.filter { !device.isSilent(gateway: $0.route.gateway) }
    if !heard.isEmpty {
      withdrawn.removeAll { !device.isSilent(gateway: $0.route.gateway) }
      let back = try NetlinkSocket.putBack(heard)
      log.notice("\(counted(back.count, "route")) of \(heard.count) put back: the peer is heard again")
      // The kernel tells of them, and then they are read.
    }
    let silent = routes.filter { device.isSilent(gateway: $0.route.gateway) }
    guard !silent.isEmpty else { return }
    let gone = try NetlinkSocket.withdraw(silent)
    guard !gone.isEmpty else { return }
    let again = Set(gone.map(\.identity))
    withdrawn.removeAll { again.contains($0.identity) }
    withdrawn += gone.prefix(max(0, Limits.syncedPrefixes - withdrawn.count))
    log.notice("\(counted(gone.count, "route")) withdrawn: the peer is silent")
  }

  private mutating func tell(_ outcome: Device.RouteSyncOutcome, _ log: Logger) {
    defer { told = outcome }
    if outcome.prefixes != told.prefixes { log.debug("allowed IPs from routes: \(outcome.prefixes)") }
    if outcome.excess > 0, told.excess == 0 {
      log.warning(
        "more than \(Limits.syncedPrefixes) routes lead to peers: the others become no allowed IPs. RouteSyncFilter chooses among them"
      )
    }
    if let refused = outcome.refused, refused != told.refused {
      log.notice(
        "the route to \(refused.prefix) via \(refused.gateway) becomes no allowed IP: the configuration gives that prefix to another peer"
      )
    }
  }
}

extension Engine {
  /// Tells the kernel whether there is anybody at the other end of an interface with one peer, and has routes through
  /// silent peers withdrawn from one with several.
  func followSilence() {
    let (peers, silent) = device.silence
    let wantsCarrier = peers != 1 || silent == 0
    if wantsCarrier != hasCarrier {
      hasCarrier = wantsCarrier
      do {
        try wires.tun.setCarrier(wantsCarrier)
        announceCarrier()
        log.notice("\(wantsCarrier ? "no peer is silent: carrier on" : "the peer is silent: carrier off")")
      } catch {
        guard !isCarrierTroubleTold else { return routeSync.noteChange(device) }
        isCarrierTroubleTold = true
        log.warning("cannot switch the interface's carrier: \(error). DeadAfter takes Linux 5.0 for that")
      }
    }
    routeSync.noteChange(device)
  }

  /// Has routing daemons learn of the carrier now: without this, up to a second later.
  private func announceCarrier() {
    guard wires.tun.index != 0, let name = try? wires.tun.name(), let netlink = try? NetlinkSocket(),
      let link = try? netlink.link(named: name)
    else { return }
    try? netlink.announce(link)
  }
}
