import CSodium

/// A growable byte buffer for text that may carry keys: what it held is zeroed when it grows, shrinks or ends.
@safe public struct WipedBytes: ~Copyable, @unchecked Sendable {
  // SAFETY: owned by this value alone; `count` bytes of `capacity` are initialised.
  private var storage: UnsafeMutableRawPointer
  private var capacity: Int
  public private(set) var count = 0

  public init(minimumCapacity: Int = 256) {
    capacity = max(minimumCapacity, 64)
    unsafe storage = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit {
    unsafe sodium_memzero(storage, capacity)
    unsafe storage.deallocate()
  }

  public var isEmpty: Bool { count == 0 }

  public mutating func append(_ byte: UInt8) {
    reserve(count + 1)
    unsafe storage.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
  }

  public mutating func append(_ bytes: RawSpan) {
    reserve(count + bytes.byteCount)
    unsafe bytes.withUnsafeBytes { source in
      if let base = source.baseAddress { unsafe (storage + count).copyMemory(from: base, byteCount: source.count) }
    }
    count += bytes.byteCount
  }

  public mutating func append(_ text: String) {
    for byte in text.utf8 { append(byte) }
  }

  /// Lets `fill` write up to `byteCount` bytes behind what is there; it returns how many it wrote.
  public mutating func append<Failure: Error>(
    upTo byteCount: Int, _ fill: (UnsafeMutableRawBufferPointer) throws(Failure) -> Int
  ) throws(Failure) {
    reserve(count + byteCount)
    count += unsafe try fill(UnsafeMutableRawBufferPointer(start: storage + count, count: byteCount))
  }

  /// Drops the first `byteCount` bytes, wiping their place.
  public mutating func removeFirst(_ byteCount: Int) {
    precondition((0...count).contains(byteCount))
    unsafe storage.copyMemory(from: storage + byteCount, byteCount: count - byteCount)
    unsafe sodium_memzero(storage + count - byteCount, byteCount)
    count -= byteCount
  }

  public mutating func removeAll() {
    unsafe sodium_memzero(storage, count)
    count = 0
  }

  /// The bytes, for as long as `body` runs.
  public func withBytes<Result, Failure: Error>(_ body: (RawSpan) throws(Failure) -> Result) throws(Failure) -> Result {
    try body(unsafe UnsafeRawBufferPointer(start: storage, count: count).bytes)
  }

  private mutating func reserve(_ wanted: Int) {
    guard wanted > capacity else { return }
    let larger = max(wanted, capacity * 2)
    let next = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    unsafe next.copyMemory(from: storage, byteCount: count)
    unsafe sodium_memzero(storage, capacity)
    unsafe storage.deallocate()
    unsafe storage = next
    capacity = larger
  }
}
