import Synchronization

/// When it is safe to free what data threads may still be looking at: each thread passes through here between trains,
/// and what was unpublished before every thread has passed is out of anyone's sight.
///
/// A thread that sleeps has left, and holds nothing up.
struct Quiescence: ~Copyable {
  /// Data threads at most.
  static let readerCapacity = 16

  private let epoch = Atomic<UInt64>(1)
  /// The epoch that each thread saw last; 0 for one that sleeps or does not exist.
  private let readers: InlineArray<16, Atomic<UInt64>>

  init() {
    readers = InlineArray { _ in Atomic(0) }
  }

  /// A data thread wakes up, or passes from one train to the next.
  func pass(_ reader: Int) {
    readers[reader].store(epoch.load(ordering: .acquiring), ordering: .sequentiallyConsistent)
    // What the thread loads from here on must not be loaded before the store above is seen.
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  /// A data thread is about to sleep.
  func leave(_ reader: Int) {
    readers[reader].store(0, ordering: .releasing)
  }

  /// The stamp of something unpublished just now.
  func retire() -> UInt64 {
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return epoch.wrappingAdd(1, ordering: .acquiringAndReleasing).oldValue
  }

  /// Everything with a stamp below this may be freed.
  var safeStamp: UInt64 {
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    var safe = UInt64.max
    for index in readers.indices {
      let seen = readers[index].load(ordering: .acquiring)
      if seen != 0 { safe = min(safe, seen) }
    }
    return safe
  }
}
