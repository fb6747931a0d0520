import WG6Crypto

/// Allowed IPs that follow from the keys of peers (`DeviceUpdate.derivedNetworks`). A peer has them as long as it is there:
/// replacing or removing allowed IPs leaves them.
extension Device {
  /// Whether `update` would give a peer what another, or this device, has by its key, or has two of them with the same
  /// address. Callers ask before they apply one. Costs a hash for each peer of `update`, and where that changes the networks,
  /// for each peer.
  public func contradictsKeys(_ update: DeviceUpdate) -> Bool {
    let networks = update.derivedNetworks ?? derivedNetworks
    guard !networks.isEmpty else { return false }
    var owners: [UInt64: PublicKey] = [:]
    var removed: Set<PublicKey> = []
    func owner(of identifier: UInt64) -> PublicKey? {
      if let owner = owners[identifier] { return owner }
      guard !update.replacesPeers, let owner = derivedOwners[identifier], !removed.contains(owner) else { return nil }
      return owner
    }
    let ownKey =
      switch update.privateKey {
      case .set(let key): key.publicKey as PublicKey?
      case .remove: nil as PublicKey?
      case .keep: identity?.publicKey
      }
    if let ownKey { owners[DerivedAddress.interfaceIdentifier(of: ownKey)] = ownKey }
    if derivedNetworks.isEmpty, !update.replacesPeers {
      for case let peer? in peers { owners[DerivedAddress.interfaceIdentifier(of: peer.publicKey)] = peer.publicKey }
    }
    for change in update.peers {
      let identifier = DerivedAddress.interfaceIdentifier(of: change.publicKey)
      if change.removes {
        removed.insert(change.publicKey)
        if owners[identifier] == change.publicKey { owners[identifier] = nil }
      } else {
        if let owner = owner(of: identifier), owner != change.publicKey { return true }
        owners[identifier] = change.publicKey
      }
    }
    return update.peers.contains { change in
      change.allowedIPs.contains { allowedIP in
        guard case .add(let prefix) = allowedIP, prefix.length == 128, case .v6(let high, let low) = prefix.address,
          networks.contains(high), let owner = owner(of: low)
        else { return false }
        return owner != change.publicKey
      }
    }
  }

  /// Gives peers what follows from their keys, after `update` has been carried out.
  func derive(after update: DeviceUpdate) {
    if let networks = update.derivedNetworks, networks != derivedNetworks {
      let former = derivedNetworks.filter { !networks.contains($0) }
      derivedNetworks = networks
      for case let peer? in peers {
        if let identifier = peer.interfaceIdentifier {
          for network in former { take(DerivedAddress.prefix(of: identifier, in: network), from: peer) }
        }
        giveDerived(peer)
      }
      if networks.isEmpty { derivedOwners = [:] }
    } else if !derivedNetworks.isEmpty {
      for change in update.peers { if let peer = peersByKey[change.publicKey] { giveDerived(peer) } }
    }
    giveGroups(after: update)
  }

  private func giveDerived(_ peer: Peer) {
    guard !derivedNetworks.isEmpty else { return peer.interfaceIdentifier = nil }
    let identifier = peer.interfaceIdentifier ?? DerivedAddress.interfaceIdentifier(of: peer.publicKey)
    peer.interfaceIdentifier = identifier
    derivedOwners[identifier] = peer.publicKey
    for network in derivedNetworks {
      let prefix = DerivedAddress.prefix(of: identifier, in: network)
      let owner = allowedIPs.owner(of: prefix)
      if owner?.peer != peer.reference || owner?.origin == .route { give(prefix, to: peer, from: .file) }
    }
  }

  /// What goes to all neighbours goes to the only one. With several, one of them alone would get it: none does that was not
  /// given it.
  private func giveGroups(after update: DeviceUpdate) {
    let groups = DerivedAddress.groupsOfLink
    if derivedNetworks.contains(DerivedAddress.linkLocalNetwork), peersByKey.count == 1,
      let peer = peersByKey.values.first
    {
      if allowedIPs.owner(of: groups) == nil { give(groups, to: peer, from: .file) }
      onlyPeerHasGroups = true
    } else if onlyPeerHasGroups {
      onlyPeerHasGroups = false
      guard !update.peers.contains(where: { $0.allowedIPs.contains(.add(groups)) }),
        let owner = allowedIPs.owner(of: groups).flatMap({ peers[Int($0.peer.slot)] })
      else { return }
      take(groups, from: owner)
    }
  }
}
