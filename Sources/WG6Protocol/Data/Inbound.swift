import Synchronization
import WG6Crypto

/// The way in: datagrams in, packets out. Belongs to one thread, which reads datagrams from the network and writes
/// packets to the device.
@safe public struct Inbound: ~Copyable {
  /// Datagrams that are opened in one go, at most.
  public static let capacity = 64

  private let plane: DataPlane
  private let reader: Int
  private let cipher: TrainCipher
  // SAFETY: `capacity` places each, of which `count` are initialized; they are plain data.
  private let jobs: UnsafeMutablePointer<CipherJob>
  private let arrivals: UnsafeMutablePointer<Arrival>
  private var count = 0
  private var merging: MergeBatch

  /// Whether the control path has something to be told. The thread wakes it and sets this back.
  public var wantsControl = false

  /// A data message under a key that we know, before it is opened.
  @safe private struct Arrival {
    let keypair: UnsafeMutablePointer<Keypair>
    let path: PackedPath
  }

  /// What became of a datagram.
  public enum Verdict {
    /// A packet for the device: its offset in the datagram, and its length.
    case packet(offset: Int, length: Int)
    /// A handshake message or a cookie reply, for the control path.
    case control
    /// A keepalive, or something dropped and counted.
    case nothing
  }

  /// What the device made of a packet, or of packets merged into one.
  public enum Written: Sendable {
    case taken
    /// It takes none now.
    case failed
    /// It does not take packets that were merged in this way.
    case refused
  }

  /// - Parameters:
  ///   - reader: this thread's number, below `Quiescence.readerCapacity`, no other thread's.
  ///   - cipher: what data is opened with.
  ///   - rules: what the device takes in one piece.
  public init(
    plane: DataPlane, reader: Int, cipher: consuming TrainCipher = TrainCipher(.sodium), rules: MergeRules = .nothing
  ) {
    self.plane = plane
    self.reader = reader
    self.cipher = cipher
    unsafe jobs = .allocate(capacity: Inbound.capacity)
    unsafe arrivals = .allocate(capacity: Inbound.capacity)
    merging = MergeBatch(capacity: Inbound.capacity, rules: rules)
  }

  deinit {
    unsafe jobs.deallocate()
    unsafe arrivals.deallocate()
  }

  /// Call after waking up and between batches: from here on, what was looked up before is forgotten.
  public func pass() { plane.quiescence.pass(reader) }

  /// Call before sleeping.
  public func leave() { plane.quiescence.leave(reader) }

  /// Opens `datagram` where it is: the simple form, of a thread that has one at a time.
  ///
  /// - Parameter path: where it came from, and the local address that it came to.
  public mutating func open(_ datagram: UnsafeMutableRawBufferPointer, from path: PackedPath, now: Nanoseconds)
    -> Verdict
  {
    precondition(count == 0)
    guard unsafe admit(datagram, from: path, now: now) else { return .control }
    defer { count = 0 }
    guard count > 0 else { return .nothing }
    unsafe cipher.open(UnsafeMutableBufferPointer(start: jobs, count: 1))
    return accept(0, now: now).map { .packet(offset: DataMessage.header, length: $0) } ?? .nothing
  }

  /// Takes datagrams that came from `path` back to back, `segmentSize` bytes each but for the last, to be opened where
  /// they are by `deliver`: as many as there is room for, and none where only a part of them has room behind others.
  ///
  /// - Parameter control: called with each handshake message or cookie reply, which are the control path's.
  /// - Returns: how many bytes it took. Where others are left, call `deliver`, and this again.
  public mutating func take(
    _ datagrams: UnsafeMutableRawBufferPointer, segmentSize: Int, from path: PackedPath, now: Nanoseconds,
    control: (UnsafeRawBufferPointer) -> Void
  ) -> Int {
    if count > 0, segmentSize > 0, count + (datagrams.count + segmentSize - 1) / segmentSize > Inbound.capacity {
      return 0
    }
    var offset = 0
    repeat {
      guard count < Inbound.capacity else { return offset }
      let length = min(segmentSize > 0 ? segmentSize : .max, datagrams.count - offset)
      let datagram = unsafe UnsafeMutableRawBufferPointer(rebasing: datagrams[offset..<offset + length])
      if unsafe !admit(datagram, from: path, now: now) { unsafe control(UnsafeRawBufferPointer(datagram)) }
      offset += length
    } while offset < datagrams.count
    return offset
  }

