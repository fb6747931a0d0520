import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Bytes of a handshake initiation (paper §5.4.2); nothing else is sent to a peer before it has answered.
  private static let initiationLength: UInt64 = 148

  /// Starts a handshake with each peer that has an endpoint, tells what comes of it, and waits for answers, `seconds` at most.
  /// The tunnel is up: whatever is found changes nothing.
  ///
  /// - Parameter name: what to call a peer.
  /// - Returns: whether each of these peers has answered; `nil` where none has an endpoint.
  public func reportHandshakes(within seconds: Int, name: (PublicKey) -> String) -> Bool? {
    guard let status = try? RemoteDevice(interface: interface).status() else { return nil }
    for peer in status.peers where peer.endpoint == nil {
      tell("peer \(name(peer.publicKey)) has no endpoint yet: it has to call first, or its name to get an address")
    }
    let reachable = status.peers.filter { $0.endpoint != nil }
    guard !reachable.isEmpty else { return nil }
    guard status.privateKey != nil else {
      tell("no handshake: the interface has no PrivateKey")
      return nil
    }
    // More than that are nobody's first look at a tunnel.
    let watched = reachable.prefix(8)
    if reachable.count > watched.count {
      tell("handshakes with the first \(watched.count) of \(reachable.count) peers")
    }
    let start = Clock.monotonic
    var update = DeviceUpdate()
    update.peers = watched.map { peer in
      var change = PeerUpdate(peer.publicKey)
      change.updatesOnly = true
      change.startsHandshake = true
      return change
    }
    do throws(RemoteDevice.Failure) {
      try RemoteDevice(interface: interface).apply(update)
    } catch {
      tell("no handshake before there is traffic: the daemon starts none without (\(error.reason))")
      return nil
    }
    for peer in watched {
      tell("handshake message sent to \(peer.endpoint!.displayText), peer \(name(peer.publicKey))")
    }
    return awaitResponses(of: Array(watched), start, seconds, name)
  }

  private func awaitResponses(
    of watched: [PeerStatus], _ start: Nanoseconds, _ seconds: Int, _ name: (PublicKey) -> String
  ) -> Bool {
    let before = Dictionary(watched.map { ($0.publicKey, $0) }) { first, _ in first }
    var waiting = before
    var reported: Set<PublicKey> = []
    _ = wait(seconds: seconds) { () -> Bool in
      let device = RemoteDevice(interface: interface)
      guard !isInterrupted(), Clock.monotonic - start < Nanoseconds(seconds) * 1_000_000_000,
        let now = try? device.status()
      else { return true }
      for peer in now.peers {
        guard waiting[peer.publicKey] != nil, let handshake = peer.lastHandshake,
          handshake != before[peer.publicKey]?.lastHandshake || !peer.isSilent
        else { continue }
        waiting[peer.publicKey] = nil
        tell("response of peer \(name(peer.publicKey)) after \(milliseconds(since: start)) ms")
      }
      if waiting.isEmpty { return true }
      guard let drops = try? device.drops() else { return true }
      // An error is the answer: a later try will hardly have another.
      for peer in drops.peers where waiting[peer.publicKey] != nil && peer.drops.hasWayProblem {
        reported.insert(peer.publicKey)
      }
      return waiting.keys.allSatisfy { reported.contains($0) }
    }
    guard !waiting.isEmpty, !isInterrupted() else { return waiting.isEmpty }
    explain(watched.filter { waiting[$0.publicKey] != nil }, start, name)
    return false
  }

  /// What was sent, what came back, and what to check.
  private func explain(_ silent: [PeerStatus], _ start: Nanoseconds, _ name: (PublicKey) -> String) {
    let device = RemoteDevice(interface: interface)
    guard let status = try? device.status(), let drops = try? device.drops() else { return }
    for peer in status.peers {
      guard silent.contains(where: { $0.publicKey == peer.publicKey }), let endpoint = peer.endpoint else { continue }
      let place = "\(endpoint.displayText), peer \(name(peer.publicKey))"
      let count = max(peer.transmittedBytes / Self.initiationLength, 1)
      let sent = "\(counted(Int(count), "handshake message")) sent to \(place)"
      let reasons = drops.peers.first { $0.publicKey == peer.publicKey }?.drops ?? DropCounts()
      if reasons[.noOuterSource] > 0 || reasons[.networkRefusedMessage] > 0 {
        tell(
          "no handshake message could leave for \(place): this machine has no way there. "
            + "Check 'ip route get \(endpoint.address)', and a firewall's rules for what is sent")
      } else if reasons[.endpointUnreachable] > 0 {
        tell(
          "\(sent); an ICMP error came back: nothing there listens on UDP port \(endpoint.port), or a firewall or router "
            + "refuses it. Check that the tunnel is up there, its ListenPort, and the address")
      } else {
        tell(
          "\(sent); nothing came back within \(milliseconds(since: start)) ms. Check there: that the tunnel is up, with "
            + "ListenPort = \(endpoint.port); that a firewall lets UDP to it in; that it has a peer with PublicKey = "
            + "\(status.publicKey.map { "\($0)" } ?? "(this machine's)"); and here, that its own key is \(peer.publicKey)"
        )
      }
    }
  }

  private func milliseconds(since start: Nanoseconds) -> UInt64 { (Clock.monotonic - start) / 1_000_000 }
}

extension PeerStatus {
  /// Whether nothing has come from it.
  fileprivate var isSilent: Bool { receivedBytes == 0 }
}

extension DropCounts {
  /// Whether the network, or this machine, refused what was sent to a peer.
  fileprivate var hasWayProblem: Bool {
    self[.noOuterSource] > 0 || self[.networkRefusedMessage] > 0 || self[.endpointUnreachable] > 0
  }
}
