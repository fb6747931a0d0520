import WG6Protocol

/// Limits work to a tenth of the time, but for a burst: what was not used is saved, up to 50 ms of work.
struct ReviewBudget {
  private static let share: UInt64 = 10
  private static let saved = 500 * Limits.millisecond

  /// When the work done so far is paid for.
  private(set) var opensAt: Nanoseconds = 0

  /// Work was done from `begun` to `now`.
  mutating func spend(from begun: Nanoseconds, to now: Nanoseconds) {
    let earliest = begun > ReviewBudget.saved ? begun - ReviewBudget.saved : 0
    opensAt = max(opensAt, earliest) + ReviewBudget.share * now.since(begun)
  }
}
