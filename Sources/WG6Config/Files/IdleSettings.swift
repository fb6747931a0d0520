import WG6Crypto
import WG6Protocol

/// Settings that a file has and that change nothing, or do not what they say.
extension ConfigurationFile {
  typealias Tell = (Warning, Int, String) -> Void

  func tellAboutIdleSettings(_ coverage: Coverage, _ tell: Tell) {
    if resolver.servers.isEmpty, let line = linesOfSettings.domain {
      tell(.noServer, line, "DNS has domains and no server to ask about them, so it changes nothing")
    }
    if killSwitch != .off, coverage.covered.isEmpty, let line = linesOfSettings.killSwitch {
      tell(.idleKillSwitch, line, "KillSwitch holds nothing back: no peer has any AllowedIPs")
    }
    if !routeSyncFilter.isEmpty, syncsRoutes != true, let line = linesOfSettings.routeSyncFilter {
      tell(.idleRouteSync, line, "RouteSyncFilter without RouteSync = yes changes nothing")
    }
    if let deadAfter, deadAfter > 0, let line = linesOfSettings.deadAfter {
      tellAboutDeadAfter(Int(deadAfter), line, tell)
    }
    tellAboutExclusions(coverage, tell)
    tellAboutPeers(tell)
  }

  /// Without keepalives of both ends in time, a peer counts as dead that is only quiet.
  private func tellAboutDeadAfter(_ seconds: Int, _ line: Int, _ tell: Tell) {
    let keepalives = peers.compactMap(\.persistentKeepalive).filter { $0 > 0 }
    if keepalives.isEmpty {
      tell(.idleDeadAfter, line, "DeadAfter without PersistentKeepalive changes nothing: no peer is watched")
    } else if let longest = keepalives.max(), longest >= seconds {
      tell(
        .idleDeadAfter, line,
        "DeadAfter = \(seconds) with PersistentKeepalive = \(longest): a quiet peer counts as dead; keepalives have to be shorter, on both ends"
      )
    }
  }

  /// Exclusions from what was never included, and prefixes that are excluded whole.
  private func tellAboutExclusions(_ coverage: Coverage, _ tell: Tell) {
    func tellIdle(_ exclusions: Exclusions, _ lines: ExclusionLines, from prefixes: PrefixSet, _ owner: String) {
      for (prefix, line) in zip(exclusions.prefixes, lines.prefixes) where !prefixes.intersects(prefix) {
        tell(.idleExclusion, line, "ExcludedIPs = \(prefix): nothing of it is in \(owner) AllowedIPs")
      }
    }
    tellIdle(excludedIPs, exclusionLines, from: PrefixSet(coverage.entries.lazy.map(\.prefix)), "any peer's")
    let places = placesOfPeers
    let entries = Dictionary(grouping: coverage.entries, by: \.peer)
    for peer in peers where !peer.excludedIPs.isEmpty {
      let own = PrefixSet((places[peer.publicKey].flatMap { entries[$0] } ?? []).lazy.map(\.prefix))
      tellIdle(peer.excludedIPs, peer.exclusionLines, from: own, "the peer's")
    }
    for (index, entry) in coverage.entries.enumerated() where coverage.pieces[index]?.isEmpty ?? false {
      tell(.excludedWhole, entry.line, "AllowedIPs = \(entry.prefix): ExcludedIPs leave nothing of it")
    }
  }

  private func tellAboutPeers(_ tell: Tell) {
    let withEndpoint = Set(peers.lazy.filter { $0.endpoint != nil }.map(\.publicKey))
    // A later section of a peer takes the place of what it had.
    var withPrefixes: Set<PublicKey> = []
    for peer in peers {
      if !peer.allowedIPs.isEmpty {
        withPrefixes.insert(peer.publicKey)
      } else if peer.replacesAllowedIPs {
        withPrefixes.remove(peer.publicKey)
      }
    }
    let places = placesOfPeers
    for (place, peer) in peers.enumerated() {
      if let seconds = peer.persistentKeepalive, seconds > 0, !withEndpoint.contains(peer.publicKey) {
        tell(
          .idleKeepalive, peer.keepaliveLine,
          "PersistentKeepalive without Endpoint: nothing is sent before the peer has called")
      }
      if places[peer.publicKey] == place, !withPrefixes.contains(peer.publicKey), peer.derivedIPs.isEmpty {
        tell(.noAllowedIPs, peer.line, "a peer without AllowedIPs: nothing goes to it, and nothing is taken from it")
      }
    }
  }

  /// Router advertisements come from link-local addresses, and bring routes.
  func tellAboutRouters(_ coverage: Coverage, _ endpoints: [EndpointName: Endpoint], _ tell: Tell) {
    guard acceptsRouterAdvertisements, let line = linesOfSettings.acceptRA else { return }
    let linkLocal = IPPrefix(.v6(high: 0xFE80 << 48, low: 0), length: 10)
    if !addresses.contains(where: { $0.address.isLinkLocal }) {
      tell(
        .idleRouterAdvertisements, line,
        "AcceptRA without a link-local address of the interface, from which addresses in advertised networks are made; "
          + "LinkLocal = auto gives it one")
    } else if !derivedNetworks.contains(where: \.isLinkLocal), !coverage.covered.intersects(linkLocal) {
      tell(
        .idleRouterAdvertisements, line,
        "AcceptRA takes nothing: router advertisements come from link-local addresses, and no peer has any in its AllowedIPs"
      )
    }
    if takesDefaultRoutesOfRouters(coverage),
      let peer = peers.first(where: { $0.endpoint.flatMap { endpoints[$0] }?.address.isIPv6 ?? false })
    {
      tell(
        .routerLoop, line,
        "AcceptRA takes default routes from the tunnel, and Endpoint = \(peer.endpoint!.text) (line \(peer.endpointLine)) may be "
          + "reached by one: then the tunnel's own datagrams are led into it. AllowedIPs = ::/0 has default routes of its own, "
          + "and none is taken")
    }
  }

  /// Whether default routes of router advertisements are taken. Where the allowed IPs make one, the main table is asked for
  /// the tunnel's own datagrams alone, and must not lead them into it.
  public func takesDefaultRoutesOfRouters(_ coverage: Coverage) -> Bool {
    acceptsRouterAdvertisements && !(table == .automatic && coverage.hasDefaultRoute(isIPv6: true))
  }

  /// What a tunnel can be without and be of no use.
  func tellAboutMissing(_ coverage: Coverage, _ tell: Tell) {
    switch privateKey {
    case .set: break
    case .keep, .remove: tell(.noPrivateKey, linesOfSettings.interface, "no PrivateKey: the interface carries nothing")
    }
    if addresses.isEmpty {
      tell(.noAddress, linesOfSettings.interface, "no Address: this machine has none in the tunnel")
    }
    guard table != .off, !peers.contains(where: { $0.endpoint != nil }),
      let entry = coverage.entries.first(where: { $0.prefix.length == 0 })
    else { return }
    tell(
      .noEndpoint, entry.line,
      "AllowedIPs = \(entry.prefix), and no peer has an Endpoint: until one calls, everything is sent to nobody")
  }
}
