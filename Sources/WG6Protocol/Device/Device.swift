import WG6Crypto

/// A WireGuard device without sockets, threads or clocks: events go in, with the instant at which they happened; actions
/// come out, in order, for the caller to carry out.
///
/// This is the control path, and has one owner. The data path is `Outbound` and `Inbound` over the same `plane`; they
/// may run in other threads. After every call, drain `takeActions()` and look at `nextWake`.
public final class Device {
  /// What the data threads work on.
  public let plane: DataPlane

  var random: DeviceRandom
  var identity: Identity?
  var isUp = false

  var peers: [Peer?] = []
  var freeSlots: [UInt32] = []
  var peersByKey: [PublicKey: Peer] = [:]
  var nextOrder: UInt64 = 0
  /// Whether peers get multicast that do not choose for themselves.
  var multicast = false
  /// Whether the published receivers of multicast are to be made anew.
  var multicastIsDue = false
  var receivers: MulticastReceivers?
  public internal(set) var routeSync = RouteSyncSettings()
  var gatewayRoutes: [GatewayRoute] = []
  /// Prefixes that routes have given, as of the last time that routes were followed.
  var syncedPrefixes: Set<IPPrefix> = []
  public internal(set) var routeSyncOutcome = RouteSyncOutcome()
  /// Seconds; 0 is off.
  var deadAfter: UInt16 = 0

  /// In which networks peers have addresses that follow from their keys; see `derive`.
  var derivedNetworks: [UInt64] = []
  /// Whose these addresses are, by interface identifier; empty without such networks.
  var derivedOwners: [UInt64: PublicKey] = [:]
  /// Whether the only peer has the groups of the link for being the only one.
  var onlyPeerHasGroups = false

  var allowedIPs = AllowedIPs()
  var indexAllocator = IndexAllocator()
  /// Whose each sender index in use is.
  var indexOwners: [UInt32: Peer] = [:]

  var deadlines = DeadlineQueue()
  var load = HandshakeLoad()
  var limiter = SourceLimiter()
  /// How often it is found out whom a refusal concerns.
  var refusals = TokenBucket()
  /// The latest time of day that a timestamp was made from: it never goes back, whatever the clock does.
  var latestTimestamp = TAI64N(wall: 0)
  var retired: [(stamp: UInt64, what: Retired)] = []
  var actions: [Action] = []
  /// Peers that the update under way has removed, and that data threads still see until it is published.
  var removed: [PeerReference] = []

  /// What those who record the tunnel need; nil unless one asks for it.
  var keyLog: KeyLog?

  /// The counter that new sessions start with; anything but 0 is for tests of the limits.
  package var firstCounter: UInt64 = 0

  /// Our own keys, and what is derived from them once.
  final class Identity {
    let privateKey: PrivateKey
    let publicKey: PublicKey
    var cookies: CookieChecker
    let start: SymmetricState

    init(_ privateKey: PrivateKey, publicKey: PublicKey) {
      self.privateKey = privateKey
      self.publicKey = publicKey
      cookies = CookieChecker(for: publicKey)
      start = NoiseIK.start(responder: publicKey)
    }
  }

  /// What may still be looked at by a data thread, and is to be freed when it can't be any more.
  enum Retired {
    case keypair(KeypairReference)
    case nodes(AllowedIPs.Replaced)
    case peer(PeerReference)
    case receivers(MulticastReceivers)
    case capture(CaptureReference)
  }

  /// A device without a key, without peers, down.
  ///
  /// - Parameter random: where every key, index, nonce and jitter comes from. The same seed and the same events give the
  ///   same actions; only the system's generator is fit for use.
  public init(using random: any RandomNumberGenerator) {
    self.random = DeviceRandom(base: random)
    plane = DataPlane(using: &self.random)
  }

