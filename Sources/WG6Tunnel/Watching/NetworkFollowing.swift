import WG6Protocol

/// When a tunnel is to follow the local networks that `lan` stands for: once for each change, when nothing has changed for a
/// moment, as a DHCP client removes one address before it adds another, and not all the time, whatever a network does. Times
/// are nanoseconds of any clock.
struct NetworkFollowing {
  static let settling: UInt64 = 500_000_000
  static let interval: UInt64 = 2_000_000_000

  /// When it is to be asked again; `nil` if nothing is to follow.
  private(set) var due: UInt64?
  private var awaited: Set<IPPrefix>?
  /// What was followed last. One that failed is not tried again.
  private var followed: Set<IPPrefix>?
  private var earliest: UInt64 = 0

  /// Whether to follow now.
  ///
  /// - Parameter lan: what it stood for when a command asked last, and what it stands for now.
  mutating func isDue(_ lan: (before: Set<IPPrefix>, now: Set<IPPrefix>)?, at now: UInt64) -> Bool {
    guard let lan, lan.before != lan.now else {
      (due, awaited, followed) = (nil, nil, nil)
      return false
    }
    guard lan.now != followed else {
      (due, awaited) = (nil, nil)
      return false
    }
    if awaited != lan.now { (due, awaited) = (max(now + NetworkFollowing.settling, earliest), lan.now) }
    guard let due, due <= now else { return false }
    earliest = now + NetworkFollowing.interval
    followed = lan.now
    (self.due, awaited) = (nil, nil)
    return true
  }
}
