import Synchronization

/// What becomes of messages that were opened, in the order in which they came: each is judged, its peer is told of, and
/// its packet written to the device, merged with others where the device takes that.
///
/// One at a time: here alone replay windows are entered.
@safe public struct Delivery: ~Copyable {
  private let plane: DataPlane
  private var merging: MergeBatch

  /// Whether the control path has something to be told. The thread wakes it and sets this back.
  public var wantsControl = false

  /// What the device made of a packet, or of packets merged into one.
  public enum Written: Sendable {
    case taken
    /// It takes none now.
    case failed
    /// It does not take packets that were merged in this way.
    case refused
  }

  /// - Parameter rules: what the device takes in one piece.
  public init(plane: DataPlane, rules: MergeRules = .nothing) {
    self.plane = plane
    merging = MergeBatch(rules: rules)
  }

  /// Writes the packets of messages that were opened.
  ///
  /// - Parameter write: puts pieces on the device in one go; a virtio header comes first.
  public mutating func deliver(
    _ arrivals: borrowing Arrivals, now: Nanoseconds, write: (UnsafeBufferPointer<MergeBatch.Piece>) -> Written
  ) {
    for index in 0..<arrivals.count {
      guard let length = accept(arrivals, index, now: now) else { continue }
      if merging.isFull { unsafe flush(write: write) }
      unsafe merging.add(UnsafeMutableRawBufferPointer(rebasing: arrivals.text(index)[..<length]))
    }
    unsafe flush(write: write)
  }

  private mutating func flush(write: (UnsafeBufferPointer<MergeBatch.Piece>) -> Written) {
    for index in 0..<merging.groupCount {
      switch unsafe write(merging.pieces(of: index)) {
      case .taken: break
      case .failed: plane.drop(.deviceRefusedPacket, count: merging.packetCount(of: index))
      case .refused:
        let lost = unsafe merging.splitRefused(index, write: write)
        if lost > 0 { plane.drop(.deviceRefusedPacket, count: lost) }
      }
    }
    merging.removeAll()
  }

  /// Judges the message at `index`.
  ///
  /// - Returns: the length of the packet in it; nil where it has none for the device.
  mutating func accept(_ arrivals: borrowing Arrivals, _ index: Int, now: Nanoseconds) -> Int? {
    let keypair = unsafe arrivals.keypair(index)
    let peer = unsafe keypair.pointee.peer
    let text = unsafe arrivals.text(index)
    guard arrivals.isGenuine(index) else { return unsafe dropped(.unauthenticatedData, of: peer) }
    // Only now: a forged message must not move the window.
    let counter = arrivals.counter(index)
    let replay = unsafe keypair.pointee.replay
    let isNewest = unsafe counter >= replay.pointee.next
    guard unsafe replay.pointee.accept(counter) else {
      return unsafe dropped(.replayedData, of: peer, UnsafeRawBufferPointer(text))
    }

    if unsafe !keypair.pointee.isConfirmed.load(ordering: .relaxed) {
      unsafe keypair.pointee.isConfirmed.store(true, ordering: .releasing)
      post(.keyConfirmed, peer)
    }
    if isNewest { roam(peer, to: arrivals.path(index)) }
    peer.authenticatedReceived()
    if unsafe keypair.pointee.isDueWhenReceiving(at: now) { wantHandshake(peer) }

    guard text.count > 0 else {
      peer.received(DataMessage.overhead)
      return nil
    }
    if unsafe peer.pointer.pointee.owedKeepalive.begin(at: now) { post(.keepaliveOwed, peer) }
    guard let inner = unsafe InnerPacket(UnsafeRawBufferPointer(text)) else {
      return unsafe dropped(.malformedPacket, of: peer, UnsafeRawBufferPointer(text))
    }
    guard plane.allowedIPs.peer(for: inner.source, isIPv6: inner.isIPv6) == peer else {
      return unsafe dropped(.sourceNotAllowed, of: peer, UnsafeRawBufferPointer(text))
    }
    peer.received(text.count + DataMessage.overhead)
    if plane.isCaptured { unsafe plane.capture(UnsafeRawBufferPointer(text), .inbound, peer) }
    return inner.length
  }

  /// Follows the peer to where its newest message came from, unless that came through this tunnel itself.
  private mutating func roam(_ peer: PeerReference, to path: PackedPath) {
    guard unsafe peer.pointer.pointee.path.load() != path, !plane.isFromInside(path) else { return }
    if unsafe peer.pointer.pointee.path.tryRoam(to: path) { post(.roamed, peer) }
  }

  private mutating func wantHandshake(_ peer: PeerReference) {
    if plane.requestHandshake(with: peer) { wantsControl = true }
  }

  private mutating func post(_ event: PeerEvent, _ peer: PeerReference) {
    if plane.post(event, of: peer) { wantsControl = true }
  }

  private func dropped(
    _ reason: DropReason, of peer: PeerReference,
    _ packet: UnsafeRawBufferPointer = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  ) -> Int? {
    unsafe plane.drop(reason, of: peer, packet: packet)
    return nil
  }
}
