import WG6Crypto

/// Sessions of a peer: how keypairs come, move from slot to slot, and go.
extension Device {
  /// A handshake has given keys: makes them a keypair, in the slot that the protocol says.
  func install(
    _ keys: borrowing NoiseIK.TransportKeys, localIndex: UInt32, remoteIndex: UInt32, asInitiator: Bool,
    for peer: Peer, now: Now
  ) {
    let keypair = KeypairReference.create(
      Keypair(
        localIndex: localIndex, remoteIndex: remoteIndex, peer: peer.reference, createdAt: now.monotonic,
        isInitiator: asInitiator, keys: keys, firstCounter: firstCounter))
    // A data thread may have confirmed the one before, and not been heard yet.
    confirm(peer, now: now)
    plane.indices.bind(localIndex, to: keypair)
    indexOwners[localIndex] = peer
    if asInitiator {
      installAsInitiator(keypair, for: peer, now: now)
    } else {
      // Not to be sent under before something is received under it: the initiator may never get our answer.
      peer.reference.offer(keypair)
      drop(peer.next)
      drop(peer.previous)
      peer.previous = nil
      peer.next = keypair
    }
    peer.timers[.zeroKeys] = now.monotonic + Limits.zeroKeysAfter
  }

  private func installAsInitiator(_ keypair: KeypairReference, for peer: Peer, now: Now) {
    // Out of sight first, retired after: a reader that passes in between must not find the old one.
    peer.reference.send(under: keypair)
    if let next = peer.next, outranks(peer) {
      // We answered an initiation as well, and that session was never confirmed. Ours wins.
      peer.reference.offer(nil)
      drop(peer.previous)
      peer.next = nil
      if now.monotonic.since(next.createdAt) <= Limits.rekeyTimeout + Limits.rekeyTimeoutJitter {
        // Theirs began at the same time, and may still be heard.
        drop(peer.current)
        peer.previous = next
      } else {
        // Theirs is left over from an earlier handshake: what is under way is so under the current one.
        drop(next)
        peer.previous = peer.current
      }
    } else {
      // Where both ends initiated at once and theirs wins, `next` stays, and takes over once it is heard under.
      drop(peer.previous)
      peer.previous = peer.current
    }
    peer.current = keypair
  }

  /// Of two sessions that both ends began at once, the one of the greater public key is kept: both ends agree on that.
  private func outranks(_ peer: Peer) -> Bool {
    guard let ours = identity?.publicKey.bytes else { return true }
    for index in ours.indices where ours[index] != peer.publicKey.bytes[index] {
      return ours[index] > peer.publicKey.bytes[index]
    }
    return true
  }

  /// Something came in under a keypair for the first time: if it is the one we answered with, it is in force now.
  func confirm(_ peer: Peer, now: Now) {
    guard let next = peer.next, next.isConfirmed else { return }
    peer.reference.send(under: next)
    peer.reference.offer(nil)
    drop(peer.previous)
    peer.previous = peer.current
    peer.current = next
    peer.next = nil
    // An initiation of our own may still be out; its answer would bring a second session.
    dropInitiation(of: peer)
    handshakeCompleted(peer, asInitiator: false, now: now)
    if peer.reference.hasStagedPackets { actions.append(.wakeOutbound) }
  }

  func handshakeCompleted(_ peer: Peer, asInitiator: Bool, now: Now) {
    peer.timers[.retransmitHandshake] = nil
    peer.attempts = 0
    peer.lastHandshake = now.wall
    peer.reference.handshakeGivenUp(at: 0)
    peer.reference.isHandshaking = false
    actions.append(.report(.sessionEstablished(peer.publicKey, asInitiator: asInitiator)))
  }

  /// Ends every session and handshake of `peer`; their keys are zeroed as soon as no data thread can be using them.
  func endSessions(of peer: Peer) {
    dropInitiation(of: peer)
    peer.reference.offer(nil)
    peer.reference.send(under: nil)
    for keypair in [peer.previous, peer.current, peer.next] { drop(keypair) }
    peer.previous = nil
    peer.current = nil
    peer.next = nil
    peer.reference.isHandshaking = false
    unsafe peer.reference.pointer.pointee.unanswered.reset()
    unsafe peer.reference.pointer.pointee.owedKeepalive.reset()
    peer.timers[.newHandshake] = nil
    peer.timers[.sendKeepalive] = nil
  }

  /// Ends sending under every session of `peer`, and a handshake under way: our key is another now. What the peer sends
  /// under its sessions is still taken, and the next packet to it starts a handshake at once.
  func expireSessions(of peer: Peer) {
    dropInitiation(of: peer)
    peer.initiationSentAt = nil
    peer.reference.isHandshaking = false
    for keypair in [peer.previous, peer.current, peer.next] { unsafe keypair?.pointer.pointee.endSending() }
  }

  func dropInitiation(of peer: Peer) {
    guard let initiation = peer.initiation.take() else { return }
    indexOwners[initiation.index] = nil
    indexAllocator.release(initiation.index, in: plane.indices)
  }

  func discardStaged(_ peer: Peer) {
    guard peer.reference.hasStagedPackets else { return }
    peer.reference.discardStaged()
    actions.append(.wakeOutbound)
  }

  /// Sessions that keys exist for, for tests.
  package var sessionCount: Int {
    peers.compactMap { $0 }.reduce(0) { count, peer in
      count + [peer.previous, peer.current, peer.next].count { $0 != nil }
    }
  }

  /// Indices that lead to a session or to a handshake of our own, for tests.
  package var indexCount: Int { indexOwners.count }

  /// Hands the sending and the receiving key of every session to `body`, for tests that look for them afterwards.
  package func withSessionKeys(_ body: (RawSpan) -> Void) {
    for case let peer? in peers {
      for case let keypair? in [peer.previous, peer.current, peer.next] {
        unsafe body(UnsafeRawBufferPointer(start: keypair.pointer.pointee.sendingKey, count: 32).bytes)
        unsafe body(UnsafeRawBufferPointer(start: keypair.pointer.pointee.receivingKey, count: 32).bytes)
      }
    }
  }

  /// Unpublishes a keypair that is in no slot any more.
  private func drop(_ keypair: KeypairReference?) {
    guard let keypair else { return }
    unsafe assert(
      keypair.pointer.pointee.peer.sending != keypair, "a keypair is retired that messages still go out under")
    plane.indices.bind(keypair.localIndex, to: nil)
    indexOwners[keypair.localIndex] = nil
    retire(.keypair(keypair))
  }
}
