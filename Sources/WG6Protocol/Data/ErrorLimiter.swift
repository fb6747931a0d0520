/// Limits ICMP errors: by the packet's source and destination, by its source, and in total. A program or host that causes
/// many takes none from others.
///
/// A fixed table. Like the kernel (`icmp_ratelimit`, `icmp_msgs_per_sec`), it tells whole addresses apart. Sources that
/// change their address are held by the total. Errors about size have a source's bucket of their own: a scan for addresses
/// must not keep "too big" from the same machine, for whose sake a connection would hang. Belongs to one thread.
@safe struct ErrorLimiter: ~Copyable {
  private static let sets = 128
  private static let ways = 4

  /// What a bucket is for.
  private struct Key: Equatable {
    var source: AddressBits
    /// Zero in a bucket of all of a source's errors.
    var destination: AddressBits
    var kind: Kind
  }

  /// Bits: the family, the kind of error, and whether the bucket is for one destination.
  private struct Kind: OptionSet {
    let rawValue: UInt64
    static let isIPv6 = Kind(rawValue: 1)
    static let isAboutSize = Kind(rawValue: 2)
    static let isPair = Kind(rawValue: 4)
  }

  private struct Bucket {
    var key = Key(source: AddressBits(high: 0, low: 0), destination: AddressBits(high: 0, low: 0), kind: [])
    /// Full, this is a free place.
    var tokens = TokenBucket()
  }

  // SAFETY: `sets * ways` places, all initialized; they are plain data.
  private let buckets: UnsafeMutablePointer<Bucket>
  private var total = TokenBucket()

  init() {
    let count = ErrorLimiter.sets * ErrorLimiter.ways
    unsafe buckets = .allocate(capacity: count)
    unsafe buckets.initialize(repeating: Bucket(), count: count)
  }

  deinit {
    unsafe buckets.deallocate()
  }

  /// Whether an error about `packet` may be sent, and takes its tokens.
  mutating func admits(_ packet: InnerPacket, isAboutSize: Bool, now: Nanoseconds) -> Bool {
    var kind: Kind = packet.isIPv6 ? .isIPv6 : []
    if isAboutSize { kind.insert(.isAboutSize) }
    let interval = Limits.errorInterval, burst = Limits.errorBurst
    let pair = Key(source: packet.source, destination: packet.destination, kind: kind.union(.isPair))
    guard take(pair, now, interval: interval, burst: burst) else { return false }
    let source = Key(source: packet.source, destination: AddressBits(high: 0, low: 0), kind: kind)
    // What one pair may have, twice: a program that asks for all of its own leaves as much to the others of its machine.
    guard take(source, now, interval: interval / 2, burst: burst) else { return false }
    return total.take(at: now, interval: Limits.totalErrorInterval, burst: Limits.totalErrorBurst)
  }

  private func take(_ key: Key, _ now: Nanoseconds, interval: Nanoseconds, burst: Nanoseconds) -> Bool {
    unsafe bucket(of: key, now).pointee.tokens.take(at: now, interval: interval, burst: burst)
  }

  /// The bucket of `key`. If its set is full, the bucket unused for longest makes room, which is generous to its owner.
  private func bucket(of key: Key, _ now: Nanoseconds) -> UnsafeMutablePointer<Bucket> {
    let set = unsafe buckets + ErrorLimiter.set(of: key) * ErrorLimiter.ways
    var oldest = unsafe set
    for way in 0..<ErrorLimiter.ways {
      let bucket = unsafe set + way
      if unsafe bucket.pointee.tokens.fullAt > now && bucket.pointee.key == key { return unsafe bucket }
      if unsafe bucket.pointee.tokens.fullAt < oldest.pointee.tokens.fullAt { unsafe oldest = bucket }
    }
    unsafe oldest.pointee = Bucket(key: key)
    return unsafe oldest
  }

  /// Buckets are compared by their whole keys, so collisions do no harm but to share a set.
  private static func set(of key: Key) -> Int {
    var x = (key.source.high ^ key.source.low &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
    x = (x ^ x >> 32 ^ key.destination.high) &* 0x9E37_79B9_7F4A_7C15
    x = (x ^ x >> 32 ^ key.destination.low ^ key.kind.rawValue) &* 0xD6E8_FEB8_6659_FD93
    return Int(truncatingIfNeeded: (x ^ x >> 32) % UInt64(sets))
  }
}
