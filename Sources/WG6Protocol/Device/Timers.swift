import WG6Crypto

/// The timers of WireGuard (paper §6), lazily kept: the data threads only note when things happened, and say so on the
/// first transition; a timer that fires looks at the notes, and runs on if it fired too early.
extension Device {
  /// Called when a data thread has told something about `peer`.
  func handle(_ events: PeerEvent, of peer: Peer, now: Now) {
    if events.contains(.keyConfirmed) { confirm(peer, now: now) }
    if events.contains(.handshakeWanted) {
      if needsSession(peer, now: now) {
        initiate(peer, isRetry: false, now: now)
      } else if peer.reference.hasStagedPackets {
        actions.append(.wakeOutbound)
      }
    }
    if events.contains(.unanswered), !peer.timers.isRunning(.newHandshake) {
      restart(.newHandshake, of: peer, since: peer.reference.unansweredSince, after: Limits.unansweredTimeout + jitter())
    }
    if events.contains(.keepaliveOwed), !peer.timers.isRunning(.sendKeepalive) {
      restart(.sendKeepalive, of: peer, since: peer.reference.keepaliveOwedSince, after: Limits.keepaliveTimeout)
    }
    if events.contains(.roamed), let endpoint = peer.reference.path.endpoint {
      actions.append(.report(.endpointMoved(peer.publicKey, endpoint)))
    }
    restartPersistentKeepalive(peer, now: now)
  }

  /// Whether a session is missing or grows old. It may have come since a data thread asked for it; what that thread
  /// staged meanwhile has missed its wake-up.
  private func needsSession(_ peer: Peer, now: Now) -> Bool {
    guard let keypair = peer.reference.sending else { return true }
    return !keypair.canSend(at: now.monotonic) || keypair.isDueWhenSending(at: now.monotonic)
      || keypair.isDueWhenReceiving(at: now.monotonic)
  }

  /// Called when `timer` has passed, and was stopped.
  func fire(_ timer: PeerTimer, of peer: Peer, now: Now) {
    switch timer {
    case .retransmitHandshake: retransmitHandshake(peer, now: now)
    case .newHandshake: newHandshake(peer, now: now)
    case .sendKeepalive: keepaliveDue(peer, now: now)
    case .persistentKeepalive: persistentKeepaliveDue(peer, now: now)
    case .zeroKeys:
      endSessions(of: peer)
      actions.append(.report(.keysZeroed(peer.publicKey)))
    }
  }

  /// Called Rekey-Timeout and some jitter after an initiation that nothing came back for.
  private func retransmitHandshake(_ peer: Peer, now: Now) {
    if peer.attempts >= Limits.handshakeAttempts {
      dropInitiation(of: peer)
      peer.reference.isHandshaking = false
      discardStaged(peer)
      // What is left of a handshake that never ended goes, too, when its time has come.
      if !peer.timers.isRunning(.zeroKeys) { peer.timers[.zeroKeys] = now.monotonic + Limits.zeroKeysAfter }
      actions.append(.report(.handshakeGivenUp(peer.publicKey)))
    } else {
      // The local address may be what is wrong.
      peer.reference.forgetSource()
      initiate(peer, isRetry: true, now: now)
    }
  }

  /// Called when data may have been unanswered for Keepalive-Timeout + Rekey-Timeout.
  private func newHandshake(_ peer: Peer, now: Now) {
    guard let since = peer.reference.unansweredSince else { return }
    guard now.monotonic.since(since) >= Limits.unansweredTimeout else {
      return restart(.newHandshake, of: peer, since: since, after: Limits.unansweredTimeout + jitter())
    }
    peer.reference.forgetUnanswered()
    peer.reference.forgetSource()
    initiate(peer, isRetry: false, now: now)
  }

  /// Called when nothing may have gone back for Keepalive-Timeout.
  private func keepaliveDue(_ peer: Peer, now: Now) {
    guard let since = peer.reference.keepaliveOwedSince else { return }
    guard now.monotonic.since(since) >= Limits.keepaliveTimeout else {
      return restart(.sendKeepalive, of: peer, since: since, after: Limits.keepaliveTimeout)
    }
    sendKeepalive(peer, now: now)
  }

  /// Called when nothing may have been sent for the configured time. What came in does not count: it need not refresh
  /// what a NAT remembers (RFC 4787 §4.3).
  private func persistentKeepaliveDue(_ peer: Peer, now: Now) {
    guard peer.persistentKeepalive > 0 else { return }
    let interval = Nanoseconds(peer.persistentKeepalive) * Limits.second
    if now.monotonic.since(peer.reference.lastSent) >= interval { sendKeepalive(peer, now: now) }
    restartPersistentKeepalive(peer, now: now)
  }

  /// Called when anything was sent, or the interval changed.
  func restartPersistentKeepalive(_ peer: Peer, now: Now) {
    guard peer.persistentKeepalive > 0, isUp else {
      peer.timers[.persistentKeepalive] = nil
      return
    }
    let interval = Nanoseconds(peer.persistentKeepalive) * Limits.second
    let last = peer.reference.lastSent
    // Without a session or an endpoint nothing may have been sent: look again an interval from now.
    let due = last + interval
    peer.timers[.persistentKeepalive] = last != 0 && due > now.monotonic ? due : now.monotonic + interval
  }

  /// Sends an empty message, or asks for the session that it would need. Staged packets do as well.
  func sendKeepalive(_ peer: Peer, now: Now) {
    if peer.reference.hasStagedPackets {
      if peer.reference.sending == nil { initiate(peer, isRetry: false, now: now) }
      return actions.append(.wakeOutbound)
    }
    guard peer.reference.path.isKnown else { return }
    guard let keypair = peer.reference.sending, keypair.canSend(at: now.monotonic) else {
      if !peer.reference.isHandshaking { initiate(peer, isRetry: false, now: now) }
      return
    }
    send(ControlMessage(emptyUnder: keypair), to: peer, now: now)
    if keypair.isDueWhenSending(at: now.monotonic), !peer.reference.isHandshaking {
      initiate(peer, isRetry: false, now: now)
    }
    actions.append(.report(.keepaliveSent(peer.publicKey)))
  }

  private func restart(_ timer: PeerTimer, of peer: Peer, since: Nanoseconds?, after delay: Nanoseconds) {
    guard let since else { return }
    peer.timers[timer] = since + delay
  }
}

extension ControlMessage {
  /// A data message with nothing in it: a keepalive.
  init(emptyUnder keypair: KeypairReference) {
    self.init(count: DataMessage.overhead)
    unsafe mutate { bytes in
      let counter = unsafe keypair.pointer.pointee.takeCounter()
      unsafe Train.seal(bytes + DataMessage.header, count: 0, counter: counter, under: keypair.pointer)
    }
  }
}
