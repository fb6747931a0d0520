import WG6Crypto

/// Changing the device, and asking it how it is.
extension Device {
  /// Makes the changes of `update`. Ports and marks are the caller's: the device has no sockets.
  ///
  /// A peer with the device's own key would be the device talking to itself. As in the kernel, there is none: a new
  /// private key removes the peer that has its public key, and adding such a peer does nothing.
  public func apply(_ update: DeviceUpdate, now: Now) {
    defer {
      publishAllowedIPs()
      publishReceivers()
      // The data threads have lost sight of these peers only now.
      for reference in removed { retire(.peer(reference)) }
      removed = []
      reclaim()
    }
    switch update.privateKey {
    case .keep: break
    case .remove: adopt(nil, now: now)
    case .set(let key): adopt(key, now: now)
    }
    if let multicast = update.multicast, multicast != self.multicast {
      self.multicast = multicast
      multicastIsDue = true
    }
    if update.replacesPeers { for case let peer? in peers { remove(peer) } }
    if let settings = update.routeSync { routeSync = settings }
    if let seconds = update.deadAfter { deadAfter = seconds }
    for change in update.peers { apply(change, from: update.origin, now: now) }
    if update.deadAfter != nil { for case let peer? in peers { watchSilence(of: peer, now: now) } }
    derive(after: update)
    followRoutes()
  }

  /// How the device is. `listenPort` and `firewallMark` are the caller's to fill in.
  public func status() -> DeviceStatus {
    var status = DeviceStatus(
      privateKey: identity?.privateKey, publicKey: identity?.publicKey,
      peers: peersInOrder.map { peer in
        var status = PeerStatus(publicKey: peer.publicKey)
        status.presharedKey = peer.presharedKey
        status.endpoint = peer.reference.path.endpoint
        status.lastHandshake = peer.lastHandshake
        (status.transmittedBytes, status.receivedBytes) = peer.reference.byteCounts
        status.persistentKeepalive = peer.persistentKeepalive
        status.multicast = peer.multicast
        status.isSilent = peer.isSilent
        status.allowedIPs = peer.prefixes.list(of: peer.reference, in: allowedIPs)
        if routeSync.isOn { status.origins = peer.prefixes.origins(of: peer.reference, in: allowedIPs) }
        return status
      })
    status.multicast = multicast
    status.routeSync = routeSync
    status.deadAfter = deadAfter
    return status
  }

  /// What was dropped, of the device and of each peer, and nothing else of its status.
  public func dropStatus() -> DeviceStatus {
    var status = DeviceStatus(
      peers: peersInOrder.map { peer in
        var status = PeerStatus(publicKey: peer.publicKey)
        status.drops = peer.reference.dropCounts
        return status
      })
    status.drops = plane.dropCounts
    return status
  }

  /// As they were added.
  var peersInOrder: [Peer] { peers.compactMap { $0 }.sorted { $0.order < $1.order } }

  // MARK: Our own key

  private func adopt(_ key: PrivateKey?, now: Now) {
    let hadKey = identity != nil
    if let key {
      let publicKey = key.publicKey
      guard identity?.publicKey != publicKey else { return }
      if let peer = peersByKey[publicKey] { remove(peer) }
      identity = Identity(key, publicKey: publicKey)
      if let keyLog { key.withBytes { keyLog.append("LOCAL_STATIC_PRIVATE_KEY", $0) } }
    } else {
      identity = nil
    }
    for case let peer? in peers {
      computeStaticStatic(of: peer)
      if identity == nil {
        endSessions(of: peer)
        peer.initiationSentAt = nil
      } else if hadKey {
        // No handshake yet: the peer may not know the new key, and then the next one has to wait.
        expireSessions(of: peer)
      } else {
        startKeepalive(peer, now: now)
      }
      schedule(peer)
    }
  }

  private func computeStaticStatic(of peer: Peer) {
    peer.staticStatic = nil
    if let identity { peer.staticStatic = X25519.sharedSecret(identity.privateKey.secret, peer.publicKey) }
  }

  // MARK: Peers

