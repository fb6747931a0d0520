import Synchronization
import WG6Crypto

/// The way out: packets in, trains out. Belongs to one thread, which reads packets from the device and sends trains.
///
/// Touches a peer's keypair, its path and the allowed-IPs snapshot, and nothing that the control path locks.
public struct Outbound: ~Copyable {
  private let plane: DataPlane
  private let reader: Int
  private var train = Train()
  /// Peers that packets wait for.
  private var waiting: [PeerReference] = []
  private var stagedBytes = 0
  private var errors = ICMPErrors()

  /// Whether the control path has something to be told. The thread wakes it and sets this back.
  public var wantsControl = false

  /// - Parameter reader: this thread's number, below `Quiescence.readerCapacity`, no other thread's.
  public init(plane: DataPlane, reader: Int) {
    self.plane = plane
    self.reader = reader
  }

  /// Where the next packet is to be read to: 65,535 bytes.
  public var room: UnsafeMutableRawBufferPointer { unsafe train.room }

  /// Call after waking up and between batches: from here on, what was looked up before is forgotten.
  public func pass() {
    precondition(train.count == 0)
    plane.quiescence.pass(reader)
  }

  /// Call before sleeping.
  public func leave() {
    plane.quiescence.leave(reader)
  }

  /// Takes the packet of `length` bytes in `room`: seals it into the train, stages it, or drops it.
  ///
  /// - Parameter send: called with a train that is full, or for another peer; returns how many bytes the network took.
  /// - Returns: a packet to be written to the device, where the one taken can't be sent and its sender shall be told;
  ///   valid until the next call.
  public mutating func push(length: Int, now: Nanoseconds, send: (borrowing Train) -> Int) -> UnsafeRawBufferPointer? {
    guard let packet = unsafe InnerPacket(pushed(length)) else {
      plane.drop(.notAnIPPacket)
      return nil
    }
    guard let peer = plane.allowedIPs.peer(for: packet.destination, isIPv6: packet.isIPv6) else {
      plane.drop(.noPeerForDestination)
      return unsafe errors.answer(to: pushed(length), packet, .noPeer, now: now)
    }
    guard length <= Limits.longestPacket else {
      plane.drop(.packetTooBig, of: peer)
      return unsafe errors.answer(to: pushed(length), packet, .tooBig(mtu: Limits.longestPacket), now: now)
    }
    if train.peer != peer || !train.hasRoom(for: length) {
      flush(keeping: length, now: now, send: send)
      let path = peer.path
      guard path.isKnown else {
        plane.drop(.noEndpoint, of: peer)
        return unsafe errors.answer(to: pushed(length), packet, .noEndpoint, now: now)
      }
      guard begin(peer, path, length: length, now: now, send: send) else { return nil }
    }
    if unsafe packet.carriesData(under: train.keypair!.pointer.pointee.remoteIndex, pushed(length)) {
      // What left as a datagram came back as a packet, and would again, longer each time. Its sender is this device.
      plane.drop(.routingLoop, of: peer)
      return nil
    }
    train.seal(length: length, mtu: plane.mtu(around: length))
    return nil
  }

  /// Sends what has been sealed.
  public mutating func flush(now: Nanoseconds, send: (borrowing Train) -> Int) {
    flush(keeping: 0, now: now, send: send)
  }

  /// Sends packets that waited for a key that is there now, and drops those whose peer was given up. Call when woken by
  /// the control path.
  public mutating func flushStaged(now: Nanoseconds, send: (borrowing Train) -> Int) {
    guard !waiting.isEmpty else { return }
    flush(now: now, send: send)
    var index = 0
    while index < waiting.count {
      let peer = waiting[index]
      if unsafe peer.pointer.pointee.discardsStaged.exchange(false, ordering: .acquiringAndReleasing) {
        unsafe plane.drop(.handshakeGivenUp, of: peer, count: peer.staged.pointee.count)
        while unsafe peer.staged.pointee.count > 0 { unsafe unstage(peer) { _ in } }
      } else if let keypair = peer.sending, keypair.canSend(at: now), peer.path.isKnown {
        sendStaged(peer, keypair, now: now, send: send)
      }
      if unsafe peer.staged.pointee.count == 0 {
        waiting.swapAt(index, waiting.count - 1)
        waiting.removeLast()
        // The last look at the peer: where it was removed, the control path frees it as soon as it sees this.
        unsafe peer.pointer.pointee.isListed.store(false, ordering: .releasing)
      } else {
        index += 1
      }
    }
  }

