import WG6Crypto

/// Datagrams of one peer, sealed back to back in one buffer: the unit of sending.
///
/// Packets are read to where they will be sealed, `DataMessage.header` bytes behind the last datagram, so that nothing
/// is copied.
@safe public struct Train: ~Copyable {
  /// Datagrams at most; as many as the kernel takes in one UDP_SEGMENT send.
  public static let capacity = 64
  /// Bytes at most, likewise.
  static let byteCapacity = 65507
  private static let bufferSize = 160 * 1024

  // SAFETY: `bufferSize` bytes; a datagram begins only below `byteCapacity`, and what is read into `room` is 65,535
  // bytes at most.
  private let buffer: UnsafeMutableRawPointer
  private var ends = InlineArray<64, Int32>(repeating: 0)
  public private(set) var count = 0

  /// Whom it is for, and under which key; unset while it is empty.
  public fileprivate(set) var peer: PeerReference?
  fileprivate(set) var keypair: KeypairReference?
  /// Where it goes.
  public fileprivate(set) var path = PackedPath()

  init() {
    unsafe buffer = .allocate(byteCount: Train.bufferSize, alignment: 64)
  }

  deinit {
    unsafe buffer.deallocate()
  }

  /// Bytes of all datagrams.
  public var byteCount: Int { count == 0 ? 0 : Int(ends[count - 1]) }

  /// The datagram at `index`. Precondition: `index` is below `count`.
  public func datagram(_ index: Int) -> UnsafeRawBufferPointer {
    precondition(index < count)
    let start = index == 0 ? 0 : Int(ends[index - 1])
    return unsafe UnsafeRawBufferPointer(start: buffer + start, count: Int(ends[index]) - start)
  }

  /// Whether a packet of `length` bytes still fits, and its key has a counter for it.
  func hasRoom(for length: Int) -> Bool {
    if let keypair, unsafe !keypair.pointer.pointee.hasCounters { return false }
    return count < Train.capacity
      && byteCount + length + DataMessage.overhead + Limits.paddingMultiple <= Train.byteCapacity
  }

  /// Where the next packet is to be put: 65,535 bytes.
  var room: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: buffer + byteCount + DataMessage.header, count: 65535)
  }

  mutating func begin(_ peer: PeerReference, _ keypair: KeypairReference, _ path: PackedPath) {
    self.peer = peer
    self.keypair = keypair
    self.path = path
  }

  /// Empties it, and moves the `length` bytes in `room` to where they now belong.
  mutating func reset(movingPacketOf length: Int) {
    let packet = unsafe room.baseAddress!
    count = 0
    peer = nil
    keypair = nil
    if length > 0 { unsafe room.baseAddress!.copyMemory(from: packet, byteCount: length) }
  }

  /// Seals the `length` bytes in `room`, at most `Limits.longestPacket`, under the train's keypair, padded as far as `mtu` allows.
  mutating func seal(length: Int, mtu: Int) {
    let keypair = unsafe keypair!.pointer
    let packet = unsafe room.baseAddress!
    let padded = min(Train.paddedLength(length, mtu: mtu), Limits.longestPacket)
    unsafe (packet + length).initializeMemory(as: UInt8.self, repeating: 0, count: padded - length)
    let counter = unsafe keypair.pointee.takeCounter()
    unsafe Train.seal(packet, count: padded, counter: counter, under: keypair)
    ends[count] = Int32(byteCount + padded + DataMessage.overhead)
    count += 1
  }

  /// Writes the header before `packet` and the tag behind it.
  static func seal(
    _ packet: UnsafeMutableRawPointer, count: Int, counter: UInt64, under keypair: UnsafeMutablePointer<Keypair>
  ) {
    let header = unsafe packet - DataMessage.header
    unsafe header.storeBytes(of: MessageType.data.littleEndian, as: UInt32.self)
    unsafe header.storeBytes(
      of: keypair.pointee.remoteIndex.littleEndian, toByteOffset: DataMessage.receiver, as: UInt32.self)
    unsafe header.storeBytes(of: counter.littleEndian, toByteOffset: DataMessage.counter, as: UInt64.self)
    unsafe ChaCha20Poly1305.sealInPlace(packet, count: count, counter: counter, key: keypair.pointee.sendingKey)
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
