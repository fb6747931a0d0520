import Synchronization

/// What the control path and the data threads share: tables to look things up in, and a list of things to tell.
///
/// Everything here is read and written without a lock. The control path publishes; the data threads read between two
/// quiescent points.
public final class DataPlane: Sendable {
  let quiescence = Quiescence()
  let indices: IndexTable
  let allowedIPs = AllowedIPs.Snapshot()
  let multicast = MulticastReceivers.Snapshot()
  let events = EventList()
  private let drops = DropCounters()
  private let interfaceMTU = Atomic<Int>(1420)
  /// Ascending; 0 where there is none.
  private let smallerMTUs: InlineArray<4, Atomic<Int>> = InlineArray { _ in Atomic(0) }

  private let interface = Atomic<UInt32>(0)
  /// Beside what every packet looks at.
  let captures = CaptureList()

  init(using random: inout some RandomNumberGenerator) {
    indices = IndexTable(using: &random)
  }

  /// The interface's MTU in bytes: data is padded, but never past it.
  public var mtu: Int {
    get { interfaceMTU.load(ordering: .relaxed) }
    set { interfaceMTU.store(newValue, ordering: .relaxed) }
  }

  /// The index of the device's own interface, by which packets come out of the tunnel; 0 if it is not where the sockets are:
  /// then nothing can come to them by it.
  public var interfaceIndex: UInt32 {
    get { interface.load(ordering: .relaxed) }
    set { interface.store(newValue, ordering: .relaxed) }
  }

  /// Whether a datagram that arrived along `path` came out of this device's own tunnel.
  ///
  /// Such a datagram moves no endpoint. Otherwise two peers could each make the other's inner address their endpoint, and
  /// what is sent to either would go round between both.
  func isFromInside(_ path: PackedPath) -> Bool {
    path.sourceInterface != 0 && path.sourceInterface == interfaceIndex
  }

  /// Sets the MTUs of single routes through the interface, in bytes: a packet that fits one is not padded past it. Which
  /// route a packet has come by is not known here, so each of them counts for all. The four smallest are kept.
  public func setRouteMTUs(_ mtus: some Sequence<Int>) {
    let smallest = Array(mtus.filter { $0 > 0 }.sorted().prefix(smallerMTUs.count))
    for index in smallerMTUs.indices {
      smallerMTUs[index].store(index < smallest.count ? smallest[index] : 0, ordering: .relaxed)
    }
  }

  /// The smallest MTU that a packet of `length` bytes fits, the interface's where it fits no smaller one.
  func mtu(around length: Int) -> Int {
    let own = mtu
    for index in smallerMTUs.indices {
      let smaller = smallerMTUs[index].load(ordering: .relaxed)
      if smaller == 0 { break }
      if length <= smaller { return own > 0 ? min(own, smaller) : smaller }
    }
    return own
  }

  /// Counts packets or messages that go no further, for their peer as well where that is known.
  ///
  /// Called by the control path, or by a data thread between two quiescent points: a capture may want to know.
  public func drop(_ reason: DropReason, of peer: PeerReference? = nil, count: Int = 1) {
    unsafe drop(reason, of: peer, count: count, packet: UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// The same where the packet is at hand, or the first of them, with what may follow it.
  func drop(_ reason: DropReason, of peer: PeerReference? = nil, count: Int = 1, packet: UnsafeRawBufferPointer) {
    drops.add(count, to: reason)
    if let peer { unsafe peer.pointer.pointee.drops.add(count, to: reason) }
    if isCaptured { unsafe capture(packet, reason.direction, peer, drop: reason, count: count) }
  }

  /// How much was dropped for `reason` so far.
  public func dropCount(_ reason: DropReason) -> UInt64 { drops[reason] }

  /// How much was dropped so far, whoever's it was.
  var dropCounts: DropCounts { drops.counts }

  /// Tells the control path about a peer.
  ///
  /// - Returns: whether it must be woken: the list was empty.
  func post(_ event: PeerEvent, of peer: PeerReference) -> Bool {
    let before = unsafe peer.pointer.pointee.pendingEvents.bitwiseOr(event.rawValue, ordering: .acquiringAndReleasing)
      .oldValue
    return before == 0 && events.push(peer)
  }

  /// Asks for a new session with `peer`, unless the control path is at it.
  ///
  /// - Returns: whether the control path must be woken.
  func requestHandshake(with peer: PeerReference) -> Bool {
    guard unsafe !peer.pointer.pointee.isHandshaking.load(ordering: .acquiring) else { return false }
    return post(.handshakeWanted, of: peer)
  }
}

/// A data thread's place among those that look things up in the plane.
public struct DataReader: ~Copyable {
  private let plane: DataPlane
  private let number: Int

  /// - Parameter number: below `Quiescence.readerCapacity`, no other thread's.
  public init(_ plane: DataPlane, number: Int) {
    self.plane = plane
    self.number = number
  }

  /// Call after waking up and between batches: from here on, what was looked up before is forgotten.
  public func pass() { plane.quiescence.pass(number) }

  /// Call before sleeping.
  public func leave() { plane.quiescence.leave(number) }
}

/// Peers with something to tell, each at most once: a stack that is pushed to by any thread and taken whole by one.
struct EventList: ~Copyable {
  private let head = Atomic<UInt>(0)

  /// - Returns: whether the list was empty.
  func push(_ peer: PeerReference) -> Bool {
    var first = head.load(ordering: .relaxed)
    while true {
      unsafe peer.pointer.pointee.nextWithEvents.store(first, ordering: .relaxed)
      let (exchanged, original) = unsafe head.weakCompareExchange(
        expected: first, desired: UInt(bitPattern: peer.pointer), ordering: .acquiringAndReleasing)
      if exchanged { return first == 0 }
      first = original
    }
  }

  /// Takes every peer out, and what each has to tell.
  func takeAll(_ body: (PeerReference, PeerEvent) -> Void) {
    var next = head.exchange(0, ordering: .acquiringAndReleasing)
    while let pointer = unsafe UnsafeMutablePointer<PeerState>(bitPattern: next) {
      // Once its events are taken, a peer may be pushed again at any moment: first the link, then the events.
      next = unsafe pointer.pointee.nextWithEvents.load(ordering: .relaxed)
      let events = unsafe pointer.pointee.pendingEvents.exchange(0, ordering: .acquiringAndReleasing)
      unsafe body(PeerReference(pointer: pointer), PeerEvent(rawValue: events))
    }
  }
}
