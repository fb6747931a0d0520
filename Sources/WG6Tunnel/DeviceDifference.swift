import WG6Config
import WG6Crypto
import WG6Protocol

/// What has to be told a device so that it becomes what a file says, and nothing more: who stays as he was keeps his
/// session, and an endpoint that roamed stays where it is.
struct DeviceDifference {
  private(set) var update = DeviceUpdate()
  /// What it changes, a line each, for people.
  private(set) var lines: [String] = []
  private var formerMark: UInt32 = 0
  /// Of the peers in `update`, by their keys: what people call them, and what is changed of those that there were.
  private var details: [PublicKey: (name: String, words: [String])] = [:]
  /// Whether the device has not been told yet that its allowed IPs are the file's.
  private var tellsOrigins = false

  var isEmpty: Bool { lines.isEmpty }

  /// A peer as the file has it in the end, after all its sections.
  private struct Wanted {
    var presharedKey: PresharedKey?
    var endpoint: Endpoint?
    var persistentKeepalive: UInt16 = 0
    var multicast = MulticastChoice.asDevice
    var allowedIPs: Set<IPPrefix> = []
  }

  /// - Parameters:
  ///   - wanted: what the file asks for.
  ///   - status: what the device says.
  ///   - movedEndpoints: peers whose endpoint the file writes otherwise than before.
  ///   - name: what people call a peer.
  init(
    from status: DeviceStatus, to wanted: DeviceUpdate, movedEndpoints: Set<PublicKey>, name: (PublicKey) -> String
  ) {
    compareDevice(status, wanted)
    let (order, peers) = DeviceDifference.outcome(of: wanted.peers)
    let present = Dictionary(status.peers.map { ($0.publicKey, $0) }) { first, _ in first }
    for peer in status.peers where peers[peer.publicKey] == nil {
      var change = PeerUpdate(peer.publicKey)
      change.removes = true
      update.peers.append(change)
      lines.append("- peer \(name(peer.publicKey))")
    }
    for key in order {
      guard let peer = peers[key] else { continue }
      if let current = present[key] {
        compare(current, peer, moved: movedEndpoints.contains(key), name(key))
      } else {
        add(key, peer, name(key))
      }
    }
  }

  private mutating func compareDevice(_ status: DeviceStatus, _ wanted: DeviceUpdate) {
    switch wanted.privateKey {
    case .set(let key) where key.publicKey != status.publicKey:
      update.privateKey = wanted.privateKey
      lines.append("private key, and with it the public key \(key.publicKey)")
    case .remove where status.privateKey != nil:
      update.privateKey = .remove
      lines.append("- private key")
    default: break
    }
    // Without one in the file any port is as good as the one that it has.
    if let port = wanted.listenPort, port != 0, port != status.listenPort {
      update.listenPort = port
      lines.append("port \(status.listenPort) → \(port)")
    }
    let multicast = wanted.multicast ?? false
    if multicast != status.multicast {
      update.multicast = multicast
      lines.append("multicast \(multicast ? "on" : "off")")
    }
    let routeSync = wanted.routeSync ?? RouteSyncSettings()
    if routeSync != status.routeSync {
      update.routeSync = routeSync
      let filter = routeSync.filter.map(\.description).joined(separator: ", ")
      lines.append("route sync \(routeSync.isOn ? "on" : "off")\(filter.isEmpty ? "" : ", \(filter)")")
    }
    update.origin = wanted.origin
    tellsOrigins = routeSync.isOn && !status.routeSync.isOn
    let deadAfter = wanted.deadAfter ?? 0
    if deadAfter != status.deadAfter {
      update.deadAfter = deadAfter
      lines.append("dead after \(deadAfter == 0 ? "off" : "\(deadAfter) s")")
    }
    formerMark = status.firewallMark
    if let mark = wanted.firewallMark, mark != status.firewallMark {
      update.firewallMark = mark
      lines.append("mark \(status.firewallMark) → \(mark)")
    }
  }

  /// The change of the mark alone, taken out of the rest, for it has its place among rules and filters; `nil` where the
  /// mark stays.
  mutating func takeMark() -> (former: UInt32, new: UInt32, difference: DeviceDifference)? {
    guard let mark = update.firewallMark, let line = lines.firstIndex(where: { $0.hasPrefix("mark ") }) else {
      return nil
    }
    var part = DeviceDifference()
    part.update.firewallMark = mark
    part.lines = [lines.remove(at: line)]
    update.firewallMark = nil
    return (formerMark, mark, part)
  }