  /// Opens what was taken, and writes what comes out, merged as far as the rules allow.
  ///
  /// - Parameter write: puts pieces on the device in one go; a virtio header comes first.
  public mutating func deliver(now: Nanoseconds, write: (UnsafeBufferPointer<MergeBatch.Piece>) -> Written) {
    guard count > 0 else { return }
    unsafe cipher.open(UnsafeMutableBufferPointer(start: jobs, count: count))
    for index in 0..<count {
      guard let length = accept(index, now: now) else { continue }
      unsafe merging.add(UnsafeMutableRawBufferPointer(start: jobs[index].text, count: length))
    }
    count = 0
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

  // MARK: Private

  /// Looks at what a datagram says it is, and makes a data message the next of those to be opened, unless it is dropped.
  ///
  /// - Returns: false where it is the control path's.
  private mutating func admit(
    _ datagram: UnsafeMutableRawBufferPointer, from path: PackedPath, now: Nanoseconds
  ) -> Bool {
    guard datagram.count >= DataMessage.overhead, let message = datagram.baseAddress else {
      plane.drop(.malformedMessage)
      return true
    }
    switch unsafe UInt32(littleEndian: message.loadUnaligned(as: UInt32.self)) {
    case MessageType.data: break
    case MessageType.initiation where datagram.count == InitiationMessage.length: return false
    case MessageType.response where datagram.count == ResponseMessage.length: return false
    case MessageType.cookieReply where datagram.count == CookieReplyMessage.length: return false
    default:
      plane.drop(.malformedMessage)
      return true
    }
    let index = unsafe UInt32(
      littleEndian: message.loadUnaligned(fromByteOffset: DataMessage.receiver, as: UInt32.self))
    let counter = unsafe UInt64(
      littleEndian: message.loadUnaligned(fromByteOffset: DataMessage.counter, as: UInt64.self))
    guard let reference = plane.indices.keypair(for: index) else {
      plane.drop(.unknownReceiver)
      return true
    }
    let keypair = unsafe reference.pointer
    guard unsafe keypair.pointee.isAlive(at: now), counter < Limits.rejectAfterMessages else {
      unsafe plane.drop(.expiredKey, of: keypair.pointee.peer)
      return true
    }
    unsafe (arrivals + count).initialize(to: Arrival(keypair: keypair, path: path))
    unsafe (jobs + count).initialize(
      to: CipherJob(
        text: message + DataMessage.header, count: datagram.count - DataMessage.overhead, counter: counter,
        key: keypair.pointee.receivingKey))
    count += 1
    return true
  }

  /// Judges the message at `index`, which has been opened, in the order of arrival.
  ///
  /// - Returns: the length of the packet in it; nil where it has none for the device.
  private mutating func accept(_ index: Int, now: Nanoseconds) -> Int? {
    let keypair = unsafe arrivals[index].keypair
    let peer = unsafe keypair.pointee.peer
    let length = unsafe jobs[index].count
    guard unsafe jobs[index].isGenuine else { return dropped(.unauthenticatedData, of: peer) }
    // Only now: a forged message must not move the window.
    let counter = unsafe jobs[index].counter
    let replay = unsafe keypair.pointee.replay
    let isNewest = unsafe counter >= replay.pointee.next
    guard unsafe replay.pointee.accept(counter) else { return dropped(.replayedData, of: peer) }

    if unsafe !keypair.pointee.isConfirmed.load(ordering: .relaxed) {
      unsafe keypair.pointee.isConfirmed.store(true, ordering: .releasing)
      post(.keyConfirmed, peer)
    }
    if isNewest { unsafe roam(peer, to: arrivals[index].path) }
    peer.authenticatedReceived()
    if unsafe keypair.pointee.isDueWhenReceiving(at: now) { wantHandshake(peer) }

    guard length > 0 else {
      peer.received(DataMessage.overhead)
      return nil
    }
    if unsafe peer.pointer.pointee.owedKeepalive.begin(at: now) { post(.keepaliveOwed, peer) }
    guard let inner = unsafe InnerPacket(UnsafeRawBufferPointer(start: jobs[index].text, count: length)) else {
      return dropped(.malformedPacket, of: peer)
    }
    guard plane.allowedIPs.peer(for: inner.source, isIPv6: inner.isIPv6) == peer else {
      return dropped(.sourceNotAllowed, of: peer)
    }
    peer.received(length + DataMessage.overhead)
    return inner.length
  }

  /// Follows the peer to where its newest message came from.
  private mutating func roam(_ peer: PeerReference, to path: PackedPath) {
    guard unsafe peer.pointer.pointee.path.load() != path else { return }
    if unsafe peer.pointer.pointee.path.tryStore(path) { post(.roamed, peer) }
  }

  private mutating func wantHandshake(_ peer: PeerReference) {
    guard unsafe !peer.pointer.pointee.isHandshaking.load(ordering: .acquiring) else { return }
    post(.handshakeWanted, peer)
  }

  private mutating func post(_ event: PeerEvent, _ peer: PeerReference) {
    if plane.post(event, of: peer) { wantsControl = true }
  }

  private func dropped(_ reason: DropReason, of peer: PeerReference) -> Int? {
    plane.drop(reason, of: peer)
    return nil
  }
}
