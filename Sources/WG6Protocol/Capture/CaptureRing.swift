import Synchronization
import WG6Crypto

/// What a capture says of a packet, beside its bytes.
public struct CaptureRecord: Equatable, Sendable {
  public enum Direction: UInt8, Sendable {
    /// From the peer to this machine.
    case inbound = 1
    /// From this machine to the peer.
    case outbound = 2
  }

  /// When it was written, in nanoseconds of the clock that the capture was given.
  public var time: Nanoseconds
  public var direction: Direction
  /// Why the packet went no further; nil if it was sent or delivered.
  public var drop: DropReason?
  /// The peer that it came from or is for; nil where that is not known.
  public var peer: PublicKey?
  /// Packets or messages that this record stands for: more than one only where several were dropped at once.
  public var count: Int
  /// Records that the capture had missed when this one was written, for want of room.
  public var missed: UInt64

  public init(
    time: Nanoseconds, direction: Direction, drop: DropReason? = nil, peer: PublicKey? = nil, count: Int = 1,
    missed: UInt64 = 0
  ) {
    self.time = time
    self.direction = direction
    self.drop = drop
    self.peer = peer
    self.count = count
    self.missed = missed
  }
}

/// The memory of a capture, which a daemon writes and another process reads.
///
/// A header, then a ring of records. A writer reserves room by moving its own mark, copies, and publishes the record by
/// storing its first word, its length. The reader takes published records in order, zeroes each, and moves the mark up to
/// which room is free. The first word of what is not published is zero.
public enum CaptureRing {
  /// Bytes before the ring.
  public static let headerLength = 4096
  /// Bytes of the memory of one capture, header and all: 8 MiB of ring, 15 ms of 4 Gbit/s.
  public static let byteCount = headerLength + (8 << 20)

  /// Says that the memory is one of these, and of this version.
  static let signature: UInt64 = 0x0001_5041_4336_4757
  static let signatureOffset = 0
  /// Records that were missed; written by the writers.
  static let missedOffset = 64
  /// Bytes taken from the ring since the beginning; written by the reader.
  static let takenOffset = 128

  /// Of a record: length and padding mark, time, missed, bytes of the packet, count, direction, reason, whether there is a
  /// key, the key.
  enum Field {
    static let time = 8, missed = 16, byteCount = 24, count = 28, direction = 32, reason = 33, hasKey = 34, key = 40
  }

  static let recordHeader = 72
  static let noReason: UInt8 = 0xFF
  /// Set in the first word of what fills the ring up to its end.
  static let paddingMark: UInt64 = 1 << 32
  /// The longest packet, bytes: IPv6's 65,535 behind its header.
  static let longestPacket = 40 + 65535

  @unsafe static func cell(_ memory: UnsafeMutableRawPointer, _ offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
    unsafe (memory + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
  }
}

/// The daemon's end of a capture's memory. Any number of threads write at once; none waits, and a full ring costs the
/// record alone.
///
/// Nothing that the reader could store into the memory makes a writer leave it: positions are kept here.
@safe public struct CaptureWriter: ~Copyable {
  // SAFETY: `headerLength + capacity` bytes for as long as this value lives, 8 bytes aligned.
  private let memory: UnsafeMutableRawPointer
  private let capacity: UInt64
  /// Bytes reserved since the beginning.
  private let reserved = Atomic<UInt64>(0)

  /// Precondition: `memory` is zeroed, and what follows the header is a power of two, 256 KiB at least.
  public init(_ memory: UnsafeMutableRawBufferPointer) {
    capacity = UInt64(memory.count - CaptureRing.headerLength)
    precondition(capacity >= 1 << 18 && capacity & (capacity - 1) == 0, "a ring of a power of two, 256 KiB at least")
    unsafe self.memory = memory.baseAddress!
    unsafe CaptureRing.cell(self.memory, CaptureRing.signatureOffset).pointee
      .store(CaptureRing.signature, ordering: .releasing)
  }

  /// Writes a record and the packet's bytes, or counts it as missed. `missed` of the record is filled in here.
  public func write(_ record: CaptureRecord, _ packet: UnsafeRawBufferPointer) {
    let count = min(packet.count, CaptureRing.longestPacket)
    let size = UInt64(CaptureRing.recordHeader + count + 7) & ~7
    guard let place = reserve(size) else {
      unsafe CaptureRing.cell(memory, CaptureRing.missedOffset).pointee.wrappingAdd(1, ordering: .relaxed)
      return
    }
    let missed = unsafe CaptureRing.cell(memory, CaptureRing.missedOffset).pointee.load(ordering: .relaxed)
    let start = unsafe memory + CaptureRing.headerLength + place
    unsafe start.storeBytes(of: record.time, toByteOffset: CaptureRing.Field.time, as: UInt64.self)
    unsafe start.storeBytes(of: missed, toByteOffset: CaptureRing.Field.missed, as: UInt64.self)
    unsafe start.storeBytes(of: UInt32(count), toByteOffset: CaptureRing.Field.byteCount, as: UInt32.self)
    unsafe start.storeBytes(
      of: UInt32(clamping: record.count), toByteOffset: CaptureRing.Field.count, as: UInt32.self)
    unsafe start.storeBytes(
      of: record.direction.rawValue, toByteOffset: CaptureRing.Field.direction, as: UInt8.self)
    unsafe start.storeBytes(
      of: record.drop?.rawValue ?? CaptureRing.noReason, toByteOffset: CaptureRing.Field.reason, as: UInt8.self)
    unsafe start.storeBytes(
      of: record.peer == nil ? 0 : 1, toByteOffset: CaptureRing.Field.hasKey, as: UInt8.self)
    if let peer = record.peer { unsafe (start + CaptureRing.Field.key).store(peer) }
    if count > 0 {
      unsafe (start + CaptureRing.recordHeader).copyMemory(from: packet.baseAddress!, byteCount: count)
    }
    unsafe CaptureRing.cell(start, 0).pointee.store(size, ordering: .releasing)
  }

