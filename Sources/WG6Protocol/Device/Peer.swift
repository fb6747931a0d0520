import WG6Crypto

/// The control path's half of a peer: who it is, its sessions, and what is being done about it.
final class Peer {
  let publicKey: PublicKey
  /// The half that the data threads see.
  let reference: PeerReference
  /// Grows with every peer added: the order in which peers are listed.
  let order: UInt64

  /// The shared secret of both static keys; `nil` without a private key, or where the peer's key is of low order.
  var staticStatic: Secret?
  var presharedKey: PresharedKey?
  var persistentKeepalive: UInt16 = 0
  var prefixes = PeerPrefixes()
  var multicast = MulticastChoice.asDevice
  /// Of the addresses that follow from its key; `nil` as long as the device derives none.
  var interfaceIdentifier: UInt64?

  // Handshakes.
  let start: SymmetricState
  var cookies: CookieJar
  /// The initiation that waits for an answer, under its sender index.
  var initiation: PendingInitiation?
  var initiationSentAt: Nanoseconds?
  /// Tries since something last asked for a handshake.
  var attempts = 0
  /// Of the last initiation to the peer.
  var lastTimestamp: TAI64N?
  /// Of the newest initiation from it.
  var newestTimestamp: TAI64N?
  var initiationAcceptedAt: Nanoseconds?
  /// Nanoseconds since 1970.
  var lastHandshake: Nanoseconds?

  // Silence (`DeadAfter`): what had come from the peer when the watch last looked, and when it was last seen to grow.
  var heardBytes: UInt64 = 0
  var heardAt: Nanoseconds = 0
  var lookedAt: Nanoseconds = 0
  var isSilent = false

  // Sessions: what was, what is, and what a responder may not use before it hears under it.
  var previous: KeypairReference?
  var current: KeypairReference?
  var next: KeypairReference?

  var timers = PeerTimers()

  init(_ publicKey: PublicKey, reference: PeerReference, order: UInt64) {
    self.publicKey = publicKey
    self.reference = reference
    self.order = order
    start = NoiseIK.start(responder: publicKey)
    cookies = CookieJar(for: publicKey)
  }

  /// The preshared key's 32 bytes, zeroes where there is none.
  func withPresharedKey<Result: ~Copyable>(_ body: (RawSpan) -> Result) -> Result {
    guard let presharedKey else { return InlineArray<32, UInt8>(repeating: 0).withBytes(body) }
    return presharedKey.secret.withBytes(body)
  }
}

/// An initiation on its way, and the sender index that its answer will name.
final class PendingInitiation {
  let index: UInt32
  let noise: NoiseIK.Initiator

  init(index: UInt32, noise: consuming NoiseIK.Initiator) {
    self.index = index
    self.noise = noise
  }
}

/// A peer's prefixes in the order they were given. A prefix that has since gone to another peer, or away, is left in
/// place until so many are stale that it pays to sweep: the trie knows which giving is in force.
struct PeerPrefixes {
  private var given: [(prefix: IPPrefix, stamp: UInt32)] = []
  private var stale = 0

  mutating func append(_ prefix: IPPrefix, stamp: UInt32) {
    given.append((prefix, stamp))
  }

  /// One of these is no longer in force.
  mutating func lost(one peer: PeerReference, in allowedIPs: borrowing AllowedIPs) {
    stale += 1
    guard stale > 32, stale * 2 > given.count else { return }
    var kept: [(prefix: IPPrefix, stamp: UInt32)] = []
    for entry in given where PeerPrefixes.isInForce(entry, peer, allowedIPs) { kept.append(entry) }
    given = kept
    stale = 0
  }

  /// Those in force.
  func list(of peer: PeerReference, in allowedIPs: borrowing AllowedIPs) -> [IPPrefix] {
    var prefixes: [IPPrefix] = []
    prefixes.reserveCapacity(given.count - stale)
    for entry in given where PeerPrefixes.isInForce(entry, peer, allowedIPs) { prefixes.append(entry.prefix) }
    return prefixes
  }

  /// Where each of those in force came from, in the order of `list`.
  func origins(of peer: PeerReference, in allowedIPs: borrowing AllowedIPs) -> [AllowedIPOrigin] {
    var origins: [AllowedIPOrigin] = []
    for entry in given where PeerPrefixes.isInForce(entry, peer, allowedIPs) {
      origins.append(allowedIPs.owner(of: entry.prefix)!.origin)
    }
    return origins
  }

  /// Forgets all but those that routes have given, and returns those of them that are in force.
  mutating func takeConfigured(of peer: PeerReference, in allowedIPs: borrowing AllowedIPs) -> [IPPrefix] {
    var taken: [IPPrefix] = []
    var kept: [(prefix: IPPrefix, stamp: UInt32)] = []
    for entry in given where PeerPrefixes.isInForce(entry, peer, allowedIPs) {
      if allowedIPs.owner(of: entry.prefix)!.origin == .route { kept.append(entry) } else { taken.append(entry.prefix) }
    }
    given = kept
    stale = 0
    return taken
  }

  private static func isInForce(
    _ entry: (prefix: IPPrefix, stamp: UInt32), _ peer: PeerReference, _ allowedIPs: borrowing AllowedIPs
  ) -> Bool {
    guard let owner = allowedIPs.owner(of: entry.prefix) else { return false }
    return owner.peer == peer && owner.stamp == entry.stamp
  }
}

extension InlineArray where Element == UInt8 {
  fileprivate func withBytes<Result: ~Copyable>(_ body: (RawSpan) -> Result) -> Result {
    unsafe body(span.bytes)
  }
}
