/// Allowed IPs that follow the machine's routes: "prefix via gateway" through the interface gives the prefix to the peer that
/// has the gateway's address.
extension Device {
  /// The machine's routes through the interface that have a gateway, in order of preference. Replaces the former list.
  ///
  /// Data threads see all of the change or nothing of it.
  public func routesTold(_ routes: [GatewayRoute]) {
    gatewayRoutes = routes
    followRoutes()
    publishAllowedIPs()
    reclaim()
  }

  /// What came of the routes told last.
  public struct RouteSyncOutcome: Equatable, Sendable {
    /// Allowed IPs that routes have given.
    public var prefixes = 0
    /// Routes beyond `Limits.syncedPrefixes`.
    public var excess = 0
    /// A route to a prefix that lies in what another peer was given by its configuration.
    public var refused: GatewayRoute?

    public init() {}
  }

  /// The peer that `gateway` is, by the longest prefix that no route has given. A route must not decide which peer the
  /// gateway of another one is.
  private func owner(ofGateway gateway: IPAddress) -> Peer? {
    allowedIPs.configured(covering: IPPrefix(gateway, length: gateway.bitWidth)).flatMap { peers[Int($0.peer.slot)] }
  }

  /// Whether the gateway is an address of a peer that is silent.
  public func isSilent(gateway: IPAddress) -> Bool { owner(ofGateway: gateway)?.isSilent ?? false }

  /// Makes the allowed IPs that come from routes what the routes, the settings and the peers say now. The caller publishes.
  func followRoutes() {
    guard routeSync.isOn || !syncedPrefixes.isEmpty else { return }
    var outcome = RouteSyncOutcome()
    let pairs = routeSync.isOn ? wantedPrefixes(&outcome) : []
    let wanted = Dictionary(uniqueKeysWithValues: pairs)
    for prefix in syncedPrefixes where wanted[prefix] == nil {
      // By now it may have been given in another way.
      guard let owner = allowedIPs.owner(of: prefix), owner.origin == .route, let peer = peers[Int(owner.peer.slot)]
      else { continue }
      take(prefix, from: peer)
    }
    for (prefix, peer) in pairs {
      if let owner = allowedIPs.owner(of: prefix), owner.peer == peer.reference { continue }
      give(prefix, to: peer, from: .route)
    }
    syncedPrefixes = Set(wanted.keys)
    outcome.prefixes = syncedPrefixes.count
    routeSyncOutcome = outcome
  }

  private func wantedPrefixes(_ outcome: inout RouteSyncOutcome) -> [(IPPrefix, Peer)] {
    var wanted: [(IPPrefix, Peer)] = []
    var seen: Set<IPPrefix> = []
    for route in gatewayRoutes {
      guard !seen.contains(route.prefix), route.prefix.mayBeSynced, passesFilter(route.prefix),
        let peer = owner(ofGateway: route.gateway), !peer.isSilent
      else { continue }
      // A default route of the configuration is for what no other peer has; any longer prefix is its peer's alone.
      if let configured = allowedIPs.configured(covering: route.prefix) {
        if configured.peer != peer.reference, configured.length > 0 || route.prefix.length == 0 {
          outcome.refused = outcome.refused ?? route
          continue
        }
        if configured.length == route.prefix.length { continue }
      }
      guard wanted.count < Limits.syncedPrefixes else {
        outcome.excess += 1
        continue
      }
      seen.insert(route.prefix)
      wanted.append((route.prefix, peer))
    }
    return wanted
  }

  private func passesFilter(_ prefix: IPPrefix) -> Bool {
    routeSync.filter.isEmpty
      || routeSync.filter.contains { $0.length <= prefix.length && $0.contains(prefix.address) }
  }
}

extension IPPrefix {
  /// Whether it is none of those that belong to one link, one machine or a group: they are never routed to a peer.
  fileprivate var mayBeSynced: Bool {
    !(address.isIPv6 ? IPPrefix.unroutedV6 : IPPrefix.unroutedV4).contains {
      $0.length <= length && $0.contains(address)
    }
  }

  private static let unroutedV6 = [
    IPPrefix(.v6(high: 0xFE80 << 48, low: 0), length: 10), IPPrefix(.v6(high: 0xFF << 56, low: 0), length: 8),
    IPPrefix(.v6(high: 0, low: 0), length: 127),
  ]
  private static let unroutedV4 = [
    IPPrefix(.v4(169 << 24 | 254 << 16), length: 16), IPPrefix(.v4(224 << 24), length: 4),
    IPPrefix(.v4(127 << 24), length: 8), IPPrefix(.v4(255 << 24), length: 8),
  ]
}
