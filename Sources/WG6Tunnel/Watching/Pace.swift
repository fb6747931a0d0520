/// How often something that others delete is restored: at once, a few times; then ever more slowly, but once a second at
/// the slowest. After ten quiet seconds it begins anew. Times are nanoseconds of any clock.
struct Pace {
  /// `ip route flush` alone deletes again what came back while it was at work.
  static let burst = 10
  static let longest: UInt64 = 1_000_000_000
  private static let quiet: UInt64 = 10_000_000_000
  private static let first: UInt64 = 125_000_000

  private var last: UInt64?
  private var count = 0
  private var interval: UInt64 = 0

  /// When it may be restored next.
  var earliest: UInt64 { (last ?? 0) + interval }

  /// Something was restored. Returns whether that was once too often, so that it is slower from now on.
  mutating func restored(at now: UInt64) -> Bool {
    if let last, now - last > Pace.quiet {
      count = 0
      interval = 0
    }
    last = now
    count += 1
    if count >= Pace.burst { interval = min(max(interval * 2, Pace.first), Pace.longest) }
    return count == Pace.burst
  }
}
