/// How often something may be done: a token each `interval`, saved up for as long as `burst`. Full to begin with.
package struct TokenBucket {
  /// When it will be full again.
  private(set) var fullAt: Nanoseconds = 0

  package init() {}

  /// Takes a token; false where there is none.
  package mutating func take(at now: Nanoseconds, interval: Nanoseconds, burst: Nanoseconds) -> Bool {
    let start = max(fullAt, now)
    guard start + interval <= now + burst else { return false }
    fullAt = start + interval
    return true
  }
}
