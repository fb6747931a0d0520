import Synchronization
import WG6Crypto

/// What the data threads know of a peer. Its address is stable while any of them may look at it.
@safe struct PeerState: ~Copyable {
  /// The peer's place in the device's table.
  let slot: UInt32

  /// The keypair that messages go out under, unless `offered` is confirmed; 0 while there is none, and packets are staged.
  let sending = Atomic<UInt>(0)
  /// The keypair of a response that was sent. Messages go out under it from the moment at which it is confirmed.
  let offered = Atomic<UInt>(0)
  let path = PathCell()

  let transmittedBytes = Atomic<UInt64>(0)
  let receivedBytes = Atomic<UInt64>(0)
  let drops = DropCounters()

  /// When an authenticated message was last sent, whatever it carried; 0 before the first.
  let lastSent = Atomic<Nanoseconds>(0)
  /// Since when data is out that nothing came back for.
  let unanswered = Waiting()
  /// Since when data is in that nothing went back for.
  let owedKeepalive = Waiting()

  /// Whether the control path is busy getting a key, so that nobody need ask again.
  let isHandshaking = Atomic<Bool>(false)
  /// When the last handshake was given up; 0 if there is a session since.
  let givenUp = Atomic<Nanoseconds>(0)
  /// What the control path has not been told yet, as `PeerEvent` bits; linked into the event list while not zero.
  let pendingEvents = Atomic<UInt32>(0)
  /// The next peer in the event list, 0 at its end.
  let nextWithEvents = Atomic<UInt>(0)

  /// Set by the control path: the outbound thread shall drop what it staged.
  let discardsStaged = Atomic<Bool>(false)
  /// How many packets the outbound thread holds back; others read it only.
  let stagedCount = Atomic<UInt32>(0)
  /// Whether the outbound thread has the peer on its list of those that packets wait for; others read it only. While it
  /// is set, the thread may come back to the peer at any time, also after a quiescent point.
  let isListed = Atomic<Bool>(false)
  /// The outbound thread's own: apart from what other threads read, so that its writing here excludes nobody there.
  let staged: UnsafeMutablePointer<StagedPackets>

  /// For captures alone.
  let publicKey: PublicKey

  init(slot: UInt32, publicKey: PublicKey) {
    self.slot = slot
    self.publicKey = publicKey
    unsafe staged = .allocate(capacity: 1)
    unsafe staged.initialize(to: StagedPackets())
  }

  deinit {
    unsafe staged.deinitialize(count: 1)
    unsafe staged.deallocate()
  }
}

/// What a data thread has to say to the control path about a peer. Told once for each transition.
struct PeerEvent: OptionSet {
  let rawValue: UInt32
  /// Packets wait, or the key grows old.
  static let handshakeWanted = PeerEvent(rawValue: 1)
  /// The first message came in under a keypair.
  static let keyConfirmed = PeerEvent(rawValue: 2)
  /// `unanswered` has begun, and nobody watches.
  static let unanswered = PeerEvent(rawValue: 4)
  /// `owedKeepalive` has begun, and nobody watches.
  static let keepaliveOwed = PeerEvent(rawValue: 8)
  /// The endpoint moved.
  static let roamed = PeerEvent(rawValue: 16)
}

/// The address of a peer's state.
@safe public struct PeerReference: Equatable, @unchecked Sendable {
  // SAFETY: as for `KeypairReference`.
  let pointer: UnsafeMutablePointer<PeerState>

  public static func == (left: PeerReference, right: PeerReference) -> Bool { unsafe left.pointer == right.pointer }

  static func create(
    slot: UInt32, publicKey: PublicKey = PublicKey(InlineArray(repeating: 0))
  ) -> PeerReference {
    let pointer = UnsafeMutablePointer<PeerState>.allocate(capacity: 1)
    unsafe pointer.initialize(to: PeerState(slot: slot, publicKey: publicKey))
    return unsafe PeerReference(pointer: pointer)
  }