  deinit {
    // Nobody looks any more: the caller has ended the data threads.
    plane.captures.destroyAll()
    for case let peer? in peers {
      for keypair in [peer.previous, peer.current, peer.next] { keypair?.destroy() }
      peer.reference.destroy()
    }
    for entry in retired {
      switch entry.what {
      case .keypair(let keypair): keypair.destroy()
      case .peer(let peer): peer.destroy()
      case .receivers(let receivers): receivers.destroy()
      case .capture(let capture): capture.destroy()
      case .nodes: break
      }
    }
    receivers?.destroy()
  }

  // MARK: What to do

  /// Something for the caller to do.
  public enum Action: Sendable {
    /// Send `message` along `path`; count it with `peer.sent` where it is a peer's and the network took it.
    ///
    /// Before anything of a peer's goes along a path that is not reviewed, find out where it leaves the machine, as with a
    /// train.
    case send(ControlMessage, PackedPath, peer: PeerReference?)
    /// Wake the outbound thread for `Outbound.flushStaged`.
    case wakeOutbound
    /// A peer has fallen silent, or is heard again (`silence`, `isSilent(gateway:)`).
    case silenceChanged
    /// Something that a log may want to tell, at debug level.
    case report(Report)
  }

  /// What has happened to a peer.
  public enum Report: Sendable, Equatable {
    case initiationSent(PublicKey, attempt: Int)
    case responseSent(PublicKey)
    case sessionEstablished(PublicKey, asInitiator: Bool)
    case handshakeGivenUp(PublicKey)
    case keepaliveSent(PublicKey)
    case keysZeroed(PublicKey)
    case peerSilent(PublicKey)
    case peerHeard(PublicKey)
    case endpointMoved(PublicKey, Endpoint)
    case endpointUnreachable(PublicKey, Endpoint)
    case messageDropped(DropReason, from: Endpoint?)
  }

  /// The actions since the last time, in the order to do them in.
  public func takeActions() -> [Action] {
    guard !actions.isEmpty else { return [] }
    defer { actions.removeAll(keepingCapacity: true) }
    return actions
  }

  /// When `advance` wants to be called at the latest; `nil` while nothing is due.
  public func nextWake(now: Nanoseconds) -> Nanoseconds? {
    let reclaiming = retired.isEmpty ? nil : now + 2 * Limits.millisecond
    guard let first = deadlines.first else { return reclaiming }
    return reclaiming.map { min($0, first) } ?? first
  }

  // MARK: What happens

  /// A message that is not data came in.
  ///
  /// - Parameter fill: how full the queue is that such messages wait in, 0 to 1; from an eighth on, and for a second
  ///   after, the device counts as under load.
  public func handle(_ message: ControlMessage, from path: PackedPath, fill: Double = 0, now: Now) {
    defer { reclaim() }
    guard isUp else { return }
    if let drop = receive(message, from: path, isLoaded: load.isHigh(fill: fill, now: now.monotonic), now: now) {
      plane.drop(drop.reason, of: drop.peer)
      actions.append(.report(.messageDropped(drop.reason, from: path.endpoint)))
    }
  }

  /// The data threads have something to tell: call when one of them says so.
  public func handleEvents(now: Now) {
    defer { reclaim() }
    plane.events.takeAll { reference, events in
      guard let peer = peers[Int(reference.slot)], peer.reference == reference, isUp else { return }
      handle(events, of: peer, now: now)
      schedule(peer)
    }
  }

  /// Time has passed: fires every timer that is due.
  public func advance(now: Now) {
    defer { reclaim() }
    while let slot = deadlines.popExpired(at: now.monotonic) {
      guard let peer = peers[Int(slot)] else { continue }
      while let timer = peer.timers.takeExpired(at: now.monotonic) { fire(timer, of: peer, now: now) }
      schedule(peer)
    }
  }

  /// The interface came up: handshakes start with the peers that have a persistent keepalive.
  public func comeUp(now: Now) {
    guard !isUp else { return }
    isUp = true
    for case let peer? in peers {
      startKeepalive(peer, now: now)
      watchSilence(of: peer, now: now)
      schedule(peer)
    }
  }