  // MARK: Private

  private func pushed(_ length: Int) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: train.room.baseAddress, count: length)
  }

  private mutating func flush(keeping length: Int, now: Nanoseconds, send: (borrowing Train) -> Int) {
    if train.count > 0, let peer = train.peer, let keypair = train.keypair {
      // Noted before it is sent: the answer may be here before the call returns.
      peer.authenticatedSent(at: now)
      if unsafe peer.pointer.pointee.unanswered.begin(at: now) { post(.unanswered, peer) }
      peer.sent(send(train))
      if unsafe keypair.pointer.pointee.isDueWhenSending(at: now) { wantHandshake(peer) }
      train.reset(movingPacketOf: length)
    }
  }

  /// Makes the empty train one for `peer`; false where the packet in `room` was staged or dropped instead.
  private mutating func begin(
    _ peer: PeerReference, _ path: PackedPath, length: Int, now: Nanoseconds, send: (borrowing Train) -> Int
  ) -> Bool {
    guard let keypair = peer.sending, keypair.canSend(at: now) else {
      unsafe stage(pushed(length), for: peer)
      wantHandshake(peer)
      return false
    }
    if unsafe peer.staged.pointee.count > 0 {
      // The key came between two packets: those that waited go first, and this one behind them.
      unsafe stage(pushed(length), for: peer)
      sendStaged(peer, keypair, now: now, send: send)
      return false
    }
    train.begin(peer, keypair, path)
    return true
  }

  private mutating func sendStaged(
    _ peer: PeerReference, _ keypair: KeypairReference, now: Nanoseconds, send: (borrowing Train) -> Int
  ) {
    while unsafe peer.staged.pointee.count > 0 {
      let length = unsafe peer.staged.pointee.firstLength
      if !train.hasRoom(for: length) { flush(now: now, send: send) }
      // The rest waits for the next key, which the flush has asked for.
      guard unsafe keypair.pointer.pointee.hasCounters else { return }
      if train.count == 0 { train.begin(peer, keypair, peer.path) }
      let room = unsafe train.room
      unsafe unstage(peer) { unsafe room.baseAddress!.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
      train.seal(length: length, mtu: plane.mtu(around: length))
    }
    flush(now: now, send: send)
  }

  private mutating func stage(_ packet: UnsafeRawBufferPointer, for peer: PeerReference) {
    guard stagedBytes + packet.count <= Limits.stagedBytes else { return plane.drop(.stagedTooLong, of: peer) }
    // Still on the list where all that waited went out along with a later packet.
    if unsafe !peer.pointer.pointee.isListed.load(ordering: .relaxed) {
      unsafe peer.pointer.pointee.isListed.store(true, ordering: .relaxed)
      // A request to drop that is still there was for packets that had gone by then, not for this one.
      unsafe peer.pointer.pointee.discardsStaged.store(false, ordering: .relaxed)
      waiting.append(peer)
    }
    if unsafe peer.staged.pointee.count == Limits.stagedPackets {
      unsafe unstage(peer) { _ in }
      plane.drop(.stagedTooLong, of: peer)
    }
    unsafe peer.staged.pointee.append(packet)
    stagedBytes += packet.count
    unsafe peer.pointer.pointee.stagedCount.store(UInt32(peer.staged.pointee.count), ordering: .releasing)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  private mutating func unstage(_ peer: PeerReference, _ body: (UnsafeRawBufferPointer) -> Void) {
    unsafe stagedBytes -= peer.staged.pointee.firstLength
    unsafe peer.staged.pointee.removeFirst(body)
    unsafe peer.pointer.pointee.stagedCount.store(UInt32(peer.staged.pointee.count), ordering: .releasing)
  }

  private mutating func wantHandshake(_ peer: PeerReference) {
    guard unsafe !peer.pointer.pointee.isHandshaking.load(ordering: .acquiring) else { return }
    post(.handshakeWanted, peer)
  }

  private mutating func post(_ event: PeerEvent, _ peer: PeerReference) {
    if plane.post(event, of: peer) { wantsControl = true }
  }
}
