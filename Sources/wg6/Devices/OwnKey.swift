import WG6Crypto
import WG6Protocol
import WG6Tunnel

extension DeviceUpdate {
  /// Throws where a peer would have the key of `device` itself. The device would leave that peer out, or remove it, and
  /// say nothing.
  func checkOwnKey(of device: RemoteDevice) throws {
    let added = peers.filter { !$0.removes && !$0.updatesOnly }.map(\.publicKey)
    let own: PublicKey?
    var present: [PublicKey] = []
    switch privateKey {
    case .remove: return
    case .keep where added.isEmpty: return
    case .keep: own = try device.status().publicKey
    case .set(let key):
      own = key.publicKey
      if !replacesPeers { present = try device.status().peers.map(\.publicKey) }
    }
    let gone = peers.filter(\.removes).map(\.publicKey)
    guard let own, added.contains(own) || present.contains(own) && !gone.contains(own) else { return }
    throw failure(
      "\(own) is the public key of \(device.interface) itself. A peer is another machine, with a key of its own")
  }
}
