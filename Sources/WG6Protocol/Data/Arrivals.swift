import WG6Crypto

/// Datagrams that came in together: taken apart, and opened where they are in one call of the cipher.
///
/// What becomes of them then is up to `Delivery`. Until then the keys of their sessions are looked at: take, open and
/// deliver them between two quiescent points of one reader.
@safe public struct Arrivals: ~Copyable {
  /// Data messages at most.
  public let capacity: Int

  private let plane: DataPlane
  // SAFETY: `capacity` places each, of which `count` are initialized; they are plain data.
  private let jobs: UnsafeMutablePointer<CipherJob>
  private let sources: UnsafeMutablePointer<Source>
  public private(set) var count = 0

  /// Whom a data message is from, if it is what it says.
  @safe private struct Source {
    let keypair: UnsafeMutablePointer<Keypair>
    let path: PackedPath
  }

  public init(plane: DataPlane, capacity: Int = 64) {
    self.plane = plane
    self.capacity = capacity
    unsafe jobs = .allocate(capacity: capacity)
    unsafe sources = .allocate(capacity: capacity)
  }

  deinit {
    unsafe jobs.deallocate()
    unsafe sources.deallocate()
  }

  /// Takes datagrams that came from `path` back to back, `segmentSize` bytes each but for the last (0: they are one): as
  /// many as there is room for, and none where only a part of them has room behind others. They stay where they are.
  ///
  /// - Parameter control: called with each handshake message or cookie reply, which are the control path's.
  /// - Returns: how many bytes it took. Where others are left, have those delivered that are there, and take the rest.
  public mutating func take(
    _ datagrams: UnsafeMutableRawBufferPointer, segmentSize: Int, from path: PackedPath, now: Nanoseconds,
    control: (UnsafeRawBufferPointer) -> Void
  ) -> Int {
    let size = segmentSize > 0 ? segmentSize : max(1, datagrams.count)
    guard count == 0 || count + (datagrams.count + size - 1) / size <= capacity else { return 0 }
    var offset = 0
    repeat {
      guard count < capacity else { return offset }
      let length = min(size, datagrams.count - offset)
      let datagram = unsafe UnsafeMutableRawBufferPointer(rebasing: datagrams[offset..<offset + length])
      if unsafe !admit(datagram, from: path, now: now) { unsafe control(UnsafeRawBufferPointer(datagram)) }
      offset += length
    } while offset < datagrams.count
    return offset
  }

  /// Opens what was taken.
  public mutating func open(with cipher: borrowing TrainCipher) {
    unsafe cipher.open(UnsafeMutableBufferPointer(start: jobs, count: count))
  }

  /// Forgets all of it.
  public mutating func removeAll() { count = 0 }

  // MARK: For the delivery

  func keypair(_ index: Int) -> UnsafeMutablePointer<Keypair> { unsafe sources[index].keypair }
  func path(_ index: Int) -> PackedPath { unsafe sources[index].path }
  func counter(_ index: Int) -> UInt64 { unsafe jobs[index].counter }
  /// Whether the message was sealed by its peer; to be asked once it was opened.
  func isGenuine(_ index: Int) -> Bool { unsafe jobs[index].isGenuine }
  /// The packet in the message, and its padding.
  func text(_ index: Int) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: jobs[index].text, count: jobs[index].count)
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
    unsafe (sources + count).initialize(to: Source(keypair: keypair, path: path))
    unsafe (jobs + count).initialize(
      to: CipherJob(
        text: message + DataMessage.header, count: datagram.count - DataMessage.overhead, counter: counter,
        key: keypair.pointee.receivingKey))
    count += 1
    return true
  }
}
