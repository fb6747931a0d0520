/// A TAI64N label: twelve big-endian bytes that compare as time does. Each initiation must carry a later one.
struct TAI64N: Equatable, Comparable {
  /// 2^62 and the ten leap seconds of 1970.
  private static let epoch: UInt64 = 0x4000_0000_0000_000A

  let seconds: UInt64
  let nanoseconds: UInt32

  init(seconds: UInt64, nanoseconds: UInt32) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// The label of an instant, cut to `Limits.timestampGranularity`.
  init(wall: Nanoseconds) {
    seconds = TAI64N.epoch &+ wall / Limits.second
    let fraction = wall % Limits.second
    nanoseconds = UInt32(fraction - fraction % Limits.timestampGranularity)
  }

  /// What a peer sent. Precondition: twelve bytes.
  init(_ bytes: InlineArray<12, UInt8>) {
    var seconds: UInt64 = 0, nanoseconds: UInt32 = 0
    for index in 0..<8 { seconds = seconds << 8 | UInt64(bytes[index]) }
    for index in 8..<12 { nanoseconds = nanoseconds << 8 | UInt32(bytes[index]) }
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// The next label that granularity allows.
  var successor: TAI64N {
    let next = UInt64(nanoseconds) + Limits.timestampGranularity
    return next < Limits.second
      ? TAI64N(seconds: seconds, nanoseconds: UInt32(next)) : TAI64N(seconds: seconds + 1, nanoseconds: 0)
  }

  var bytes: InlineArray<12, UInt8> {
    InlineArray { index in
      index < 8
        ? UInt8(truncatingIfNeeded: seconds >> UInt64(56 - 8 * index))
        : UInt8(truncatingIfNeeded: nanoseconds >> UInt32(88 - 8 * index))
    }
  }

  static func < (left: TAI64N, right: TAI64N) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }
}
