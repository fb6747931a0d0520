import CLinux
import Glibc
import WG6Crypto
import WG6Linux
import WG6Protocol

/// Messages that were received together, each one datagram or many of one sender, and what was found in them so far.
@safe struct ReceivedBatch: ~Copyable {
  /// The longest UDP payload there is, and then some: what is longer was truncated, and is dropped.
  private static let bufferSize = 65536

  /// Messages at most.
  private let capacity: Int
  private let plane: DataPlane
  // SAFETY: `capacity` buffers of `bufferSize` bytes, and as many descriptions that point at them.
  private let buffers: UnsafeMutableRawPointer
  private let messages: UnsafeMutablePointer<linux_datagram>
  private(set) var messageCount = 0
  private(set) var now: Nanoseconds = 0
  private(set) var arrivals: Arrivals

  /// - Parameter isShared: whether threads share such batches: then each has room for whatever its messages hold. A thread
  ///   on its own receives more at once, to share a call among small messages, and opens as much as stays in the cache.
  init(_ plane: DataPlane, isShared: Bool) {
    self.plane = plane
    capacity = isShared ? 8 : 16
    arrivals = Arrivals(plane: plane, capacity: isShared ? 8 * 64 : 64)
    // Touched only as far as messages reach: addresses, not memory.
    unsafe buffers = .allocate(byteCount: capacity * ReceivedBatch.bufferSize, alignment: 4096)
    unsafe messages = .allocate(capacity: capacity)
    for index in 0..<capacity {
      var message = unsafe linux_datagram()
      unsafe message.buffer = buffers + index * ReceivedBatch.bufferSize
      unsafe message.capacity = UInt32(ReceivedBatch.bufferSize)
      unsafe (messages + index).initialize(to: message)
    }
  }

  deinit {
    unsafe messages.deallocate()
    unsafe buffers.deallocate()
  }

  /// Receives what waits, in place of what was there; returns whether more may wait.
  mutating func receive(from socket: Int32, isIPv6: Bool) -> Bool {
    messageCount = unsafe max(0, Int(linux_receive(socket, isIPv6 ? 1 : 0, messages, Int32(capacity))))
    if messageCount > 0 { now = Clock.monotonic }
    return messageCount == capacity
  }

  /// Takes the datagrams of the message at `index` from `offset` on; false where there was no room for all of them.
  ///
  /// - Parameter control: called with what is for the control path, and where it came from.
  mutating func take(
    _ index: Int, from offset: inout Int, isIPv6: Bool, control: (UnsafeRawBufferPointer, PackedPath) -> Void
  ) -> Bool {
    let message = unsafe messages + index
    guard unsafe message.pointee.is_truncated == 0 else {
      plane.drop(.malformedMessage)
      return true
    }
    let path = unsafe message.pointee.path.packed(isIPv6: isIPv6)
    let length = unsafe Int(message.pointee.length)
    let rest = unsafe UnsafeMutableRawBufferPointer(start: message.pointee.buffer + offset, count: length - offset)
    offset += unsafe arrivals.take(rest, segmentSize: Int(message.pointee.segment_size), from: path, now: now) {
      unsafe control($0, path)
    }
    return offset == length
  }
}

extension ReceivedBatch: LinePiece {
  /// What is opened in less time than it takes to wake another thread.
  var isSmall: Bool { arrivals.count < 8 }

  mutating func work(with cipher: borrowing TrainCipher) { arrivals.open(with: cipher) }

  mutating func finish(by writer: PacketWriter) {
    writer.write(self)
    arrivals.removeAll()
  }
}

/// What judges packets and writes them to the device. Used by one thread at a time, until it is ended.
@safe struct PacketWriter {
  private let wires: Wires
  // SAFETY: its own.
  private let delivery: UnsafeMutablePointer<Delivery>

  init(_ wires: Wires) {
    self.wires = wires
    unsafe delivery = .allocate(capacity: 1)
    unsafe delivery.initialize(to: Delivery(plane: wires.plane, rules: wires.mergeRules))
  }

  func end() {
    unsafe delivery.deinitialize(count: 1)
    unsafe delivery.deallocate()
  }

  func write(_ batch: borrowing ReceivedBatch) {
    unsafe delivery.pointee.deliver(batch.arrivals, now: batch.now) { pieces in
      let result = unsafe wires.tun.write(pieces)
      if result == 0 { return .taken }
      guard TUN.isRefusal(result) else { return .failed }
      if pieces.count > 1 { wires.note(.mergedPacketRefused) }
      return .refused
    }
    guard unsafe delivery.pointee.wantsControl else { return }
    unsafe delivery.pointee.wantsControl = false
    wires.control.ring()
  }
}
