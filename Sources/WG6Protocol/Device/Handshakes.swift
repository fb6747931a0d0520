import WG6Crypto

/// Why a message went no further, and whose it was where that is known.
struct Drop {
  let reason: DropReason
  let peer: PeerReference?

  init(_ reason: DropReason, of peer: Peer? = nil) {
    self.reason = reason
    self.peer = peer?.reference
  }
}

/// Handshake messages and cookie replies: what goes out, what comes in.
extension Device {
  // MARK: Out

  /// Something wants a session: starts a handshake, or waits until one may be started.
  ///
  /// - Parameter isRetry: whether this goes on with the tries so far, rather than with new data.
  func initiate(_ peer: Peer, isRetry: Bool, now: Now) {
    if !isRetry { peer.attempts = 0 }
    guard identity != nil, peer.staticStatic != nil, peer.reference.path.isKnown else { return }
    peer.reference.isHandshaking = true
    if let sentAt = peer.initiationSentAt, now.monotonic.since(sentAt) < Limits.rekeyTimeout {
      // Too soon after the last one; the timer tries again as soon as it may.
      if !peer.timers.isRunning(.retransmitHandshake) {
        peer.timers[.retransmitHandshake] = sentAt + Limits.rekeyTimeout + jitter()
      }
      return
    }
    sendInitiation(to: peer, now: now)
  }

  private func sendInitiation(to peer: Peer, now: Now) {
    guard let identity else { return }
    dropInitiation(of: peer)
    peer.initiationSentAt = now.monotonic
    peer.attempts += 1
    peer.timers[.retransmitHandshake] = now.monotonic + Limits.rekeyTimeout + jitter()

    guard let index = indexAllocator.allocate(in: plane.indices) else { return }
    var message = ControlMessage(count: InitiationMessage.length)
    message.setWord(MessageType.initiation, at: 0)
    message.setWord(index, at: InitiationMessage.sender)
    let timestamp = nextTimestamp(for: peer, now: now).bytes
    var noise: NoiseIK.Initiator?
    let ephemeral = Secret(randomFrom: &random)
    note(ephemeral, of: peer)
    unsafe message.mutate { bytes in
      noise = unsafe NoiseIK.Initiator(
        from: peer.start, staticKey: identity.privateKey, staticPublicKey: identity.publicKey,
        staticStatic: peer.staticStatic!, responder: peer.publicKey, ephemeral: ephemeral.clone(),
        payload: timestamp.span.bytes, writing: bytes + InitiationMessage.ephemeral)
    }
    guard let noise = noise.take() else {
      // The peer's key is of low order: nothing may leave.
      indexAllocator.release(index, in: plane.indices)
      return
    }
    peer.cookies.seal(&message, now: now.monotonic)
    peer.initiation = PendingInitiation(index: index, noise: noise)
    indexOwners[index] = peer
    send(message, to: peer, now: now)
    actions.append(.report(.initiationSent(peer.publicKey, attempt: peer.attempts)))
  }

  func send(_ message: ControlMessage, to peer: Peer, now: Now) {
    peer.reference.authenticatedSent(at: now.monotonic)
    actions.append(.send(message, peer.reference.path, peer: peer.reference))
    restartPersistentKeepalive(peer, now: now)
  }

  /// Later than every timestamp that the peer has had from us, also where the clock went back. What others have had does
  /// not count: a timestamp ahead of the clock would tell how many they are.
  private func nextTimestamp(for peer: Peer, now: Now) -> TAI64N {
    latestTimestamp = max(latestTimestamp, TAI64N(wall: now.wall))
    var timestamp = latestTimestamp
    if let last = peer.lastTimestamp, timestamp <= last { timestamp = last.successor }
    peer.lastTimestamp = timestamp
    return timestamp
  }

  func jitter() -> Nanoseconds {
    Nanoseconds.random(in: 0...Limits.rekeyTimeoutJitter, using: &random)
  }

  // MARK: In

  /// Deals with a message; says why where it went no further.
  func receive(_ message: ControlMessage, from path: PackedPath, isLoaded: Bool, now: Now) -> Drop? {
    guard message.count >= FieldLength.type + FieldLength.index else { return Drop(.malformedMessage) }
    switch (message.word(at: 0), message.count) {
    case (MessageType.cookieReply, CookieReplyMessage.length):
      return receiveCookieReply(message, now: now)
    case (MessageType.initiation, InitiationMessage.length), (MessageType.response, ResponseMessage.length):
      if let reason = checkMacs(message, from: path, isLoaded: isLoaded, now: now) { return reason }
      return message.count == InitiationMessage.length
        ? receiveInitiation(message, from: path, now: now) : receiveResponse(message, from: path, now: now)
    default:
      return Drop(.malformedMessage)
    }
  }

  /// What every handshake message must pass before anything costly is computed for it.
  private func checkMacs(_ message: ControlMessage, from path: PackedPath, isLoaded: Bool, now: Now) -> Drop? {
    guard let identity, identity.cookies.hasValidMac1(message) else { return Drop(.badMac1) }
    guard isLoaded else { return nil }
    guard identity.cookies.hasValidMac2(message, from: path, now: now.monotonic, using: &random) else {
      let reply = identity.cookies.reply(to: message, from: path, now: now.monotonic, using: &random)
      actions.append(.send(reply, path, peer: nil))
      return Drop(.cookieRequired)
    }
    return limiter.admits(path, now: now.monotonic, using: &random) ? nil : Drop(.rateLimited)
  }

