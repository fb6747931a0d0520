import WG6Crypto

/// A token bucket for each source address (an IPv4 /32, an IPv6 /64): 20 handshake messages a second, bursts of 5.
///
/// A fixed table, made when first needed. A source falls into a set of four by a keyed hash; where all four are taken,
/// the one silent for longest makes room, which is at worst generous to it.
struct SourceLimiter {
  private static let interval: Nanoseconds = 50 * Limits.millisecond
  private static let burst = 5 * interval
  private static let sets = 4096
  private static let ways = 4

  private struct Bucket {
    var source: UInt64 = 0
    /// Full, this is a free place.
    var tokens = TokenBucket()
  }

  private var buckets: [Bucket] = []
  private var key: (UInt64, UInt64) = (0, 0)

  /// Whether a message from `path` may still be looked at, and takes its token.
  mutating func admits(_ path: PackedPath, now: Nanoseconds, using random: inout some RandomNumberGenerator) -> Bool {
    if buckets.isEmpty {
      buckets = Array(repeating: Bucket(), count: SourceLimiter.sets * SourceLimiter.ways)
      key = (random.next(), random.next())
    }
    // The family is part of the source: an IPv4 address looks like the top of an IPv6 one.
    let source = path.remote.high ^ (path.isIPv6 ? 0 : 0xFFFF_FFFF)
    let base = Int(hash(source) % UInt64(SourceLimiter.sets)) * SourceLimiter.ways
    let set = base..<base + SourceLimiter.ways
    let place =
      set.first { buckets[$0].tokens.fullAt > now && buckets[$0].source == source }
      ?? set.min { buckets[$0].tokens.fullAt < buckets[$1].tokens.fullAt }!
    if buckets[place].source != source { buckets[place] = Bucket(source: source) }
    return buckets[place].tokens.take(at: now, interval: SourceLimiter.interval, burst: SourceLimiter.burst)
  }

  private func hash(_ source: UInt64) -> UInt64 {
    var x = (source ^ key.0) &* 0x9E37_79B9_7F4A_7C15
    x = (x ^ x >> 32 ^ key.1) &* 0xD6E8_FEB8_6659_FD93
    return x ^ x >> 32
  }
}

/// Whether so many handshake messages wait that only those with a cookie are worth computing for.
struct HandshakeLoad {
  private var lastHigh: Nanoseconds = 0

  /// - Parameter fill: how full the queue of handshake messages is, 0 to 1.
  mutating func isHigh(fill: Double, now: Nanoseconds) -> Bool {
    if fill >= 1.0 / 8 { lastHigh = now }
    return lastHigh != 0 && now.since(lastHigh) < Limits.loadMemory
  }
}
