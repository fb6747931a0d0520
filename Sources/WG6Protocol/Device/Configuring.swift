import WG6Crypto

/// A change that was refused; nothing was changed.
public enum ConfigurationError: Error, Equatable, Sendable {
  /// A peer would have the device's own key.
  case ownKey(PublicKey)
}

/// Changing the device, and asking it how it is.
extension Device {
  /// Makes the changes of `update`, all or none. Ports and marks are the caller's: the device has no sockets.
  public func apply(_ update: DeviceUpdate, now: Now) throws(ConfigurationError) {
    try check(update)
    defer {
      publishAllowedIPs()
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
    if update.replacesPeers { for case let peer? in peers { remove(peer) } }
    for change in update.peers { apply(change, now: now) }
  }

  /// How the device is. `listenPort` and `firewallMark` are the caller's to fill in.
  public func status() -> DeviceStatus {
    DeviceStatus(
      privateKey: identity?.privateKey, publicKey: identity?.publicKey,
      peers: peersInOrder.map { peer in
        var status = PeerStatus(publicKey: peer.publicKey)
        status.presharedKey = peer.presharedKey
        status.endpoint = peer.reference.path.endpoint
        status.lastHandshake = peer.lastHandshake
        (status.transmittedBytes, status.receivedBytes) = peer.reference.byteCounts
        status.persistentKeepalive = peer.persistentKeepalive
        status.allowedIPs = peer.prefixes.list(of: peer.reference, in: allowedIPs)
        return status
      })
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
  private var peersInOrder: [Peer] { peers.compactMap { $0 }.sorted { $0.order < $1.order } }

  /// Says whether `apply` would refuse `update`. A peer with our own key would be us talking to ourselves.
  public func check(_ update: DeviceUpdate) throws(ConfigurationError) {
    let own: PublicKey?
    switch update.privateKey {
    case .keep: own = identity?.publicKey
    case .remove: own = nil
    case .set(let key): own = key.publicKey
    }
    guard let own else { return }
    let keepsPeer = peersByKey[own] != nil && !update.replacesPeers
    let last = update.peers.last { $0.publicKey == own }
    guard last.map({ !$0.removes && (!$0.updatesOnly || keepsPeer) }) ?? keepsPeer else { return }
    throw .ownKey(own)
  }

  // MARK: Our own key

  private func adopt(_ key: PrivateKey?, now: Now) {
    if let key {
      let publicKey = key.publicKey
      guard identity?.publicKey != publicKey else { return }
      identity = Identity(key, publicKey: publicKey)
    } else {
      identity = nil
    }
    for case let peer? in peers {
      let wasTalking = peer.current != nil || peer.next != nil || peer.initiation != nil
      endSessions(of: peer)
      peer.initiationSentAt = nil
      computeStaticStatic(of: peer)
      // Who was talking goes on talking, as whoever we are now: no timeout in between.
      if wasTalking, isUp { initiate(peer, isRetry: false, now: now) }
      schedule(peer)
    }
  }

  private func computeStaticStatic(of peer: Peer) {
    peer.staticStatic = nil
    if let identity { peer.staticStatic = X25519.sharedSecret(identity.privateKey.secret, peer.publicKey) }
  }

  // MARK: Peers

  private func apply(_ change: PeerUpdate, now: Now) {
    if change.removes {
      if let peer = peersByKey[change.publicKey] { remove(peer) }
      return
    }
    guard let peer = peersByKey[change.publicKey] ?? (change.updatesOnly ? nil : add(change.publicKey)) else { return }
    switch change.presharedKey {
    case .keep: break
    case .remove: peer.presharedKey = nil
    case .set(let key): peer.presharedKey = key.isZero ? nil : key
    }
    if let endpoint = change.endpoint { peer.reference.path = PackedPath(Path(to: endpoint)) }
    if change.replacesAllowedIPs {
      for prefix in peer.prefixes.list(of: peer.reference, in: allowedIPs) { allowedIPs.remove(prefix) }
      peer.prefixes.removeAll()
    }
    for allowedIP in change.allowedIPs {
      switch allowedIP {
      case .add(let prefix): give(prefix, to: peer)
      case .remove(let prefix): take(prefix, from: peer)
      }
    }
    if let seconds = change.persistentKeepalive {
      let wasOff = peer.persistentKeepalive == 0
      peer.persistentKeepalive = seconds
      restartPersistentKeepalive(peer, now: now)
      if wasOff, seconds > 0, isUp { sendKeepalive(peer, now: now) }
    }
    // A peer that just got its endpoint may have packets waiting already.
    if change.endpoint != nil, isUp, peer.reference.hasStagedPackets { initiate(peer, isRetry: false, now: now) }
    schedule(peer)
  }

  private func add(_ publicKey: PublicKey) -> Peer {
    let slot = freeSlots.popLast() ?? UInt32(peers.count)
    if slot == peers.count { peers.append(nil) }
    let peer = Peer(publicKey, reference: .create(slot: slot), order: nextOrder)
    nextOrder += 1
    peers[Int(slot)] = peer
    peersByKey[publicKey] = peer
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
    removed.append(peer.reference)
  }

  // MARK: Allowed IPs

  private func give(_ prefix: IPPrefix, to peer: Peer) {
    let loser = allowedIPs.owner(of: prefix).flatMap { peers[Int($0.peer.slot)] }
    let stamp = allowedIPs.insert(prefix, for: peer.reference)
    peer.prefixes.append(prefix, stamp: stamp)
    loser?.prefixes.lost(one: loser!.reference, in: allowedIPs)
  }

  private func take(_ prefix: IPPrefix, from peer: Peer) {
    guard allowedIPs.owner(of: prefix)?.peer == peer.reference else { return }
    allowedIPs.remove(prefix)
    peer.prefixes.lost(one: peer.reference, in: allowedIPs)
  }

  private func publishAllowedIPs() {
    let replaced = allowedIPs.commit(to: plane.allowedIPs)
    if !replaced.isEmpty { retire(.nodes(replaced)) }
  }
}
