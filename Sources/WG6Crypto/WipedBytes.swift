import CSodium
import Glibc

/// A growable byte buffer for text that may carry keys: locked against swapping as far as the system allows, left out of
/// core dumps, and zeroed when it grows, shrinks or ends.
@safe public struct WipedBytes: ~Copyable, @unchecked Sendable {
  // SAFETY: whole pages, owned by this value alone; `count` bytes of `capacity` are initialised.
  private var storage: UnsafeMutableRawPointer
  private var capacity: Int
  public private(set) var count = 0

  public init(minimumCapacity: Int = 256) {
    capacity = WipedBytes.wholePages(minimumCapacity)
    unsafe storage = WipedBytes.allocate(capacity)
  }

  deinit {
    unsafe WipedBytes.deallocate(storage, capacity)
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
    let larger = WipedBytes.wholePages(max(wanted, capacity * 2))
    let next = unsafe WipedBytes.allocate(larger)
    unsafe next.copyMemory(from: storage, byteCount: count)
    unsafe WipedBytes.deallocate(storage, capacity)
    unsafe storage = next
    capacity = larger
  }

  private static let pageSize = Int(getpagesize())

  private static func wholePages(_ byteCount: Int) -> Int {
    (max(byteCount, 1) + pageSize - 1) / pageSize * pageSize
  }

  /// Pages of its own: to lock and unlock those of other buffers would be undone by each other.
  private static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let pages = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let pages = unsafe pages, unsafe pages != MAP_FAILED else { fatalError("no memory for \(byteCount) bytes") }
    // Out of core dumps too. Where there is no room under the limit (RLIMIT_MEMLOCK) it is used unlocked.
    _ = unsafe sodium_mlock(pages, byteCount)
    return unsafe pages
  }

  private static func deallocate(_ pages: UnsafeMutableRawPointer, _ byteCount: Int) {
    unsafe sodium_memzero(pages, byteCount)
    unsafe munmap(pages, byteCount)
  }
}
