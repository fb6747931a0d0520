import CSodium
import Synchronization

/// Memory for key material: locked against swapping, left out of core dumps, zeroed when it is given back.
///
/// Slots are cut out of locked slabs, so that one key costs no system call and no page of its own. Where the system
/// refuses to lock (`RLIMIT_MEMLOCK`), the slab is used unlocked and counted in `unlockedByteCount`; zeroing does not depend
/// on locking.
@safe package enum SecretMemory {
  /// Bytes of it that the system refused to lock, so that they may be swapped out. 0 before the first slot was taken.
  package static var unlockedByteCount: Int { unlocked.load(ordering: .relaxed) }
  private static let unlocked = Atomic<Int>(0)

  /// A zeroed slot of at least `byteCount` bytes, aligned to 32.
  package static func allocate(byteCount: Int) -> UnsafeMutableRawPointer {
    unsafe pools[sizeClass(byteCount)].withLock { unsafe $0.take() }
  }

  /// Zeroes a slot that `allocate` gave out and takes it back.
  package static func deallocate(_ slot: UnsafeMutableRawPointer, byteCount: Int) {
    let index = sizeClass(byteCount)
    unsafe sodium_memzero(slot, 32 << index)
    unsafe pools[index].withLock { unsafe $0.give(slot) }
  }

  /// Zeroes what functions that have returned left on the stack of this thread, 128 KiB deep: a key of 32 bytes fits a
  /// register, and registers are saved on the stack, by the dynamic linker too. Commands call it when they have read keys.
  @inline(never)
  package static func wipeStack() {
    sodium_stackzero(128 << 10)
  }

  /// Shows `body` all of it, in blocks of 32 bytes, in use or not: for tests that look for what should be gone, while no
  /// other thread works with secrets.
  package static func forEachBlock(_ body: (RawSpan) -> Void) {
    for index in unsafe pools.indices {
      let slabs = unsafe pools[index].withLock { unsafe $0.slabs }
      unsafe slabs.forEach { slab in
        for offset in unsafe stride(from: 0, to: Pool.slabSize, by: 32) {
          unsafe body(UnsafeRawBufferPointer(start: slab + offset, count: 32).bytes)
        }
      }
    }
  }

  /// 32, 64 and 128 bytes: a key, a keypair's two keys, a handshake's state.
  private static let pools: InlineArray<3, Mutex<Pool>> = unsafe [
    Mutex(Pool(slotSize: 32)), Mutex(Pool(slotSize: 64)), Mutex(Pool(slotSize: 128)),
  ]

  private static func sizeClass(_ byteCount: Int) -> Int {
    precondition((1...128).contains(byteCount), "a secret has 1 to 128 bytes")
    return byteCount <= 32 ? 0 : byteCount <= 64 ? 1 : 2
  }

  @unsafe private struct Pool: @unchecked Sendable {
    static let slabSize = 16384

    let slotSize: Int
    var free: [UnsafeMutableRawPointer] = unsafe []
    var slabs: [UnsafeMutableRawPointer] = unsafe []

    init(slotSize: Int) {
      unsafe self.slotSize = slotSize
    }

    mutating func take() -> UnsafeMutableRawPointer {
      if let slot = unsafe free.popLast() { return unsafe slot }
      // Slabs live as long as the process: a daemon reuses them, and giving one back would save nothing.
      let slab = unsafe UnsafeMutableRawPointer.allocate(byteCount: Pool.slabSize, alignment: 4096)
      unsafe slab.initializeMemory(as: UInt8.self, repeating: 0, count: Pool.slabSize)
      if unsafe sodium_mlock(slab, Pool.slabSize) != 0 {
        unsafe SecretMemory.unlocked.add(Pool.slabSize, ordering: .relaxed)
      }
      unsafe slabs.append(slab)
      unsafe free.append(
        contentsOf: stride(from: 0, to: Pool.slabSize, by: slotSize).reversed().map { unsafe slab + $0 })
      return unsafe free.removeLast()
    }

    mutating func give(_ slot: UnsafeMutableRawPointer) {
      unsafe free.append(slot)
    }
  }
}

/// Thirty-two secret bytes in `SecretMemory`, owned by one value and zeroed when that value ends.
///
/// Keys, shared secrets, chaining keys: everything that must not be copied, printed or left lying about.
@safe package struct Secret: ~Copyable, @unchecked Sendable {
  package static let byteCount = 32

  // SAFETY: allocated in init, freed in deinit, never handed out beyond a call.
  let storage: UnsafeMutableRawPointer

  /// Thirty-two zero bytes.
  package init() {
    unsafe storage = SecretMemory.allocate(byteCount: Secret.byteCount)
  }

  /// A copy of `bytes`, which the caller wipes. Precondition: exactly 32 bytes.
  package init(copying bytes: RawSpan) {
    self.init()
    precondition(bytes.byteCount == Secret.byteCount)
    unsafe bytes.withUnsafeBytes { unsafe storage.copyMemory(from: $0.baseAddress!, byteCount: Secret.byteCount) }
  }

  /// Another owner of the same bytes.
  package borrowing func clone() -> Secret {
    let copy = Secret()
    unsafe copy.storage.copyMemory(from: storage, byteCount: Secret.byteCount)
    return copy
  }

  deinit {
    unsafe SecretMemory.deallocate(storage, byteCount: Secret.byteCount)
  }

  package func withBytes<Result: ~Copyable, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(unsafe UnsafeRawBufferPointer(start: storage, count: Secret.byteCount).bytes)
  }

  @unsafe package func withUnsafeMutableBytes<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafeMutableRawPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    unsafe try body(storage)
  }

  /// Whether every byte is zero, in constant time.
  package var isZero: Bool {
    unsafe sodium_is_zero(storage.assumingMemoryBound(to: UInt8.self), Secret.byteCount) == 1
  }

  /// Whether both hold the same bytes, in constant time.
  package static func == (left: borrowing Secret, right: borrowing Secret) -> Bool {
    unsafe sodium_memcmp(left.storage, right.storage, Secret.byteCount) == 0
  }
}
