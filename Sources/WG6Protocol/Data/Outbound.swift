import Synchronization
import WG6Crypto

/// The way out: packets in, trains out. Belongs to one thread, which reads packets from the device and sends trains.
///
/// Touches a peer's keypair, its path and the allowed-IPs snapshot, and nothing that the control path locks.
@safe public struct Outbound: ~Copyable {
  /// An IPv6 packet of 65,535 bytes behind its header, which is longer than what IPv4 knows.
  private static let longestRead = IPv6Header.length + 65535

  private let plane: DataPlane
  private let reader: DataReader
  private let cipher: TrainCipher
  private let leavesSealing: Bool
  private let headerLength: Int
  // SAFETY: `headerLength + longestRead` bytes.
  private let input: UnsafeMutableRawPointer
  private var train = Train()
  /// Peers that packets wait for.
  private var waiting: [PeerReference] = []
  private var stagedBytes = 0
  private var errors = ICMPErrors()
  private var multicastLimit = TokenBucket()
  private var cut = CutDatagrams()

  /// Whether the control path has something to be told. The thread wakes it and sets this back.
  public var wantsControl = false

  /// - Parameters:
  ///   - reader: this thread's number, below `Quiescence.readerCapacity`, no other thread's.
  ///   - cipher: what data is sealed with.
  ///   - leavesSealing: whether `send` is given trains that are still to be sealed, and may keep them, leaving empty ones in
  ///     their place.
  ///   - hasVirtioHeader: whether a `VirtioHeader` stands before each packet, which says how it is to be finished.
  public init(
    plane: DataPlane, reader: Int, cipher: consuming TrainCipher = TrainCipher(.sodium), leavesSealing: Bool = false,
    hasVirtioHeader: Bool = false
  ) {
    self.plane = plane
    self.reader = DataReader(plane, number: reader)
    self.cipher = cipher
    self.leavesSealing = leavesSealing
    headerLength = hasVirtioHeader ? VirtioHeader.length : 0
    unsafe input = .allocate(byteCount: VirtioHeader.length + Outbound.longestRead, alignment: 64)
  }

  deinit {
    unsafe input.deallocate()
  }

