import WG6Crypto

/// A change to a device: what a `set` request, `wg6 set`, `setconf` or a configuration file asks for.
///
/// Everything optional means "as it was". Applied as a whole or not at all.
public struct DeviceUpdate: Sendable {
  public var privateKey: KeyChange<PrivateKey> = .keep
  /// 0 asks for a random port.
  public var listenPort: UInt16?
  /// 0 takes the mark away.
  public var firewallMark: UInt32?
  /// Whether peers get multicast that do not choose for themselves.
  public var multicast: Bool?
  /// In which networks, by the first 64 bits of their addresses, each peer has the address that follows from its key among its
  /// allowed IPs (`DerivedAddress`), also one that is added later.
  public var derivedNetworks: [UInt64]?
  public var routeSync: RouteSyncSettings?
  /// Seconds that a peer with a persistent keepalive may be silent; 0 turns it off.
  public var deadAfter: UInt16?
  /// What the allowed IPs of `peers` come from: `.set` or `.file`.
  public var origin = AllowedIPOrigin.set
  /// Remove every peer before `peers` are applied.
  public var replacesPeers = false
  /// In order; one peer may occur more than once.
  public var peers: [PeerUpdate] = []

  public init() {}
}

/// Where an allowed IP came from.
public enum AllowedIPOrigin: UInt8, Sendable {
  /// A request of the control socket.
  case set
  /// The tunnel's file.
  case file
  /// A route of the machine.
  case route
}

/// Whether routes of the machine that have a peer as gateway become allowed IPs of that peer, and which.
public struct RouteSyncSettings: Hashable, Sendable {
  public var isOn: Bool
  /// Only routes to prefixes inside one of these; all where there are none.
  public var filter: [IPPrefix]

  public init(isOn: Bool = false, filter: [IPPrefix] = []) {
    self.isOn = isOn
    self.filter = filter
  }
}

/// A route of the machine that leads through the interface to a gateway.
public struct GatewayRoute: Hashable, Sendable {
  public var prefix: IPPrefix
  public var gateway: IPAddress

  public init(_ prefix: IPPrefix, via gateway: IPAddress) {
    self.prefix = prefix
    self.gateway = gateway
  }
}

/// What becomes of a key.
public enum KeyChange<Key: Sendable>: Sendable {
  case keep
  case remove
  case set(Key)
}

/// A change to one peer.
public struct PeerUpdate: Sendable {
  public let publicKey: PublicKey
  /// Remove the peer; nothing else of this update counts.
  public var removes = false
  /// Do nothing where the peer does not exist yet.
  public var updatesOnly = false
  public var presharedKey: KeyChange<PresharedKey> = .keep
  public var endpoint: Endpoint?
  /// Seconds; 0 turns it off.
  public var persistentKeepalive: UInt16?
  public var multicast: MulticastChoice?
  /// Start a handshake although nothing waits for one, unless one is under way or there is a session.
  public var startsHandshake = false
  /// Remove the peer's allowed IPs before `allowedIPs` are applied.
  public var replacesAllowedIPs = false
  /// In order.
  public var allowedIPs: [AllowedIPChange] = []

  public init(_ publicKey: PublicKey) {
    self.publicKey = publicKey
  }
}

/// Whether a peer gets a copy of each multicast packet.
public enum MulticastChoice: Hashable, Sendable {
  /// If the device's own setting says so.
  case asDevice
  case on
  case off
}

/// A prefix that a peer gets, taking it from any other, or loses.
public enum AllowedIPChange: Hashable, Sendable {
  case add(IPPrefix)
  case remove(IPPrefix)
}

/// What a device says of itself: the answer to a `get` request.
public struct DeviceStatus: Sendable {
  public var privateKey: PrivateKey?
  public var publicKey: PublicKey?
  /// 0 while no socket is bound.
  public var listenPort: UInt16
  public var firewallMark: UInt32
  /// Whether peers get multicast that do not choose for themselves.
  public var multicast = false
  public var routeSync = RouteSyncSettings()
  /// Seconds; 0 is off.
  public var deadAfter: UInt16 = 0
  /// In the order in which they were added.
  public var peers: [PeerStatus]
  /// What was dropped, whoever's it was; those of the peers are among them.
  public var drops = DropCounts()
  /// Bytes of the memory for keys that the daemon could not lock, so that they may be swapped out.
  public var unlockedKeyBytes: UInt64 = 0

  public init(
    privateKey: PrivateKey? = nil, publicKey: PublicKey? = nil, listenPort: UInt16 = 0, firewallMark: UInt32 = 0,
    peers: [PeerStatus] = []
  ) {
    self.privateKey = privateKey
    self.publicKey = publicKey
    self.listenPort = listenPort
    self.firewallMark = firewallMark
    self.peers = peers
  }
}

/// What a device says of one peer.
public struct PeerStatus: Sendable {
  public var publicKey: PublicKey
  public var presharedKey: PresharedKey?
  public var endpoint: Endpoint?
  /// Nanoseconds since 1970 of the last handshake that completed; `nil` before the first.
  public var lastHandshake: UInt64?
  /// Bytes of UDP payload, handshakes and keepalives included.
  public var transmittedBytes: UInt64 = 0
  public var receivedBytes: UInt64 = 0
  /// Seconds; 0 is off.
  public var persistentKeepalive: UInt16 = 0
  public var multicast = MulticastChoice.asDevice
  /// In the order in which they were added.
  public var allowedIPs: [IPPrefix] = []
  /// Of each allowed IP, if the device syncs routes; otherwise empty.
  public var origins: [AllowedIPOrigin] = []
  /// Whether nothing came from the peer for as long as `DeviceStatus.deadAfter`.
  public var isSilent = false
  /// What was dropped of what came from this peer, or was to go to it.
  public var drops = DropCounts()

  public init(publicKey: PublicKey) {
    self.publicKey = publicKey
  }
}

extension PeerStatus {
  /// The allowed IPs that no route has given.
  public var configuredIPs: [IPPrefix] {
    guard origins.count == allowedIPs.count else { return allowedIPs }
    return zip(allowedIPs, origins).filter { $0.1 != .route }.map(\.0)
  }
}