  /// The interface went down: sessions end, timers stop, what was staged is dropped.
  public func goDown() {
    guard isUp else { return }
    isUp = false
    for case let peer? in peers {
      endSessions(of: peer)
      discardStaged(peer)
      peer.timers.stopAll()
      endSilence(of: peer)
      peer.initiationSentAt = nil
      schedule(peer)
    }
    followRoutes()
    publishAllowedIPs()
    reclaim()
  }

  /// The network says that a datagram sent along `path` did not arrive. Anyone could have said so: it is counted and
  /// reported, for the peer that lives there where there is one, and nothing else comes of it.
  public func refused(_ path: PackedPath, now: Now) {
    // A look at every peer, so not more often than news of real trouble comes.
    guard refusals.take(at: now.monotonic, interval: 50 * Limits.millisecond, burst: Limits.second),
      let peer = peers.first(where: { $0?.reference.path.hasSameRemote(as: path) == true }) ?? nil
    else { return plane.drop(.endpointUnreachable) }
    plane.drop(.endpointUnreachable, of: peer.reference)
    if let endpoint = path.endpoint { actions.append(.report(.endpointUnreachable(peer.publicKey, endpoint))) }
  }

  /// Where datagrams along a path leave the machine.
  public struct Way: Equatable, Sendable {
    /// The index of the interface.
    public var interface: UInt32
    /// The interface's MTU in bytes where it is another tunnel's.
    public var tunnelMTU: Int?

    public init(interface: UInt32, tunnelMTU: Int? = nil) {
      self.interface = interface
      self.tunnelMTU = tunnelMTU
    }
  }

  /// The machine's addresses or routes have changed, and with them the ways to the peers.
  ///
  /// A local address that datagrams would no longer leave with by the interface that it was learnt at is forgotten, and
  /// the kernel chooses anew. What the peer sends next may teach it again: the answer goes out from where the peer has
  /// written to.
  ///
  /// Packets that would be too long for another tunnel are refused: they would go into that in pieces. Where tunnels lead
  /// through each other in a circle, what goes round grows each time, and pieces would multiply it where its length
  /// should end it. A path that changes between two changes of routes is reviewed by the caller before the first datagram
  /// goes along it (`PackedPath.isReviewed`).
  ///
  /// - Parameter way: the way that a path leads; nil where there is none.
  public func routesChanged(way: (PackedPath) -> Way?) {
    for case let peer? in peers {
      var path = peer.reference.path
      guard path.isKnown else { continue }
      var ahead = way(path)
      if path.hasSource, ahead?.interface != path.sourceInterface {
        peer.reference.forgetSource(of: path)
        path = path.withoutSource
        ahead = way(path)
      }
      peer.reference.review(path, tunnelMTU: ahead?.tunnelMTU)
    }
  }

  // MARK: Shared by the parts of the control path

  func schedule(_ peer: Peer) {
    deadlines.set(peer.timers.earliest, for: peer.reference.slot)
  }

  func retire(_ what: Retired) {
    retired.append((plane.quiescence.retire(), what))
  }

  /// Frees what nobody can be looking at any more.
  func reclaim() {
    guard !retired.isEmpty else { return }
    let safe = plane.quiescence.safeStamp
    retired.removeAll { entry in
      guard entry.stamp < safe else { return false }
      switch entry.what {
      case .keypair(let keypair):
        indexAllocator.release(keypair.localIndex, in: plane.indices)
        keypair.destroy()
      case .nodes(let nodes):
        allowedIPs.reclaim(nodes)
      case .receivers(let receivers):
        receivers.destroy()
      case .peer(let peer):
        // Packets may have been staged up to the quiescent point, and events told: both threads must let go first.
        guard !peer.isBusy else {
          peer.discardStaged()
          actions.append(.wakeOutbound)
          return false
        }
        freeSlots.append(peer.slot)
        peer.destroy()
      case .capture(let capture): capture.destroy()
      }
      return true
    }
  }
}

/// A generator behind an existential: the control path can afford the detour.
struct DeviceRandom: RandomNumberGenerator {
  var base: any RandomNumberGenerator

  mutating func next() -> UInt64 { base.next() }
}
