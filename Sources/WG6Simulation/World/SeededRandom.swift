import WG6Protocol

/// A generator whose whole future is its seed (SplitMix64, Steele et al. 2014). For tests; never for keys that matter.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) {
    state = seed
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  /// A number from 0 to just below `bound`.
  public mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  /// A duration of at least `least` and at most `most`.
  public mutating func duration(_ least: Nanoseconds, _ most: Nanoseconds) -> Nanoseconds {
    least + next() % (most - least + 1)
  }

  /// Whether something of this probability happens. What can't happen, or must, draws nothing.
  public mutating func happens(_ probability: Double) -> Bool {
    guard probability > 0 else { return false }
    guard probability < 1 else { return true }
    return Double(next() >> 11) < probability * 0x1p53
  }

  /// One of `choices`. Precondition: there is one.
  public mutating func pick<Choice>(_ choices: [Choice]) -> Choice { choices[below(choices.count)] }

  public mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
      let word = next()
      for shift in 0..<min(8, count - bytes.count) {
        bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * shift)))
      }
    }
    return bytes
  }
}
