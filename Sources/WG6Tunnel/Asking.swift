import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Asks for the names of endpoints that had no address when the tunnel came up, until each has one or the tunnel is
  /// gone: after 1 s, then longer each time, 20 s at most. One process does it; a further one leaves it to the first, which
  /// sees what a reload adds, unless that is about to end.
  public func askForEndpoints() throws(TunnelError) {
    guard let lock = try? InterfaceLock.take(interface, for: .asking, within: 2) else { return }
    defer { lock.release() }
    guard let journal = try readJournal(), !journal.contains(.leaving) else { return }
    var pause: UInt32 = 1
    while true {
      for _ in 0..<pause {
        sleep(1)
        if !ControlSocket.isAlive(interface) { return }
      }
      guard let journal = try readJournal(), !journal.contains(.leaving) else { return }
      let open = journal.entries.compactMap { entry -> (PublicKey, String)? in
        if case .unresolved(let key, let text) = entry { (key, text) } else { nil }
      }
      if open.isEmpty { return }
      for (key, text) in open {
        guard let endpoint = Tunnel.address(of: text) else { continue }
        tell("\(text) is \(endpoint.displayText)")
        // Where another command is at it, the next round will do.
        try? alone { () throws(TunnelError) in try settle(key, text, endpoint) }
      }
      pause = min(pause * 2, 20)
    }
  }

  /// Ends the process that asks, which may be waiting for a name server. Whoever calls this has the tunnel's lock, and so the
  /// process is in the middle of no change.
  func endAsking() {
    guard let asker = InterfaceLock.holder(of: interface, for: .asking),
      asker.words.dropFirst().first == "resolve", asker.words.last == interface
    else { return }
    tell("ending the process that asks for names")
    asker.send(signal: SIGTERM)
    if asker.waitForEnd(milliseconds: 500) { (try? InterfaceLock(interface, for: .asking))?.release() }
  }

  private static func address(of text: String) -> Endpoint? {
    guard let name = unsafe try? EndpointName(Array(text.utf8).span.bytes) else { return nil }
    return try? name.resolve(retries: 0) { _, _ in }
  }

  /// Leaves the endpoint out of the routes that lead into the tunnel, as an `up` that had known it would have. With a default
  /// route the mark does that; with a table of the tunnel's own besides, it does so for that table alone.
  private func leadPast(_ endpoint: IPAddress, _ journal: inout Journal) throws(TunnelError) {
    let rules = journal.rules.filter { $0.isIPv6 == endpoint.isIPv6 }
    if !rules.isEmpty, !rules.contains(where: { $0.destination != nil }) { return }
    let inTheWay = journal.entries.compactMap { entry -> Route? in
      guard case .route(let route) = entry, route.table == NetlinkSocket.mainTable,
        route.prefix.contains(endpoint), route.prefix.length < endpoint.bitWidth
      else { return nil }
      return route
    }
    if inTheWay.isEmpty { return }
    let netlink = try openNetlink()
    guard let link = try link(netlink) else { return }
    var rest = PrefixSet(inTheWay.map(\.prefix))
    rest.subtract(IPPrefix(endpoint, length: endpoint.bitWidth))
    let pieces: [Route]
    do {
      pieces = try netlink.needed(rest.prefixes.map { Route($0) }, via: link, without: Set(inTheWay))
    } catch {
      throw TunnelError(error)
    }
    try add(pieces, via: link, netlink, &journal)
    try remove(inTheWay, via: link, netlink)
  }

  /// Gives the peer its endpoint, unless it has one by now: it may have come to us meanwhile.
  private func settle(_ key: PublicKey, _ text: String, _ endpoint: Endpoint) throws(TunnelError) {
    guard var journal = try readJournal(), journal.contains(.unresolved(key, text)) else { return }
    do throws(RemoteDevice.Failure) {
      let device = RemoteDevice(interface: interface)
      if let peer = try device.status().peers.first(where: { $0.publicKey == key }), peer.endpoint == nil {
        var change = PeerUpdate(key)
        change.updatesOnly = true
        change.endpoint = endpoint
        var update = DeviceUpdate()
        update.peers = [change]
        try device.apply(update)
      }
    } catch {
      throw TunnelError(error.description)
    }
    try leadPast(endpoint.address, &journal)
    let entries = journal.entries.flatMap { entry -> [Journal.Entry] in
      entry == .unresolved(key, text) ? [.endpoint(key, text), .found(text, endpoint)] : [entry]
    }
    try replace(&journal, with: entries)
  }
}
