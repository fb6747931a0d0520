import WG6Crypto

/// Datagrams of one peer, sealed back to back in one buffer: the unit of sealing and of sending.
///
/// Packets are put where they will be sealed; the whole train is then given its counters, and sealed in one call. Where
/// it is under way, keys and peer are looked at: it is sent before the thread that filled it passes a quiescent point.
@safe public struct Train: ~Copyable {
  /// Datagrams at most; as many as the kernel takes in one UDP_SEGMENT send.
  public static let capacity = 64
  /// Bytes at most, likewise.
  static let byteCapacity = 65507

  // SAFETY: `byteCapacity` bytes, and as much again as the longest packet may be padded and grow by sealing. What is put
  // behind the last datagram was found to have room there.
  private let buffer: UnsafeMutableRawPointer
  // SAFETY: `capacity` places, of which `count` are initialized; they are plain data.
  private let jobs: UnsafeMutablePointer<CipherJob>
  public private(set) var count = 0
  /// Bytes of all datagrams.
  public private(set) var byteCount = 0
  /// Datagrams that its key has counters for.
  private var limit = 0

  /// Whom it is for, and under which key; unset while it is empty.
  public private(set) var peer: PeerReference?
  private(set) var keypair: KeypairReference?
  /// Where it goes.
  public private(set) var path = PackedPath()
  /// The version of the peer's path that `path` is.
  private var pathVersion: UInt64 = 0

  /// An empty one.
  public init() {
    unsafe buffer = .allocate(
      byteCount: Train.byteCapacity + DataMessage.overhead + Limits.paddingMultiple, alignment: 64)
    unsafe jobs = .allocate(capacity: Train.capacity)
  }

  deinit {
    unsafe jobs.deallocate()
    unsafe buffer.deallocate()
  }

  /// The datagram at `index`. Precondition: `index` is below `count`.
  public func datagram(_ index: Int) -> UnsafeRawBufferPointer {
    precondition(index >= 0 && index < count)
    return unsafe UnsafeRawBufferPointer(
      start: jobs[index].text - DataMessage.header, count: jobs[index].count + DataMessage.overhead)
  }

  /// The packet at `index` and its padding; before it is sealed. Precondition: `index` is below `count`.
  func packet(_ index: Int) -> UnsafeRawBufferPointer {
    precondition(index >= 0 && index < count)
    return unsafe UnsafeRawBufferPointer(start: jobs[index].text, count: jobs[index].count)
  }

  /// Datagrams of one length back to back, of which the last may be shorter: what UDP_SEGMENT takes in one piece.
  @safe public struct Run {
    public let bytes: UnsafeRawBufferPointer
    /// Bytes of each datagram but the last.
    public let segmentSize: Int
    /// Datagrams.
    public let count: Int
  }

  /// The run that begins with the datagram at `index`, as long as can be. Precondition: `index` is below `count`.
  public func run(from index: Int) -> Run {
    let first = unsafe datagram(index)
    var length = first.count
    var end = index + 1
    while end < count {
      let next = unsafe jobs[end].count + DataMessage.overhead
      guard next <= first.count else { break }
      length += next
      end += 1
      if next < first.count { break }
    }
    return unsafe Run(
      bytes: UnsafeRawBufferPointer(start: first.baseAddress, count: length), segmentSize: first.count,
      count: end - index)
  }

  // MARK: Filling

  /// Whether a packet of `length` bytes still fits, and its key has a counter for it.
  func hasRoom(for length: Int) -> Bool {
    count < limit && byteCount + length + DataMessage.overhead + Limits.paddingMultiple <= Train.byteCapacity
  }

  /// Where the next packet is to be put: as many bytes as it has room for; as the longest packet has, in an empty train.
  var room: UnsafeMutableRawPointer { unsafe buffer + byteCount + DataMessage.header }

  /// Whether a train begun now would have the same key and the same path. Precondition: it is not empty.
  var isCurrent: Bool { peer!.sending == keypair && peer!.pathVersion == pathVersion }

  /// Makes the empty train one for `peer`.
  mutating func begin(_ peer: PeerReference, _ keypair: KeypairReference) {
    self.peer = peer
    self.keypair = keypair
    // In this order: a path that changes in between makes the train look older than it is, never newer.
    pathVersion = peer.pathVersion
    path = peer.path
    limit = unsafe min(Train.capacity, keypair.pointer.pointee.countersLeft)
  }

  /// Takes the `length` bytes in `room` in, at most `Limits.longestPacket`, padded as far as `mtu` allows, or to `least`
  /// bytes if those are more.
  mutating func append(length: Int, mtu: Int, atLeast least: Int = 0) {
    let padded = min(max(Train.paddedLength(length, mtu: mtu), least), Limits.longestPacket)
    let packet = unsafe room
    unsafe (packet + length).initializeMemory(as: UInt8.self, repeating: 0, count: padded - length)
    unsafe (jobs + count).initialize(
      to: CipherJob(text: packet, count: padded, counter: 0, key: keypair!.pointer.pointee.sendingKey))
    byteCount += padded + DataMessage.overhead
    count += 1
  }

  /// Gives each datagram its counter and its header.
  ///
  /// - Returns: how many were taken off the end, for want of a counter: someone else had taken some meanwhile.
  mutating func number() -> Int {
    let keypair = unsafe keypair!.pointer
    let (first, available) = unsafe keypair.pointee.takeCounters(count)
    let excess = count - available
    while count > available {
      count -= 1
      byteCount -= unsafe jobs[count].count + DataMessage.overhead
    }
    for index in 0..<count {
      let counter = first + UInt64(index)
      unsafe jobs[index].counter = counter
      unsafe Train.writeHeader(before: jobs[index].text, counter: counter, keypair)
    }
    return excess
  }

  /// Seals each datagram; once, before it is sent.
  public mutating func seal(with cipher: borrowing TrainCipher) {
    unsafe cipher.seal(UnsafeMutableBufferPointer(start: jobs, count: count))
  }

  /// Makes it an empty one again.
  public mutating func removeAll() {
    count = 0
    byteCount = 0
    peer = nil
    keypair = nil
  }

  // MARK: Single messages

  /// Writes the header before `packet` and the tag behind it.
  static func seal(
    _ packet: UnsafeMutableRawPointer, count: Int, counter: UInt64, under keypair: UnsafeMutablePointer<Keypair>
  ) {
    unsafe writeHeader(before: packet, counter: counter, keypair)
    unsafe ChaCha20Poly1305.sealInPlace(packet, count: count, counter: counter, key: keypair.pointee.sendingKey)
  }

  private static func writeHeader(
    before packet: UnsafeMutableRawPointer, counter: UInt64, _ keypair: UnsafeMutablePointer<Keypair>
  ) {
    let header = unsafe packet - DataMessage.header
    unsafe header.storeBytes(of: MessageType.data.littleEndian, as: UInt32.self)
    unsafe header.storeBytes(
      of: keypair.pointee.remoteIndex.littleEndian, toByteOffset: DataMessage.receiver, as: UInt32.self)
    unsafe header.storeBytes(of: counter.littleEndian, toByteOffset: DataMessage.counter, as: UInt64.self)
  }

  /// `length` rounded up to a multiple of 16, but never past `mtu`; where a packet is longer than the MTU, what counts
  /// is its last piece.
  static func paddedLength(_ length: Int, mtu: Int) -> Int {
    let multiple = Limits.paddingMultiple
    guard mtu > 0 else { return (length + multiple - 1) / multiple * multiple }
    let last = length > mtu ? length % mtu : length
    return length - last + min(mtu, (last + multiple - 1) / multiple * multiple)
  }
}
