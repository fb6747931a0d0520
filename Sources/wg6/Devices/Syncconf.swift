import ArgumentParser
import WG6Config
import WG6Crypto
import WG6Protocol
import WG6Tunnel

struct Syncconf: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes an interface what a file says, sparing sessions.",
    discussion: """
      Like setconf, but peers that the file and the interface have in common keep their sessions.
        wg6 syncconf wgnet wgnet.saved
      """)

  @OptionGroup var target: FileAndInterface

  func run() throws {
    try target.apply(replacing: true) { update in
      guard !update.peers.isEmpty else { return update }
      do {
        return update.sparing(try RemoteDevice(interface: target.interface).status())
      } catch let error as RemoteDevice.Failure {
        throw failure("Unable to retrieve current configuration of interface", error, of: target.interface)
      }
    }
  }
}

extension DeviceUpdate {
  /// The same outcome without removing peers that stay: those that go are named one by one, and those that stay lose
  /// what the file does not give them.
  fileprivate func sparing(_ current: DeviceStatus) -> DeviceUpdate {
    guard !current.peers.isEmpty else { return self }
    var update = self
    update.replacesPeers = false
    let wanted = Swift.Set(peers.map(\.publicKey))
    let present = Dictionary(current.peers.map { ($0.publicKey, $0) }) { first, _ in first }
    for index in update.peers.indices {
      guard let peer = present[update.peers[index].publicKey] else { continue }
      if peer.presharedKey != nil, case .keep = update.peers[index].presharedKey {
        update.peers[index].presharedKey = .remove
      }
      if peer.persistentKeepalive != 0, update.peers[index].persistentKeepalive == nil {
        update.peers[index].persistentKeepalive = 0
      }
    }
    let removals = current.peers.filter { !wanted.contains($0.publicKey) }.map { peer in
      var change = PeerUpdate(peer.publicKey)
      change.removes = true
      return change
    }
    update.peers = removals + update.peers
    return update
  }
}
