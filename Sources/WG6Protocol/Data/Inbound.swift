import Synchronization
import WG6Crypto

/// The way in: datagrams in, packets out. Belongs to one thread, which reads datagrams from the network and writes
/// packets to the device.
public struct Inbound: ~Copyable {
  private let plane: DataPlane
  private let reader: Int

  /// Whether the control path has something to be told. The thread wakes it and sets this back.
  public var wantsControl = false

  /// What became of a datagram.
  public enum Verdict {
    /// A packet for the device: its offset in the datagram, and its length.
    case packet(offset: Int, length: Int)
    /// A handshake message or a cookie reply, for the control path.
    case control
    /// A keepalive, or something dropped and counted.
    case nothing
  }

  /// - Parameter reader: this thread's number, below `Quiescence.readerCapacity`, no other thread's.
  public init(plane: DataPlane, reader: Int) {
    self.plane = plane
    self.reader = reader
  }

  /// Call after waking up and between batches: from here on, what was looked up before is forgotten.
  public func pass() { plane.quiescence.pass(reader) }

  /// Call before sleeping.
  public func leave() { plane.quiescence.leave(reader) }

  /// Opens `datagram` where it is.
  ///
  /// - Parameter path: where it came from, and the local address that it came to.
  public mutating func open(_ datagram: UnsafeMutableRawBufferPointer, from path: PackedPath, now: Nanoseconds)
    -> Verdict
  {
    guard datagram.count >= DataMessage.overhead, let base = datagram.baseAddress else {
      plane.drop(.malformedMessage)
      return .nothing
    }
    switch unsafe UInt32(littleEndian: base.loadUnaligned(as: UInt32.self)) {
    case MessageType.data: return unsafe openData(base, datagram.count, from: path, now: now)
    case MessageType.initiation where datagram.count == InitiationMessage.length: return .control
    case MessageType.response where datagram.count == ResponseMessage.length: return .control
    case MessageType.cookieReply where datagram.count == CookieReplyMessage.length: return .control
    default:
      plane.drop(.malformedMessage)
      return .nothing
    }
  }

  private mutating func openData(
    _ message: UnsafeMutableRawPointer, _ count: Int, from path: PackedPath, now: Nanoseconds
  ) -> Verdict {
    let index = unsafe UInt32(
      littleEndian: message.loadUnaligned(fromByteOffset: DataMessage.receiver, as: UInt32.self))
    let counter = unsafe UInt64(
      littleEndian: message.loadUnaligned(fromByteOffset: DataMessage.counter, as: UInt64.self))
    guard let reference = plane.indices.keypair(for: index) else { return dropped(.unknownReceiver) }
    let keypair = unsafe reference.pointer
    let peer = unsafe keypair.pointee.peer
    guard unsafe keypair.pointee.isAlive(at: now), counter < Limits.rejectAfterMessages else {
      return dropped(.expiredKey, of: peer)
    }

    let packet = unsafe message + DataMessage.header
    let length = count - DataMessage.overhead
    guard
      unsafe ChaCha20Poly1305.openInPlace(
        packet, count: count - DataMessage.header, counter: counter, key: keypair.pointee.receivingKey)
    else { return dropped(.unauthenticatedData, of: peer) }
    // Only now: a forged message must not move the window.
    let replay = unsafe keypair.pointee.replay
    let isNewest = unsafe counter >= replay.pointee.next
    guard unsafe replay.pointee.accept(counter) else { return dropped(.replayedData, of: peer) }

    if unsafe !keypair.pointee.isConfirmed.load(ordering: .relaxed) {
      unsafe keypair.pointee.isConfirmed.store(true, ordering: .releasing)
      post(.keyConfirmed, peer)
    }
    if isNewest { roam(peer, to: path) }
    peer.authenticatedReceived()
    if unsafe keypair.pointee.isDueWhenReceiving(at: now) { wantHandshake(peer) }

    guard length > 0 else {
      peer.received(count)
      return .nothing
    }
    if unsafe peer.pointer.pointee.owedKeepalive.begin(at: now) { post(.keepaliveOwed, peer) }
    guard let inner = unsafe InnerPacket(UnsafeRawBufferPointer(start: packet, count: length)) else {
      return dropped(.malformedPacket, of: peer)
    }
    guard plane.allowedIPs.peer(for: inner.source, isIPv6: inner.isIPv6) == peer else {
      return dropped(.sourceNotAllowed, of: peer)
    }
    peer.received(count)
    return .packet(offset: DataMessage.header, length: inner.length)
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

  private func dropped(_ reason: DropReason, of peer: PeerReference? = nil) -> Verdict {
    plane.drop(reason, of: peer)
    return .nothing
  }
}
