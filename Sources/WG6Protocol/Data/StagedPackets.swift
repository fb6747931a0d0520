/// Packets that wait for a key, oldest first: copies on the heap, for a handshake is no steady state.
///
/// Belongs to the outbound thread. Bounded by `Limits.stagedPackets` here and by `Limits.stagedBytes` in `Outbound`.
@safe struct StagedPackets: ~Copyable {
  private var first: UnsafeMutablePointer<Header>?
  private var last: UnsafeMutablePointer<Header>?
  private(set) var count = 0

  @safe private struct Header {
    var next: UnsafeMutablePointer<Header>?
    let length: Int
  }

  deinit {
    var next = unsafe first
    while let header = unsafe next {
      unsafe next = header.pointee.next
      unsafe UnsafeMutableRawPointer(header).deallocate()
    }
  }

  mutating func append(_ packet: UnsafeRawBufferPointer) {
    let block = UnsafeMutableRawPointer.allocate(
      byteCount: MemoryLayout<Header>.size + packet.count, alignment: MemoryLayout<Header>.alignment)
    unsafe (block + MemoryLayout<Header>.size).copyMemory(from: packet.baseAddress!, byteCount: packet.count)
    let header = unsafe block.bindMemory(to: Header.self, capacity: 1)
    unsafe header.initialize(to: Header(next: nil, length: packet.count))
    if let tail = unsafe last { unsafe tail.pointee.next = header } else { unsafe first = header }
    unsafe last = header
    count += 1
  }

  /// The bytes that the oldest takes; 0 where there is none.
  var firstLength: Int { unsafe first?.pointee.length ?? 0 }

  /// Takes the oldest out, its bytes given to `body`.
  mutating func removeFirst(_ body: (UnsafeRawBufferPointer) -> Void) {
    guard let header = unsafe first else { return }
    unsafe first = header.pointee.next
    if unsafe first == nil { unsafe last = nil }
    count -= 1
    unsafe body(
      UnsafeRawBufferPointer(
        start: UnsafeRawPointer(header) + MemoryLayout<Header>.size, count: header.pointee.length))
    unsafe UnsafeMutableRawPointer(header).deallocate()
  }
}