  /// The endpoints of peers that lie `inside`, taken out of the rest: the ways to them have to be made first. `nil` where there
  /// are none.
  mutating func takeEndpoints(where isInside: (IPAddress) -> Bool) -> DeviceDifference? {
    var part = DeviceDifference()
    for index in update.peers.indices.reversed() {
      let peer = update.peers[index]
      guard let endpoint = peer.endpoint, isInside(endpoint.address), var detail = details[peer.publicKey] else {
        continue
      }
      let line = DeviceDifference.line(detail), text = "endpoint \(endpoint.displayText)"
      var move = PeerUpdate(peer.publicKey)
      move.endpoint = endpoint
      part.update.peers.insert(move, at: 0)
      part.lines.insert(DeviceDifference.line((detail.name, [text])), at: 0)
      update.peers[index].endpoint = nil
      // A new peer has no words, and stays without its endpoint for now.
      guard let place = detail.words.firstIndex(of: text), let number = lines.firstIndex(of: line) else { continue }
      detail.words.remove(at: place)
      details[peer.publicKey] = detail
      if detail.words.isEmpty {
        update.peers.remove(at: index)
        lines.remove(at: number)
      } else {
        lines[number] = DeviceDifference.line(detail)
      }
    }
    return part.isEmpty ? nil : part
  }

  private static func line(_ detail: (name: String, words: [String])) -> String {
    "peer \(detail.name): \(detail.words.joined(separator: ", "))"
  }

  private init() {}

  /// What each peer has after all updates, in the order of their first.
  private static func outcome(of updates: [PeerUpdate]) -> ([PublicKey], [PublicKey: Wanted]) {
    var order: [PublicKey] = []
    var peers: [PublicKey: Wanted] = [:]
    var owners: [IPPrefix: PublicKey] = [:]
    for change in updates {
      let key = change.publicKey
      if peers[key] == nil { order.append(key) }
      var peer = peers[key] ?? Wanted()
      switch change.presharedKey {
      case .keep: break
      case .remove: peer.presharedKey = nil
      case .set(let secret): peer.presharedKey = secret
      }
      if let endpoint = change.endpoint { peer.endpoint = endpoint }
      if let seconds = change.persistentKeepalive { peer.persistentKeepalive = seconds }
      if let multicast = change.multicast { peer.multicast = multicast }
      if change.replacesAllowedIPs {
        for prefix in peer.allowedIPs { owners[prefix] = nil }
        peer.allowedIPs = []
      }
      for step in change.allowedIPs {
        switch step {
        case .add(let prefix):
          if let owner = owners.updateValue(key, forKey: prefix), owner != key {
            peers[owner]!.allowedIPs.remove(prefix)
          }
          peer.allowedIPs.insert(prefix)
        case .remove(let prefix):
          if peer.allowedIPs.remove(prefix) != nil { owners[prefix] = nil }
        }
      }
      peers[key] = peer
    }
    return (order, peers)
  }

  private mutating func add(_ key: PublicKey, _ peer: Wanted, _ name: String) {
    var change = PeerUpdate(key)
    change.presharedKey = peer.presharedKey.map { .set($0) } ?? .keep
    change.endpoint = peer.endpoint
    change.persistentKeepalive = peer.persistentKeepalive
    if peer.multicast != .asDevice { change.multicast = peer.multicast }
    change.replacesAllowedIPs = true
    change.allowedIPs = peer.allowedIPs.sorted().map { .add($0) }
    update.peers.append(change)
    details[key] = (name, [])
    lines.append("+ peer \(name)")
  }

  private mutating func compare(_ current: PeerStatus, _ peer: Wanted, moved: Bool, _ name: String) {
    var change = PeerUpdate(current.publicKey)
    var words: [String] = []
    switch (current.presharedKey, peer.presharedKey) {
    case (nil, let secret?):
      change.presharedKey = .set(secret)
      words.append("a preshared key")
    case (_?, nil):
      change.presharedKey = .remove
      words.append("no preshared key")
    case (let old?, let new?) where !(old.secret == new.secret):
      change.presharedKey = .set(new)
      words.append("another preshared key")
    default: break
    }
    if let endpoint = peer.endpoint, endpoint != current.endpoint, moved || current.endpoint == nil {
      change.endpoint = endpoint
      words.append("endpoint \(endpoint.displayText)")
    }
    if peer.persistentKeepalive != current.persistentKeepalive {
      change.persistentKeepalive = peer.persistentKeepalive
      words.append(peer.persistentKeepalive == 0 ? "no keepalive" : "keepalive \(peer.persistentKeepalive) s")
    }
    if peer.multicast != current.multicast {
      change.multicast = peer.multicast
      switch peer.multicast {
      case .asDevice: words.append("multicast as the interface says")
      case .on: words.append("multicast on")
      case .off: words.append("multicast off")
      }
    }
    let old = Set(current.configuredIPs)
    let added = peer.allowedIPs.subtracting(old).sorted()
    let removed = old.subtracting(peer.allowedIPs).sorted()
    if !added.isEmpty || !removed.isEmpty || tellsOrigins {
      // All at once: a packet sees the old ones or the new ones, never some of each.
      change.replacesAllowedIPs = true
      change.allowedIPs = peer.allowedIPs.sorted().map { .add($0) }
      words += removed.map { "-\($0)" } + added.map { "+\($0)" }
    }
    guard !words.isEmpty || tellsOrigins else { return }
    update.peers.append(change)
    guard !words.isEmpty else { return }
    details[current.publicKey] = (name, words)
    lines.append(DeviceDifference.line((name, words)))
  }
}
