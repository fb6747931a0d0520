import Synchronization
import WG6Crypto

/// A running capture: its filter, and the ring for the packets that pass it. Its address is stable while a data thread may
/// look at it.
@safe struct Capture: ~Copyable {
  let writer: CaptureWriter
  let filter: CompiledFilter
  let clock: @Sendable () -> Nanoseconds
  /// Keeps the memory.
  let owner: AnyObject
}

/// The address of a capture.
@safe public struct CaptureReference: Equatable, @unchecked Sendable {
  // SAFETY: only the control path holds one, and data threads between two quiescent points.
  let pointer: UnsafeMutablePointer<Capture>

  public static func == (left: CaptureReference, right: CaptureReference) -> Bool {
    unsafe left.pointer == right.pointer
  }

  static func create(_ capture: consuming Capture) -> CaptureReference {
    let pointer = UnsafeMutablePointer<Capture>.allocate(capacity: 1)
    unsafe pointer.initialize(to: capture)
    return unsafe CaptureReference(pointer: pointer)
  }

  func destroy() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }
}

/// The captures of a device.
struct CaptureList: ~Copyable {
  /// At once.
  static let capacity = 4

  /// How many there are: all that a data thread looks at while there is none.
  private let count = Atomic<UInt32>(0)
  /// Addresses, 0 where there is none.
  private let places: InlineArray<4, Atomic<UInt>> = InlineArray { _ in Atomic(0) }

  /// One load, without order: a packet more or less at a capture's beginning is the same to everybody.
  var isEmpty: Bool { count.load(ordering: .relaxed) == 0 }

  /// The control path's: returns false where there are as many as may be.
  func insert(_ capture: CaptureReference) -> Bool {
    for index in places.indices where places[index].load(ordering: .relaxed) == 0 {
      unsafe places[index].store(UInt(bitPattern: capture.pointer), ordering: .releasing)
      count.wrappingAdd(1, ordering: .releasing)
      return true
    }
    return false
  }

  /// The control path's: returns whether it was there.
  func remove(_ capture: CaptureReference) -> Bool {
    let address = unsafe UInt(bitPattern: capture.pointer)
    for index in places.indices where places[index].load(ordering: .relaxed) == address {
      places[index].store(0, ordering: .releasing)
      count.wrappingSubtract(1, ordering: .releasing)
      return true
    }
    return false
  }

  func forEach(_ body: (borrowing Capture) -> Void) {
    for index in places.indices {
      guard
        let pointer = unsafe UnsafeMutablePointer<Capture>(bitPattern: places[index].load(ordering: .acquiring))
      else { continue }
      unsafe body(pointer.pointee)
    }
  }

  /// For the end of the device, when no data thread is left.
  func destroyAll() {
    for index in places.indices {
      guard let pointer = unsafe UnsafeMutablePointer<Capture>(bitPattern: places[index].load(ordering: .relaxed))
      else { continue }
      unsafe CaptureReference(pointer: pointer).destroy()
    }
  }
}

extension DataPlane {
  /// Whether any capture runs.
  var isCaptured: Bool { !captures.isEmpty }

  /// Shows a packet, with what may follow it, to the captures. Called only while `isCaptured`, by a data thread between two
  /// quiescent points or by the control path.
  ///
  /// - Parameter drop: why it goes no further, if it does not.
  @inline(never)
  func capture(
    _ bytes: UnsafeRawBufferPointer, _ direction: CaptureRecord.Direction, _ peer: PeerReference?,
    drop: DropReason? = nil, count: Int = 1
  ) {
    let headers = unsafe PacketHeaders(bytes)
    let packet = unsafe UnsafeRawBufferPointer(rebasing: bytes.prefix(headers?.length ?? bytes.count))
    let key = peer.map { unsafe $0.pointer.pointee.publicKey }
    captures.forEach { capture in
      guard capture.filter.admits(headers, of: key, isDropped: drop != nil) else { return }
      unsafe capture.writer.write(
        CaptureRecord(time: capture.clock(), direction: direction, drop: drop, peer: key, count: count), packet)
    }
  }
}

extension DropReason {
  /// Which way what is dropped for this reason was going.
  var direction: CaptureRecord.Direction { rawValue <= DropReason.deviceRefusedPacket.rawValue ? .inbound : .outbound }
}

extension Device {
  /// Captures at once at most.
  public static let captureLimit = CaptureList.capacity

  /// Begins to write what `filter` takes into `memory`; nil where there are as many captures as may be, or more in the
  /// filter.
  ///
  /// - Parameters:
  ///   - memory: `CaptureRing.byteCount` zeroed bytes, or another size that `CaptureWriter` takes.
  ///   - owner: keeps the memory; let go of once no data thread can be writing.
  ///   - clock: gives each record its time, and captures nothing.
  public func startCapture(
    into memory: UnsafeMutableRawBufferPointer, of owner: AnyObject, _ filter: CaptureFilter,
    clock: @escaping @Sendable () -> Nanoseconds
  ) -> CaptureReference? {
    guard let compiled = CompiledFilter(filter) else { return nil }
    let capture = unsafe CaptureReference.create(
      Capture(writer: CaptureWriter(memory), filter: compiled, clock: clock, owner: owner))
    if plane.captures.insert(capture) { return capture }
    capture.destroy()
    return nil
  }

  /// Ends a capture; its memory is let go of once no data thread can be writing there.
  public func end(_ capture: CaptureReference) {
    guard plane.captures.remove(capture) else { return }
    retire(.capture(capture))
    reclaim()
  }
}