  private func receiveInitiation(_ message: ControlMessage, from path: PackedPath, now: Now) -> Drop? {
    guard let identity else { return Drop(.badMac1) }
    let length = InitiationMessage.mac1 - InitiationMessage.ephemeral
    var timestampBytes = InlineArray<12, UInt8>(repeating: 0)
    var introduction = message.field(InitiationMessage.ephemeral, length) {
      NoiseIK.Introduction($0, from: identity.start, staticKey: identity.privateKey)
    }
    guard let claimed = introduction?.remoteStatic else { return Drop(.unauthenticatedHandshake) }
    guard let peer = peersByKey[claimed], peer.staticStatic != nil else { return Drop(.unknownPeer) }

    var payload = timestampBytes.mutableSpan
    let responder = unsafe payload.withUnsafeMutableBytes { out in
      message.field(InitiationMessage.ephemeral, length) {
        unsafe introduction.take()!.read($0, staticStatic: peer.staticStatic!, payload: out.baseAddress!)
      }
    }
    guard responder != nil else { return Drop(.unauthenticatedHandshake, of: peer) }

    let timestamp = TAI64N(timestampBytes)
    if let newest = peer.newestTimestamp, timestamp <= newest { return Drop(.staleTimestamp, of: peer) }
    // What came through this tunnel gives the peer no endpoint, and without one it can't be answered.
    guard peer.reference.path.isKnown || !plane.isFromInside(path) else { return Drop(.noEndpoint, of: peer) }
    if let acceptedAt = peer.initiationAcceptedAt, now.monotonic.since(acceptedAt) < Limits.initiationInterval {
      return Drop(.initiationFlood, of: peer)
    }
    peer.newestTimestamp = timestamp
    peer.initiationAcceptedAt = now.monotonic
    peer.reference.received(message.count)
    follow(peer, to: path)
    respond(responder, to: message.word(at: InitiationMessage.sender), peer: peer, now: now)
    schedule(peer)
    return nil
  }

  private func respond(_ responder: consuming NoiseIK.Responder?, to remoteIndex: UInt32, peer: Peer, now: Now) {
    guard let index = indexAllocator.allocate(in: plane.indices) else { return }
    var message = ControlMessage(count: ResponseMessage.length)
    message.setWord(MessageType.response, at: 0)
    message.setWord(index, at: ResponseMessage.sender)
    message.setWord(remoteIndex, at: ResponseMessage.receiver)
    let ephemeral = Secret(randomFrom: &random)
    note(ephemeral, of: peer)
    var bytes = message.bytes.mutableSpan
    let keys = unsafe bytes.withUnsafeMutableBytes { out in
      peer.withPresharedKey { presharedKey in
        unsafe responder.take()!.respond(
          ephemeral: ephemeral, presharedKey: presharedKey, payload: InlineArray<0, UInt8>(repeating: 0).span.bytes,
          writing: out.baseAddress! + ResponseMessage.ephemeral)
      }
    }
    guard let keys else {
      indexAllocator.release(index, in: plane.indices)
      return
    }
    peer.cookies.seal(&message, now: now.monotonic)
    // An answer counts as an initiation (paper §6.4): our own, at once, would only cross the session just made.
    peer.initiationSentAt = now.monotonic
    install(keys, localIndex: index, remoteIndex: remoteIndex, asInitiator: false, for: peer, now: now)
    send(message, to: peer, now: now)
    actions.append(.report(.responseSent(peer.publicKey)))
  }

  private func receiveResponse(_ message: ControlMessage, from path: PackedPath, now: Now) -> Drop? {
    let index = message.word(at: ResponseMessage.receiver)
    guard let peer = indexOwners[index], let initiation = peer.initiation, initiation.index == index else {
      return Drop(.unexpectedResponse)
    }
    var nothing: UInt8 = 0
    let keys = unsafe withUnsafeMutableBytes(of: &nothing) { out in
      message.field(ResponseMessage.ephemeral, ResponseMessage.mac1 - ResponseMessage.ephemeral) { noise in
        peer.withPresharedKey {
          unsafe initiation.noise.finish(noise, presharedKey: $0, payload: out.baseAddress!)
        }
      }
    }
    guard let keys else { return Drop(.unauthenticatedHandshake, of: peer) }
    // From here on the index is the session's.
    peer.initiation = nil
    peer.reference.received(message.count)
    follow(peer, to: path)
    install(
      keys, localIndex: index, remoteIndex: message.word(at: ResponseMessage.sender), asInitiator: true, for: peer,
      now: now)
    peer.reference.authenticatedReceived()
    handshakeCompleted(peer, asInitiator: true, now: now)
    // The responder may use the session only once it hears under it: tell it now, with data where there is some.
    if peer.reference.hasStagedPackets { actions.append(.wakeOutbound) } else { sendKeepalive(peer, now: now) }
    schedule(peer)
    return nil
  }

  private func receiveCookieReply(_ message: ControlMessage, now: Now) -> Drop? {
    guard let peer = indexOwners[message.word(at: CookieReplyMessage.receiver)] else {
      return Drop(.unexpectedCookieReply)
    }
    // Where it came from does not matter, and must not: anyone could have sent it.
    return peer.cookies.accept(message, now: now.monotonic) ? nil : Drop(.unexpectedCookieReply, of: peer)
  }

  /// Follows a peer to where an authenticated handshake message of its came from, unless that came through this tunnel
  /// itself.
  private func follow(_ peer: Peer, to path: PackedPath) {
    guard peer.reference.path != path, !plane.isFromInside(path) else { return }
    peer.reference.path = path
    if let endpoint = path.endpoint { actions.append(.report(.endpointMoved(peer.publicKey, endpoint))) }
  }
}