  func destroy() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }

  /// The peer's place in the device's table, for logs and tests.
  public var slot: UInt32 { unsafe pointer.pointee.slot }

  /// The keypair that messages go out under; nil while there is none.
  ///
  /// The first message under an offered keypair confirms it, and its packet may be answered before the control path has
  /// had a turn. That answer must go out under this keypair: the peer may have no other.
  var sending: KeypairReference? {
    // In this order: the control path stores an offered keypair in `sending` before it withdraws the offer.
    if let offered = unsafe KeypairReference(word: pointer.pointee.offered.load(ordering: .acquiring)),
      offered.isConfirmed
    {
      return offered
    }
    return unsafe KeypairReference(word: pointer.pointee.sending.load(ordering: .acquiring))
  }

  /// Makes messages go out under `keypair` from now on. An offered one that is confirmed still goes first.
  func send(under keypair: KeypairReference?) {
    unsafe pointer.pointee.sending.store(KeypairReference.word(of: keypair), ordering: .releasing)
  }

  /// Makes messages go out under `keypair` once it is confirmed; nil withdraws the offer.
  func offer(_ keypair: KeypairReference?) {
    unsafe pointer.pointee.offered.store(KeypairReference.word(of: keypair), ordering: .releasing)
  }

  public var path: PackedPath {
    get { unsafe pointer.pointee.path.load() }
    nonmutating set { unsafe pointer.pointee.path.store(newValue) }
  }

  /// Changes with `path`.
  var pathVersion: UInt64 { unsafe pointer.pointee.path.version }

  /// How long a packet to the peer may be, in bytes, to go whole through another tunnel on the way.
  var longestWhole: Int { unsafe pointer.pointee.path.longestWhole }

  /// Whether a handshake was given up so short a time ago that another tunnel's handshake message is no reason for the next,
  /// if the way to the peer leads through a tunnel. Otherwise two tunnels, each with a peer behind the other, would each
  /// wake the other's handshakes for ever.
  func wasGivenUp(at now: Nanoseconds) -> Bool {
    let givenUp = unsafe pointer.pointee.givenUp.load(ordering: .relaxed)
    return givenUp != 0 && now.since(givenUp) < Limits.handshakePause
  }

  /// Notes where datagrams along `path` leave the machine, unless the peer has moved meanwhile.
  func review(_ path: PackedPath, tunnelMTU: Int?) {
    unsafe pointer.pointee.path.review(path, tunnelMTU: tunnelMTU)
  }

  /// The local address that `path` names has gone: it shall not stick, unless the peer has moved meanwhile.
  public func forgetSource(of path: PackedPath) {
    unsafe pointer.pointee.path.forgetSource(of: path)
  }

  /// `path` was checked or reviewed, and is to be what `newPath` says, unless the peer has moved meanwhile.
  public func replace(_ path: PackedPath, by newPath: PackedPath) {
    unsafe pointer.pointee.path.replace(path, by: newPath)
  }

  /// The local end of the path may be what is wrong with it: the kernel chooses again.
  func forgetSource() { unsafe pointer.pointee.path.forgetSource() }

  /// The outbound thread's own. Read out before it is written through, or that counts as writing to the peer.
  var staged: UnsafeMutablePointer<StagedPackets> { unsafe pointer.pointee.staged }

  var hasStagedPackets: Bool { unsafe pointer.pointee.stagedCount.load(ordering: .acquiring) > 0 }

  /// A message of `byteCount` bytes went out to the peer.
  public func sent(_ byteCount: Int) {
    unsafe pointer.pointee.transmittedBytes.wrappingAdd(UInt64(byteCount), ordering: .relaxed)
  }

  /// An authenticated message of `byteCount` bytes came in.
  func received(_ byteCount: Int) {
    unsafe pointer.pointee.receivedBytes.wrappingAdd(UInt64(byteCount), ordering: .relaxed)
  }

  /// Any authenticated message is sent at `now`: no keepalive is owed any more.
  func authenticatedSent(at now: Nanoseconds) {
    unsafe pointer.pointee.lastSent.store(now, ordering: .relaxed)
    unsafe pointer.pointee.owedKeepalive.end()
  }

  /// Any authenticated message came in: what was sent is answered.
  func authenticatedReceived() {
    unsafe pointer.pointee.unanswered.end()
  }

  // MARK: The control path's view

  var isHandshaking: Bool {
    get { unsafe pointer.pointee.isHandshaking.load(ordering: .relaxed) }
    nonmutating set {
      unsafe pointer.pointee.isHandshaking.store(newValue, ordering: .releasing)
      // Pairs with the one in `Outbound.stage`: whoever ends a handshake sees what was staged for it, or the outbound
      // thread sees that it has ended and asks anew.
      atomicMemoryFence(ordering: .sequentiallyConsistent)
    }
  }

  /// A handshake was given up at `now`; 0 where one was completed.
  func handshakeGivenUp(at now: Nanoseconds) { unsafe pointer.pointee.givenUp.store(now, ordering: .relaxed) }

  var lastSent: Nanoseconds { unsafe pointer.pointee.lastSent.load(ordering: .relaxed) }

  /// Asks the outbound thread to drop what it staged; it has to be woken for that.
  func discardStaged() { unsafe pointer.pointee.discardsStaged.store(true, ordering: .releasing) }

  /// Whether a data thread still has something of this peer's in hand.
  var isBusy: Bool {
    unsafe pointer.pointee.isListed.load(ordering: .acquiring)
      || pointer.pointee.pendingEvents.load(ordering: .acquiring) != 0
  }

  var dropCounts: DropCounts { unsafe pointer.pointee.drops.counts }

  var byteCounts: (transmitted: UInt64, received: UInt64) {
    unsafe (
      pointer.pointee.transmittedBytes.load(ordering: .relaxed),
      pointer.pointee.receivedBytes.load(ordering: .relaxed)
    )
  }
}