  private func apply(_ change: PeerUpdate, from origin: AllowedIPOrigin, now: Now) {
    if change.removes {
      if let peer = peersByKey[change.publicKey] { remove(peer) }
      return
    }
    guard change.publicKey != identity?.publicKey,
      let peer = peersByKey[change.publicKey] ?? (change.updatesOnly ? nil : add(change.publicKey))
    else { return }
    switch change.presharedKey {
    case .keep: break
    case .remove: peer.presharedKey = nil
    case .set(let key): peer.presharedKey = key.isZero ? nil : key
    }
    if let multicast = change.multicast, multicast != peer.multicast {
      peer.multicast = multicast
      multicastIsDue = true
    }
    let hasMoved = change.endpoint.map { direct(peer, to: $0) } ?? false
    if change.replacesAllowedIPs {
      for prefix in peer.prefixes.takeConfigured(of: peer.reference, in: allowedIPs) { allowedIPs.remove(prefix) }
    }
    for allowedIP in change.allowedIPs {
      switch allowedIP {
      case .add(let prefix): give(prefix, to: peer, from: origin)
      case .remove(let prefix): take(prefix, from: peer)
      }
    }
    let wasOff = peer.persistentKeepalive == 0
    if let seconds = change.persistentKeepalive {
      peer.persistentKeepalive = seconds
      restartPersistentKeepalive(peer, now: now)
    }
    // Packets may be waiting for an endpoint, or a handshake be under way to the former one.
    if hasMoved, isUp, peer.reference.hasStagedPackets || peer.reference.isHandshaking {
      initiate(peer, isRetry: false, now: now)
    }
    if wasOff || change.endpoint != nil && !canSend(to: peer, now: now) { startKeepalive(peer, now: now) }
    if change.startsHandshake, isUp, !peer.reference.isHandshaking, !canSend(to: peer, now: now) {
      initiate(peer, isRetry: false, now: now)
    }
    watchSilence(of: peer, now: now)
    schedule(peer)
  }

  /// Sets the endpoint of `peer`. Initiations are spaced to protect the machine that receives them, and a new endpoint
  /// has received none: the next one need not wait.
  ///
  /// - Returns: whether it is another one than before.
  private func direct(_ peer: Peer, to endpoint: Endpoint) -> Bool {
    let path = PackedPath(Path(to: endpoint))
    let hasMoved = !peer.reference.path.hasSameRemote(as: path)
    if hasMoved { peer.initiationSentAt = nil }
    peer.reference.path = path
    return hasMoved
  }

  private func add(_ publicKey: PublicKey) -> Peer {
    let slot = freeSlots.popLast() ?? UInt32(peers.count)
    if slot == peers.count { peers.append(nil) }
    let peer = Peer(publicKey, reference: .create(slot: slot, publicKey: publicKey), order: nextOrder)
    nextOrder += 1
    peers[Int(slot)] = peer
    peersByKey[publicKey] = peer
    if multicast { multicastIsDue = true }
    unsafe keyLog?.append("REMOTE_STATIC_PUBLIC_KEY", publicKey.bytes.span.bytes)
    computeStaticStatic(of: peer)
    return peer
  }

  private func remove(_ peer: Peer) {
    for prefix in peer.prefixes.list(of: peer.reference, in: allowedIPs) { allowedIPs.remove(prefix) }
    endSessions(of: peer)
    discardStaged(peer)
    // What this update has already asked for on the peer's behalf, such as a handshake under a new key of ours.
    actions.removeAll { action in
      if case .send(_, _, let sender?) = action { sender == peer.reference } else { false }
    }
    peer.timers.stopAll()
    schedule(peer)
    // The other end remembers: should the peer come back, its first initiation must be later than our last.
    if let last = peer.lastTimestamp { latestTimestamp = max(latestTimestamp, last.successor) }
    peers[Int(peer.reference.slot)] = nil
    peersByKey[peer.publicKey] = nil
    if getsMulticast(peer) { multicastIsDue = true }
    if let identifier = peer.interfaceIdentifier { derivedOwners[identifier] = nil }
    removed.append(peer.reference)
  }

  // MARK: Allowed IPs

  func give(_ prefix: IPPrefix, to peer: Peer, from origin: AllowedIPOrigin) {
    let loser = allowedIPs.owner(of: prefix).flatMap { peers[Int($0.peer.slot)] }
    let stamp = allowedIPs.insert(prefix, for: peer.reference, from: origin)
    peer.prefixes.append(prefix, stamp: stamp)
    loser?.prefixes.lost(one: loser!.reference, in: allowedIPs)
  }

  func take(_ prefix: IPPrefix, from peer: Peer) {
    guard allowedIPs.owner(of: prefix)?.peer == peer.reference else { return }
    allowedIPs.remove(prefix)
    peer.prefixes.lost(one: peer.reference, in: allowedIPs)
  }

  // MARK: Multicast

  private func getsMulticast(_ peer: Peer) -> Bool {
    switch peer.multicast {
    case .asDevice: multicast
    case .on: true
    case .off: false
    }
  }

  private func publishReceivers() {
    guard multicastIsDue else { return }
    multicastIsDue = false
    let former = receivers
    receivers = MulticastReceivers(peersInOrder.filter(getsMulticast).map(\.reference))
    plane.multicast.publish(receivers)
    if let former { retire(.receivers(former)) }
  }

  func publishAllowedIPs() {
    let replaced = allowedIPs.commit(to: plane.allowedIPs)
    if !replaced.isEmpty { retire(.nodes(replaced)) }
  }
}
