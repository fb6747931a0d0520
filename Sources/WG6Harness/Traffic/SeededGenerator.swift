import Foundation

/// Random numbers that come again with the same seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  let seed: UInt64
  private var state: UInt64

  init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  /// A new seed, or the one that WG6_SEED asks for.
  static func chosen() -> SeededGenerator {
    let wanted = ProcessInfo.processInfo.environment["WG6_SEED"].flatMap { UInt64($0) }
    return SeededGenerator(seed: wanted ?? UInt64.random(in: 1...UInt64(UInt32.max)))
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
