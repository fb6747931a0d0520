import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

/// SplitMix64: the same seed, the same test.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  let seed: UInt64

  init() {
    self.init(seed: UInt64.random(in: 0...UInt64.max))
  }

  init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

extension SeededRandom {
  mutating func address() -> IPAddress {
    if Bool.random(using: &self) { return .v4(UInt32.random(in: 0...UInt32.max, using: &self)) }
    // Runs of zeroes are where the text gets interesting.
    var groups = (0..<8).map { _ in UInt64(UInt16.random(in: 0...UInt16.max, using: &self)) }
    for index in 0..<8 where Int.random(in: 0..<3, using: &self) > 0 { groups[index] = 0 }
    if Int.random(in: 0..<8, using: &self) == 0 { groups = [0, 0, 0, 0, 0, 0xFFFF] + groups.suffix(2) }
    if Int.random(in: 0..<8, using: &self) == 0 { groups = [0, 0, 0, 0, 0, 0] + groups.suffix(2) }
    return .v6(high: groups[..<4].reduce(0) { $0 << 16 | $1 }, low: groups[4...].reduce(0) { $0 << 16 | $1 })
  }

  mutating func prefix() -> IPPrefix {
    let address = address()
    return IPPrefix(address, length: Int.random(in: 0...address.bitWidth, using: &self))
  }

  mutating func endpoint() -> Endpoint {
    let port = UInt16.random(in: 1...65535, using: &self)
    if Int.random(in: 0..<4, using: &self) == 0 {
      let zone = UInt32.random(in: 1...1000, using: &self)
      return Endpoint(address: .v6(high: 0xFE80 << 48, low: next()), port: port, zone: zone)
    }
    return Endpoint(address: address(), port: port)
  }

  mutating func publicKey() -> PublicKey {
    let words = (0..<4).map { _ in next() }
    return PublicKey(InlineArray { UInt8(truncatingIfNeeded: words[$0 / 8] >> UInt64($0 % 8 * 8)) })
  }

  mutating func maybe<Value>(_ value: (inout SeededRandom) -> Value) -> Value? {
    Bool.random(using: &self) ? value(&self) : nil
  }

  mutating func update() -> DeviceUpdate {
    var update = DeviceUpdate()
    update.privateKey = keyChange { PrivateKey(using: &$0) }
    update.listenPort = maybe { UInt16.random(in: 0...65535, using: &$0) }
    update.firewallMark = maybe { UInt32.random(in: 0...UInt32.max, using: &$0) }
    update.multicast = maybe { Bool.random(using: &$0) }
    update.derivedNetworks = maybe { random in
      (0..<UInt64.random(in: 0...3, using: &random)).map { 0xFD << 56 | $0 << 16 }
    }
    update.routeSync = maybe {
      let isOn = Bool.random(using: &$0)
      var filter: [IPPrefix] = []
      for _ in 0..<Int.random(in: 0...2, using: &$0) { filter.append($0.prefix()) }
      return RouteSyncSettings(isOn: isOn, filter: filter)
    }
    update.deadAfter = maybe { UInt16.random(in: 0...3600, using: &$0) }
    update.origin = Bool.random(using: &self) ? .set : .file
    update.replacesPeers = Bool.random(using: &self)
    for _ in 0..<Int.random(in: 0...5, using: &self) {
      var peer = PeerUpdate(publicKey())
      peer.updatesOnly = Bool.random(using: &self)
      peer.removes = Int.random(in: 0..<5, using: &self) == 0
      if !peer.removes {
        peer.presharedKey = keyChange { PresharedKey(using: &$0) }
        peer.endpoint = maybe { $0.endpoint() }
        peer.persistentKeepalive = maybe { UInt16.random(in: 0...65535, using: &$0) }
        peer.multicast = maybe { [.asDevice, .on, .off].randomElement(using: &$0)! }
        peer.startsHandshake = Bool.random(using: &self)
        peer.replacesAllowedIPs = Bool.random(using: &self)
        peer.allowedIPs = (0..<Int.random(in: 0...8, using: &self)).map { _ in
          Bool.random(using: &self) ? .add(prefix()) : .remove(prefix())
        }
      }
      update.peers.append(peer)
    }
    return update
  }

  private mutating func keyChange<Key: Sendable>(_ make: (inout SeededRandom) -> Key) -> KeyChange<Key> {
    switch Int.random(in: 0..<3, using: &self) {
    case 0: .keep
    case 1: .remove
    default: .set(make(&self))
    }
  }

  mutating func status(peers: Int, prefixes: Int) -> DeviceStatus {
    var status = DeviceStatus()
    if let key = maybe({ PrivateKey(using: &$0) }) {
      status.privateKey = key
      status.publicKey = key.publicKey
    }
    status.listenPort = maybe { UInt16.random(in: 1...65535, using: &$0) } ?? 0
    status.firewallMark = maybe { UInt32.random(in: 1...UInt32.max, using: &$0) } ?? 0
    if Bool.random(using: &self) { status.routeSync = RouteSyncSettings(isOn: true, filter: [prefix()]) }
    status.deadAfter = maybe { UInt16.random(in: 1...3600, using: &$0) } ?? 0
    status.multicast = Bool.random(using: &self)
    for _ in 0..<peers {
      var peer = PeerStatus(publicKey: publicKey())
      peer.presharedKey = maybe { PresharedKey(using: &$0) }
      peer.endpoint = maybe { $0.endpoint() }
      peer.lastHandshake = maybe { UInt64.random(in: 1...UInt64(Int64.max), using: &$0) }
      peer.transmittedBytes = next()
      peer.receivedBytes = next()
      peer.persistentKeepalive = maybe { UInt16.random(in: 1...65535, using: &$0) } ?? 0
      peer.multicast = [.asDevice, .on, .off].randomElement(using: &self)!
      peer.allowedIPs = (0..<prefixes).map { _ in prefix() }
      if status.routeSync.isOn {
        peer.origins = peer.allowedIPs.map { _ in [.set, .file, .route].randomElement(using: &self)! }
      }
      peer.isSilent = Bool.random(using: &self)
      status.peers.append(peer)
    }
    return status
  }
}

extension WipedBytes {
  /// For comparing in tests, where nothing is secret.
  var string: String {
    withBytes { $0.string }
  }
}
