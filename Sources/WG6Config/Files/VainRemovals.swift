import WG6Crypto
import WG6Protocol

extension DeviceUpdate {
  /// The prefixes with a minus that the peer does not have when it is their turn, where the device was `before`. Such a
  /// minus changes nothing: to leave a part of a prefix out, it is not enough.
  public func vainRemovals(before: DeviceStatus?) -> [(peer: PublicKey, prefix: IPPrefix)] {
    var owners: [IPPrefix: PublicKey] = [:]
    if !replacesPeers {
      for peer in before?.peers ?? [] {
        for prefix in peer.allowedIPs { owners[prefix] = peer.publicKey }
      }
    }
    var vain: [(peer: PublicKey, prefix: IPPrefix)] = []
    for peer in peers {
      if peer.replacesAllowedIPs || peer.removes { owners = owners.filter { $0.value != peer.publicKey } }
      for change in peer.allowedIPs where !peer.removes {
        switch change {
        case .add(let prefix): owners[prefix] = peer.publicKey
        case .remove(let prefix):
          if owners[prefix] == peer.publicKey {
            owners[prefix] = nil
          } else {
            vain.append((peer.publicKey, prefix))
          }
        }
      }
    }
    return vain
  }

  /// Whether `vainRemovals` may find any.
  public var removesAllowedIPs: Bool {
    peers.contains { peer in
      peer.allowedIPs.contains { if case .remove = $0 { true } else { false } }
    }
  }
}
