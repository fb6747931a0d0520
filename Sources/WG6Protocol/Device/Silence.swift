/// `DeadAfter`: whether peers are heard. Both ends send keepalives, so a peer that nothing comes from cannot be reached.
extension Device {
  /// Begins or ends the watch over a peer: call when the interface comes up, and when settings have changed. A peer without a
  /// persistent keepalive is not watched: its silence means nothing. The caller follows the routes.
  func watchSilence(of peer: Peer, now: Now) {
    guard deadAfter > 0, peer.persistentKeepalive > 0, isUp else {
      peer.timers[.lookForSilence] = nil
      return setSilent(peer, false)
    }
    guard !peer.timers.isRunning(.lookForSilence) else { return }
    peer.heardBytes = peer.reference.byteCounts.received
    peer.heardAt = now.monotonic
    peer.lookedAt = now.monotonic
    peer.timers[.lookForSilence] = now.monotonic + silenceLookInterval
    schedule(peer)
  }

  /// Called at fixed intervals while the watch goes on. The data path notes nothing for it: the count of bytes that came in
  /// tells as much.
  func lookForSilence(of peer: Peer, now: Now) {
    let received = peer.reference.byteCounts.received
    // A machine that slept, or was too busy, has heard nothing either, which says nothing about the peer.
    let missedLooks = now.monotonic.since(peer.lookedAt) > 4 * silenceLookInterval
    if received != peer.heardBytes || missedLooks { peer.heardAt = now.monotonic }
    let isHeard = received != peer.heardBytes
    peer.heardBytes = received
    peer.lookedAt = now.monotonic
    peer.timers[.lookForSilence] = now.monotonic + silenceLookInterval
    let wasSilent = peer.isSilent
    if isHeard {
      setSilent(peer, false)
    } else if now.monotonic.since(peer.heardAt) >= Nanoseconds(deadAfter) * Limits.second {
      setSilent(peer, true)
    }
    guard peer.isSilent != wasSilent else { return }
    followRoutes()
    publishAllowedIPs()
  }

  /// The interface goes down: the silence of a peer means nothing.
  func endSilence(of peer: Peer) {
    setSilent(peer, false)
  }

  /// How many peers there are, and how many of them are silent.
  public var silence: (peers: Int, silent: Int) {
    (peersByKey.count, deadAfter == 0 ? 0 : peersByKey.values.count { $0.isSilent })
  }

  private func setSilent(_ peer: Peer, _ isSilent: Bool) {
    guard peer.isSilent != isSilent else { return }
    peer.isSilent = isSilent
    actions.append(.report(isSilent ? .peerSilent(peer.publicKey) : .peerHeard(peer.publicKey)))
    actions.append(.silenceChanged)
  }

  /// Twelve looks in `deadAfter`, at most ten a second.
  private var silenceLookInterval: Nanoseconds {
    max(Nanoseconds(deadAfter) * Limits.second / 12, 100 * Limits.millisecond)
  }
}