  /// Where the next packet is to be read to, its virtio header first where there is one.
  public var room: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: input, count: headerLength + Outbound.longestRead)
  }

  /// Call after waking up and between batches: from here on, what was looked up before is forgotten.
  public func pass() {
    precondition(train.count == 0)
    reader.pass()
  }

  /// Call before sleeping.
  public func leave() {
    reader.leave()
  }

  /// Takes the `length` bytes in `room`: puts the packet, or the segments that it stands for, into the train; stages or
  /// drops it.
  ///
  /// - Parameter send: called with a train that is full, or for another peer; returns how many bytes the network took.
  /// - Returns: a packet to be written to the device, where the one taken can't be sent and its sender shall be told;
  ///   valid until the next call.
  public mutating func push(length: Int, now: Nanoseconds, send: (inout Train) -> Int) -> UnsafeRawBufferPointer? {
    precondition(length <= headerLength + Outbound.longestRead)
    let bytes = unsafe UnsafeMutableRawBufferPointer(
      start: input + headerLength, count: max(0, length - headerLength))
    guard let packet = unsafe InnerPacket(UnsafeRawBufferPointer(bytes)) else {
      unsafe plane.drop(.notAnIPPacket, packet: UnsafeRawBufferPointer(bytes))
      return nil
    }
    if packet.isMulticast, let receivers = plane.multicast.receivers {
      unsafe pushToAll(receivers, bytes, packet, now: now, send: send)
      return nil
    }
    guard let peer = plane.allowedIPs.peer(for: packet.destination, isIPv6: packet.isIPv6) else {
      unsafe plane.drop(.noPeerForDestination, packet: UnsafeRawBufferPointer(bytes))
      return unsafe errors.answer(to: UnsafeRawBufferPointer(bytes), packet, .noPeer, now: now)
    }
    guard let segments = unsafe segmentation(of: bytes) else {
      unsafe plane.drop(.malformedSuperPacket, of: peer, packet: UnsafeRawBufferPointer(bytes))
      return nil
    }
    return unsafe push(UnsafeRawBufferPointer(bytes), packet, segments, to: peer, now: now, send: send)
  }

  /// Pushes a copy of a multicast packet to each of `receivers` whose endpoint is known. One whose session is still to be
  /// made gets those that are staged for it (`Limits.stagedMulticast`). No ICMP error answers a multicast packet.
  @inline(never) private mutating func pushToAll(
    _ receivers: MulticastReceivers, _ bytes: UnsafeMutableRawBufferPointer, _ packet: InnerPacket, now: Nanoseconds,
    send: (inout Train) -> Int
  ) {
    guard let segments = unsafe segmentation(of: bytes) else {
      return unsafe plane.drop(.malformedSuperPacket, packet: UnsafeRawBufferPointer(bytes))
    }
    // A limit of copies alone would let through more packets to few peers than routing or discovery needs.
    let copies = max(segments.count * receivers.count, Limits.leastMulticastCopies)
    let price = min(Nanoseconds(copies) * Limits.multicastCopyInterval, Limits.multicastBurst)
    guard multicastLimit.take(at: now, interval: price, burst: Limits.multicastBurst) else {
      return unsafe plane.drop(
        .multicastLimit, count: segments.count, packet: UnsafeRawBufferPointer(bytes))
    }
    for index in 0..<receivers.count {
      let peer = receivers[index]
      guard peer.path.isKnown else { continue }
      _ = unsafe push(UnsafeRawBufferPointer(bytes), packet, segments, to: peer, now: now, send: send)
    }
  }

  /// Puts the segments of `packet` into the train for `peer`; stages or drops them. Returns what `push(length:now:send:)` does.
  private mutating func push(
    _ bytes: UnsafeRawBufferPointer, _ packet: InnerPacket, _ segments: Segmentation, to peer: PeerReference,
    now: Nanoseconds, send: (inout Train) -> Int
  ) -> UnsafeRawBufferPointer? {
    // The packet may answer one that has just confirmed a new session or moved the peer: it goes where the peer is now.
    if train.peer == peer, !train.isCurrent { flush(now: now, send: send) }
    let whole = train.peer == peer ? train.path.longestWhole : peer.longestWhole
    let fit = unsafe Fit(bytes, packet, whole: whole, mtu: plane.mtu)
    if fit.mayComeBack, unsafe isPieceOfDatagram(bytes, packet, fit, now: now) {
      unsafe plane.drop(.packetTooBig, of: peer, packet: bytes)
      return nil
    }
    guard segments.length(of: 0) <= fit.longest else {
      unsafe plane.drop(.packetTooBig, of: peer, count: segments.count, packet: bytes)
      // Told of its length, the sender of another tunnel's datagram would cut it into pieces, see `Device.routesChanged`.
      guard !fit.mayComeBack else { return nil }
      return unsafe errors.answer(to: bytes, packet, .tooBig(mtu: fit.longest), now: now)
    }
    let carried = unsafe packet.carriedReceiver(bytes)
    for index in 0..<segments.count {
      let length = segments.length(of: index)
      if train.peer != peer || !train.hasRoom(for: max(length, fit.padded)) {
        flush(now: now, send: send)
        guard peer.path.isKnown else {
          unsafe plane.drop(.noEndpoint, of: peer, count: segments.count - index, packet: bytes)
          return unsafe errors.answer(to: bytes, packet, .noEndpoint, now: now)
        }
        guard begin(peer, now: now) else {
          if fit.carried == .handshake, peer.wasGivenUp(at: now) {
            unsafe plane.drop(
              .handshakeGivenUp, of: peer, count: segments.count - index, packet: bytes)
            return nil
          }
          if packet.isMulticast, plane.multicast.receivers != nil,
            unsafe peer.staged.pointee.count >= Limits.stagedMulticast
          {
            unsafe plane.drop(.stagedTooLong, of: peer, count: segments.count - index, packet: bytes)
            return nil
          }
          unsafe segments.write(index, to: train.room)
          unsafe stage(UnsafeRawBufferPointer(start: train.room, count: length), for: peer)
          if let keypair = peer.sending, keypair.canSend(at: now) {
            sendStaged(peer, keypair, now: now, send: send)
          } else {
            wantHandshake(peer)
          }
          continue
        }
        guard train.path.longestWhole >= whole else {
          // The way has changed since it was looked at.
          unsafe plane.drop(
            .packetTooBig, of: peer, count: segments.count - index, packet: bytes)
          return nil
        }
      }
      if let carried, unsafe carried == train.keypair!.pointer.pointee.remoteIndex {
        // What left as a datagram came back as a packet, and would again, longer each time. Its sender is this device.
        unsafe plane.drop(
          .routingLoop, of: peer, count: segments.count - index, packet: bytes)
        return nil
      }
      unsafe segments.write(index, to: train.room)
      train.append(length: length, mtu: min(plane.mtu(around: length), fit.longest), atLeast: fit.padded)
    }
    return nil
  }

  /// Seals and sends what is in the train.
  public mutating func flush(now: Nanoseconds, send: (inout Train) -> Int) {
    guard train.count > 0, let peer = train.peer, let keypair = train.keypair else {
      // One that was begun, and whose packet was dropped: the peer may go before the next packet comes.
      return train.removeAll()
    }
    // Noted before it is sent: the answer may be here before the call returns.
    peer.authenticatedSent(at: now)
    if unsafe peer.pointer.pointee.unanswered.begin(at: now) { post(.unanswered, peer) }
    let excess = train.number()
    if excess > 0 { plane.drop(.expiredKey, of: peer, count: excess) }
    if train.count > 0 {
      if plane.isCaptured { captureTrain() }
      if !leavesSealing { train.seal(with: cipher) }
      peer.sent(send(&train))
    }
    if unsafe keypair.pointer.pointee.isDueWhenSending(at: now) { wantHandshake(peer) }
    train.removeAll()
  }

  /// Sends packets that waited for a key that is there now, and drops those whose peer was given up. Call when woken by
  /// the control path.
  public mutating func flushStaged(now: Nanoseconds, send: (inout Train) -> Int) {
    guard !waiting.isEmpty else { return }
    flush(now: now, send: send)
    var index = 0
    while index < waiting.count {
      let peer = waiting[index]
      if unsafe peer.pointer.pointee.discardsStaged.exchange(false, ordering: .acquiringAndReleasing) {
        while unsafe peer.staged.pointee.count > 0 { dropFirstStaged(of: peer, .handshakeGivenUp) }
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

  /// Shows the packets of the train to captures, before they are sealed where they are.
  @inline(never) private func captureTrain() {
    for index in 0..<train.count { unsafe plane.capture(train.packet(index), .outbound, train.peer) }
  }

  /// Whether the packet is a piece of a datagram of WireGuard that was cut because it was too long for this interface.
  /// Those do not go into another tunnel: if they go round, each piece does so on its own. A later piece is known by the
  /// first, which came before.
  private mutating func isPieceOfDatagram(
    _ bytes: UnsafeRawBufferPointer, _ packet: InnerPacket, _ fit: Fit, now: Nanoseconds
  ) -> Bool {
    guard let piece = unsafe packet.piece(bytes) else { return false }
    if fit.carried == .laterPiece { return cut.contains(piece, at: now) }
    cut.insert(piece, at: now)
    return true
  }

  /// What has to be done to the packet at `bytes`; nil where its virtio header does not go with it.
  private func segmentation(of bytes: UnsafeMutableRawBufferPointer) -> Segmentation? {
    var header = VirtioHeader()
    do throws(OffloadError) {
      if headerLength > 0 {
        header = unsafe try VirtioHeader(UnsafeRawBufferPointer(start: input, count: headerLength))
      }
      return unsafe try Segmentation(header, packet: bytes)
    } catch {
      return nil
    }
  }

  /// Makes the empty train one for `peer`; false where it has no key, or where packets wait that go first.
  private mutating func begin(_ peer: PeerReference, now: Nanoseconds) -> Bool {
    guard let keypair = peer.sending, keypair.canSend(at: now), unsafe peer.staged.pointee.count == 0 else {
      return false
    }
    train.begin(peer, keypair)
    return true
  }

  private mutating func sendStaged(
    _ peer: PeerReference, _ keypair: KeypairReference, now: Nanoseconds, send: (inout Train) -> Int
  ) {
    while unsafe peer.staged.pointee.count > 0 {
      let length = unsafe peer.staged.pointee.firstLength
      // Padding may make it as long as the way takes.
      let needed = train.path.leadsThroughTunnel ? max(length, train.path.longestWhole) : length
      if train.count > 0, !train.hasRoom(for: needed) { flush(now: now, send: send) }
      if train.count == 0 {
        // The rest waits for the next key, which the flush has asked for.
        guard unsafe keypair.pointer.pointee.hasCounters else { return }
        train.begin(peer, keypair)
      }
      let room = unsafe train.room
      unsafe unstage(peer) { unsafe room.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
      let bytes = unsafe UnsafeRawBufferPointer(start: room, count: length)
      // It was one when it was staged.
      guard let packet = unsafe InnerPacket(bytes) else { continue }
      let fit = unsafe Fit(bytes, packet, whole: train.path.longestWhole, mtu: plane.mtu)
      guard length <= fit.longest else {
        unsafe plane.drop(.packetTooBig, of: peer, packet: bytes)
        continue
      }
      train.append(length: length, mtu: min(plane.mtu(around: length), fit.longest), atLeast: fit.padded)
    }
    flush(now: now, send: send)
  }

  private mutating func stage(_ packet: UnsafeRawBufferPointer, for peer: PeerReference) {
    guard stagedBytes + packet.count <= Limits.stagedBytes else {
      return unsafe plane.drop(.stagedTooLong, of: peer, packet: packet)
    }
    // Still on the list where all that waited went out along with a later packet.
    if unsafe !peer.pointer.pointee.isListed.load(ordering: .relaxed) {
      unsafe peer.pointer.pointee.isListed.store(true, ordering: .relaxed)
      // A request to drop that is still there was for packets that had gone by then, not for this one.
      unsafe peer.pointer.pointee.discardsStaged.store(false, ordering: .relaxed)
      waiting.append(peer)
    }
    if unsafe peer.staged.pointee.count == Limits.stagedPackets { dropFirstStaged(of: peer, .stagedTooLong) }
    unsafe peer.staged.pointee.append(packet)
    stagedBytes += packet.count
    unsafe peer.pointer.pointee.stagedCount.store(UInt32(peer.staged.pointee.count), ordering: .releasing)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  /// Never on the way of a packet that is sent.
  @inline(never) private mutating func dropFirstStaged(of peer: PeerReference, _ reason: DropReason) {
    let plane = plane
    unsafe unstage(peer) { unsafe plane.drop(reason, of: peer, packet: $0) }
  }

  private mutating func unstage(_ peer: PeerReference, _ body: (UnsafeRawBufferPointer) -> Void) {
    unsafe stagedBytes -= peer.staged.pointee.firstLength
    unsafe peer.staged.pointee.removeFirst(body)
    unsafe peer.pointer.pointee.stagedCount.store(UInt32(peer.staged.pointee.count), ordering: .releasing)
  }

  private mutating func wantHandshake(_ peer: PeerReference) {
    if plane.requestHandshake(with: peer) { wantsControl = true }
  }

  private mutating func post(_ event: PeerEvent, _ peer: PeerReference) {
    if plane.post(event, of: peer) { wantsControl = true }
  }
}

/// How long a packet may be, and how long it is made, on a way that may lead through another tunnel.
private struct Fit {
  /// Bytes.
  let longest: Int
  /// Bytes that it is padded to at least; 0 for as many as padding gives.
  let padded: Int
  /// What of this device's own it may carry, that another tunnel has brought back.
  let carried: InnerPacket.Carried

  var mayComeBack: Bool { carried != .nothing }

  /// - Parameters:
  ///   - whole: what goes whole through another tunnel on the way; `Limits.longestPacket` where there is none.
  ///   - mtu: the interface's own, in bytes, or 0.
  init(_ bytes: UnsafeRawBufferPointer, _ packet: InnerPacket, whole: Int, mtu: Int) {
    guard whole < Limits.longestPacket else {
      longest = whole
      padded = 0
      carried = .nothing
      return
    }
    // Tunnels that lead through each other in a circle can't tell their own datagrams, which come back in another's. But
    // each round makes them longer, so that they end at the first tunnel that they do not go through whole, be it the next
    // or this one. To get there at once they are padded as far as they may be, which a tunnel in a tunnel in a tunnel pays
    // for.
    carried = unsafe packet.carried(bytes)
    let mayComeBack = carried != .nothing
    longest = mayComeBack ? whole : max(whole, Limits.smallestMTU)
    let most = mtu > 0 ? min(whole, mtu) : whole
    padded = mayComeBack ? most / Limits.paddingMultiple * Limits.paddingMultiple : 0
  }
}
