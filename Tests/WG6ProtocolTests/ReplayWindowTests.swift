import Testing
import WG6Simulation

@testable import WG6Protocol

/// The window's specification: every counter seen so far, and how far back it may look.
private struct CounterSet {
  private var seen: Set<UInt64> = []
  private var newest: UInt64?

  mutating func accept(_ counter: UInt64) -> Bool {
    guard counter < Limits.rejectAfterMessages, !seen.contains(counter) else { return false }
    if let newest, counter < newest, newest - counter > 8128 { return false }
    seen.insert(counter)
    newest = max(newest ?? 0, counter)
    return true
  }
}

@Suite struct `The replay window` {
  @Test(arguments: seeds, [0, 1 << 60, UInt64.max - 1 << 13 - 40000])
  func `agrees with a set of all counters seen`(seed: UInt64, base: UInt64) {
    var random = SeededRandom(seed: seed)
    var window = ReplayWindow(), set = CounterSet()
    var newest = base
    for step in 0..<20000 {
      let counter: UInt64
      switch random.below(10) {
      case 0: counter = newest &+ UInt64(random.below(20000))
      case 1, 2: counter = newest &- min(newest, UInt64(8100 + random.below(60)))
      case 3, 4: counter = newest &- min(newest, UInt64(random.below(9000)))
      case 5: counter = newest
      default: counter = newest &+ UInt64(random.below(3))
      }
      let accepted = window.accept(counter), expected = set.accept(counter)
      guard accepted == expected else {
        Issue.record("step \(step), counter \(counter), newest \(newest): \(accepted) in place of \(expected)")
        return
      }
      if accepted { newest = max(newest, counter) }
    }
  }

  @Test(arguments: [0, 1, 63, 64, 8127, 8128, 8191, 8192, 1 << 32, 1 << 60, UInt64.max - 1 << 13 - 9000])
  func `reaches back exactly 8128 counters`(start: UInt64) {
    var window = ReplayWindow()
    let newest = start + 8200
    #expect(window.accept(newest) == true)
    let edge = window.accept(newest - 8128), again = window.accept(newest - 8128), beyond = window.accept(newest - 8129)
    #expect(edge && !again && !beyond)
  }

  @Test func `takes the last counter that there is, and none of those that are refused`() {
    var window = ReplayWindow()
    let last = Limits.rejectAfterMessages - 1
    let refused = [Limits.rejectAfterMessages, .max].map { window.accept($0) }
    let taken = [last, last, last - 1, last - 8128, last - 8129].map { window.accept($0) }
    #expect(refused == [false, false])
    #expect(taken == [true, false, true, true, false])
  }

  @Test func `a jump clears what it jumps over, however far`() {
    for jump: UInt64 in [63, 64, 65, 8127, 8128, 8191, 8192, 8193, 1 << 40] {
      var window = ReplayWindow()
      for counter: UInt64 in 0..<300 { _ = window.accept(counter) }
      let newest = 299 + jump
      let first = window.accept(newest)
      #expect(first)
      for counter in max(300, newest - min(newest, 8128))..<newest where counter % 7 == 0 {
        let isFresh = window.accept(counter)
        #expect(isFresh, "counter \(counter) after a jump of \(jump)")
      }
    }
  }
}
