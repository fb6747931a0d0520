import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Asks for the names of endpoints that had no address when the tunnel came up, until each has one or the tunnel is
  /// gone: after 1 s, then longer each time, 20 s at most. One process does it; a further one leaves it to the first, which
  /// sees what a reload adds, unless that is about to end.
  ///
  /// - Parameter program: this program's own path, to watch over rules that an endpoint asks for.
  public func askForEndpoints(_ program: String) throws(TunnelError) {
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
        try? alone { () throws(TunnelError) in try settle(key, text, endpoint, program) }
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

  /// Gives the peer its endpoint, unless it has one by now: it may have come to us meanwhile.
  private func settle(
    _ key: PublicKey, _ text: String, _ endpoint: Endpoint, _ program: String
  ) throws(TunnelError) {
    guard var journal = try readJournal(), journal.contains(.unresolved(key, text)) else { return }
    try leadPast(endpoint.address, program, &journal)
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
    let entries = journal.entries.flatMap { entry -> [Journal.Entry] in
      entry == .unresolved(key, text) ? [.endpoint(key, text), .found(text, endpoint)] : [entry]
    }
    try replace(&journal, with: entries)
  }
}
