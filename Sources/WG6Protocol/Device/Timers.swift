import WG6Crypto

/// The timers of WireGuard (paper §6), lazily kept: the data threads only note when things happened, and say so on the
/// first transition; a timer that fires looks at the notes, and runs on if it fired too early.
extension Device {
  /// Called when a data thread has told something about `peer`.
  func handle(_ events: PeerEvent, of peer: Peer, now: Now) {
    if events.contains(.keyConfirmed) { confirm(peer, now: now) }
    if events.contains(.handshakeWanted) { handshakeWanted(peer, now: now) }
    if events.contains(.unanswered) {
      let since = unsafe peer.reference.pointer.pointee.unanswered.watch(now: now.monotonic)
      peer.timers[.newHandshake] = since + Limits.unansweredTimeout + jitter()
    }
    if events.contains(.keepaliveOwed) {
      let since = unsafe peer.reference.pointer.pointee.owedKeepalive.watch(now: now.monotonic)
      peer.timers[.sendKeepalive] = since + Limits.keepaliveTimeout
    }
    if events.contains(.roamed), let endpoint = peer.reference.path.endpoint {
      actions.append(.report(.endpointMoved(peer.publicKey, endpoint)))
    }
    restartPersistentKeepalive(peer, now: now)
  }

  /// Called when a data thread found no key to send under, or one that grows old. By now there may be a younger one.
  private func handshakeWanted(_ peer: Peer, now: Now) {
    if let keypair = peer.reference.sending, keypair.canSend(at: now.monotonic), !keypair.isDue(at: now.monotonic) {
      if peer.reference.hasStagedPackets { actions.append(.wakeOutbound) }
    } else {
      initiate(peer, isRetry: false, now: now)
    }
  }

  /// Called when `timer` has passed, and was stopped.
  func fire(_ timer: PeerTimer, of peer: Peer, now: Now) {
    switch timer {
    case .retransmitHandshake: retransmitHandshake(peer, now: now)
    case .newHandshake: newHandshake(peer, now: now)
    case .sendKeepalive: keepaliveDue(peer, now: now)
    case .persistentKeepalive: persistentKeepaliveDue(peer, now: now)
    case .lookForSilence: lookForSilence(of: peer, now: now)
    case .zeroKeys:
      endSessions(of: peer)
      actions.append(.report(.keysZeroed(peer.publicKey)))
    }
  }

  /// Called Rekey-Timeout and some jitter after an initiation that nothing came back for.
  private func retransmitHandshake(_ peer: Peer, now: Now) {
    if peer.initiation != nil { plane.drop(.handshakeUnanswered, of: peer.reference) }
    if peer.attempts >= Limits.handshakeAttempts {
      dropInitiation(of: peer)
      peer.reference.isHandshaking = false
      peer.reference.handshakeGivenUp(at: now.monotonic)
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
    guard let since = unsafe peer.reference.pointer.pointee.unanswered.stillWaiting() else { return }
    guard now.monotonic.since(since) >= Limits.unansweredTimeout else {
      peer.timers[.newHandshake] = since + Limits.unansweredTimeout + jitter()
      return
    }
    unsafe peer.reference.pointer.pointee.unanswered.reset()
    // The same data may have begun one already, for the age of its key: its tries are not counted anew.
    guard !peer.reference.isHandshaking else { return }
    peer.reference.forgetSource()
    initiate(peer, isRetry: false, now: now)
  }

  /// Called when nothing may have gone back for Keepalive-Timeout.
  private func keepaliveDue(_ peer: Peer, now: Now) {
    guard let since = unsafe peer.reference.pointer.pointee.owedKeepalive.stillWaiting() else { return }
    guard now.monotonic.since(since) >= Limits.keepaliveTimeout else {
      peer.timers[.sendKeepalive] = since + Limits.keepaliveTimeout
      return
    }
    unsafe peer.reference.pointer.pointee.owedKeepalive.reset()
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

  /// Called when one more of the things that a persistent keepalive needs is there: the interface up, a private key, an
  /// endpoint, an interval. Whichever comes last, the peer hears from us at once.
  func startKeepalive(_ peer: Peer, now: Now) {
    guard peer.persistentKeepalive > 0, isUp else { return }
    restartPersistentKeepalive(peer, now: now)
    sendKeepalive(peer, now: now)
  }

  /// Whether there is a session that messages to `peer` can be sent under.
  func canSend(to peer: Peer, now: Now) -> Bool {
    peer.reference.sending?.canSend(at: now.monotonic) ?? false
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
      // Not where tries are under way: counted anew with each keepalive, they would never end, nor what waits grow too old.
      if !canSend(to: peer, now: now), !peer.reference.isHandshaking { initiate(peer, isRetry: false, now: now) }
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
