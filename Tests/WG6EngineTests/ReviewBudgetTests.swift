import Testing
import WG6Protocol

@testable import WG6Engine

@Suite struct `The budget of route reviews` {
  private let start: Nanoseconds = 1000 * Limits.second

  @Test func `lets one review follow the other at once, while they are short`() {
    var budget = ReviewBudget()
    for round in 0..<100 as Range<UInt64> {
      let begun = start + round * 2 * Limits.millisecond
      #expect(budget.opensAt <= begun, "review \(round)")
      budget.spend(from: begun, to: begun + Limits.millisecond / 10)
    }
  }

  @Test func `limits long reviews to a tenth of the time`() {
    var budget = ReviewBudget()
    var now = start, spent: Nanoseconds = 0
    while now < start + 100 * Limits.second {
      now = max(now, budget.opensAt)
      budget.spend(from: now, to: now + 20 * Limits.millisecond)
      now += 20 * Limits.millisecond
      spent += 20 * Limits.millisecond
    }
    #expect(spent <= 10 * Limits.second + 100 * Limits.millisecond)
    #expect(spent >= 9 * Limits.second)
  }

  @Test func `saves for a burst, and no more than that`() {
    var budget = ReviewBudget()
    budget.spend(from: start, to: start)
    let later = start + 3600 * Limits.second
    budget.spend(from: later, to: later + 50 * Limits.millisecond)
    #expect(budget.opensAt <= later + 50 * Limits.millisecond)
    budget.spend(from: later + 50 * Limits.millisecond, to: later + 60 * Limits.millisecond)
    #expect(budget.opensAt > later + 60 * Limits.millisecond)
  }
}