  /// Where `size` bytes may be written, in the ring and in one piece; nil where there is no room.
  private func reserve(_ size: UInt64) -> Int? {
    var start = reserved.load(ordering: .relaxed)
    while true {
      let taken = unsafe CaptureRing.cell(memory, CaptureRing.takenOffset).pointee.load(ordering: .acquiring)
      // A reader that has stored nonsense has a full ring.
      let used = start &- taken
      let offset = start & (capacity - 1)
      let padding = capacity - offset < size ? capacity - offset : 0
      guard used <= capacity, capacity - used >= padding + size else { return nil }
      let (exchanged, original) = reserved.weakCompareExchange(
        expected: start, desired: start + padding + size, ordering: .relaxed)
      guard exchanged else {
        start = original
        continue
      }
      guard padding > 0 else { return Int(offset) }
      unsafe CaptureRing.cell(memory, CaptureRing.headerLength + Int(offset)).pointee
        .store(padding | CaptureRing.paddingMark, ordering: .releasing)
      return 0
    }
  }
}

/// The other end: takes the records, in the order in which room was reserved for them.
@safe public struct CaptureReader: ~Copyable {
  // SAFETY: as the writer's.
  private let memory: UnsafeMutableRawPointer
  private let capacity: Int
  private var taken: UInt64 = 0

  public enum Step: Equatable, Sendable {
    case record
    /// There is nothing more now.
    case empty
    /// What is there is no record: the memory is not what it seems.
    case broken
  }

  /// Nil where `memory` is not a capture's, or of another version.
  public init?(_ memory: UnsafeMutableRawBufferPointer) {
    capacity = memory.count - CaptureRing.headerLength
    guard capacity >= 1 << 18, capacity & (capacity - 1) == 0, let base = memory.baseAddress else { return nil }
    let signature = unsafe CaptureRing.cell(base, CaptureRing.signatureOffset).pointee.load(ordering: .acquiring)
    guard signature == CaptureRing.signature else { return nil }
    unsafe self.memory = base
  }

  /// Records that found no room so far.
  public var missed: UInt64 {
    unsafe CaptureRing.cell(memory, CaptureRing.missedOffset).pointee.load(ordering: .relaxed)
  }

  /// Shows `body` the next record and its packet, whose bytes are there for as long as it runs.
  public mutating func next(_ body: (CaptureRecord, UnsafeRawBufferPointer) -> Void) -> Step {
    while true {
      let offset = Int(taken & UInt64(capacity - 1))
      let start = unsafe memory + CaptureRing.headerLength + offset
      let word = unsafe CaptureRing.cell(start, 0).pointee.load(ordering: .acquiring)
      guard word != 0 else { return .empty }
      let size = Int(word & 0xFFFF_FFFF)
      guard size >= 8, size % 8 == 0, size <= capacity - offset else { return .broken }
      let isPadding = word & CaptureRing.paddingMark != 0
      if !isPadding {
        guard size >= CaptureRing.recordHeader, let record = unsafe CaptureReader.record(at: start) else {
          return .broken
        }
        let count = unsafe Int(start.load(fromByteOffset: CaptureRing.Field.byteCount, as: UInt32.self))
        guard count <= size - CaptureRing.recordHeader else { return .broken }
        unsafe body(record, UnsafeRawBufferPointer(start: start + CaptureRing.recordHeader, count: count))
      }
      unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: size)
      taken += UInt64(size)
      unsafe CaptureRing.cell(memory, CaptureRing.takenOffset).pointee.store(taken, ordering: .releasing)
      if !isPadding { return .record }
    }
  }

  @unsafe private static func record(at start: UnsafeMutableRawPointer) -> CaptureRecord? {
    let reason = unsafe start.load(fromByteOffset: CaptureRing.Field.reason, as: UInt8.self)
    let drop = DropReason(rawValue: reason)
    guard drop != nil || reason == CaptureRing.noReason,
      let direction = unsafe CaptureRecord.Direction(
        rawValue: start.load(fromByteOffset: CaptureRing.Field.direction, as: UInt8.self))
    else { return nil }
    let hasKey = unsafe start.load(fromByteOffset: CaptureRing.Field.hasKey, as: UInt8.self) != 0
    let key = unsafe PublicKey(
      start.load(fromByteOffset: CaptureRing.Field.key, as: InlineArray<32, UInt8>.self))
    return CaptureRecord(
      time: unsafe start.load(fromByteOffset: CaptureRing.Field.time, as: UInt64.self), direction: direction,
      drop: drop, peer: hasKey ? key : nil,
      count: unsafe Int(start.load(fromByteOffset: CaptureRing.Field.count, as: UInt32.self)),
      missed: unsafe start.load(fromByteOffset: CaptureRing.Field.missed, as: UInt64.self))
  }
}
