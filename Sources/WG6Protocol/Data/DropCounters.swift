import Synchronization

/// Counters of what was dropped, one a reason: any thread counts, any thread reads.
struct DropCounters: ~Copyable {
  private let counters: InlineArray<31, Atomic<UInt64>>

  init() {
    precondition(DropReason.allCases.count == 31)
    counters = InlineArray { _ in Atomic(0) }
  }

  func add(_ amount: Int, to reason: DropReason) {
    counters[Int(reason.rawValue)].wrappingAdd(UInt64(amount), ordering: .relaxed)
  }

  subscript(reason: DropReason) -> UInt64 { counters[Int(reason.rawValue)].load(ordering: .relaxed) }

  var counts: DropCounts {
    var counts = DropCounts()
    for reason in DropReason.allCases { counts[reason] = self[reason] }
    return counts
  }
}
