/// Which counters have been seen under one key: a sliding bitmap (RFC 6479), 8,128 counters deep.
///
/// Entered only after a message was authenticated, by one thread.
struct ReplayWindow {
  private static let words = 128
  private static let bits = words * 64
  /// How far behind the newest a counter may lie: one word is always being cleared.
  static let depth = UInt64(bits - 64)

  /// One more than the greatest counter seen; 0 before the first.
  private(set) var next: UInt64 = 0
  private var bitmap = InlineArray<128, UInt64>(repeating: 0)

  /// Enters `counter`; false where it was seen before, or is too old to tell.
  mutating func accept(_ counter: UInt64) -> Bool {
    guard counter < Limits.rejectAfterMessages else { return false }
    let word = counter / 64
    if counter >= next {
      // Slide: clear every word between the newest so far and this one, all of them at most.
      let newest = next == 0 ? 0 : (next - 1) / 64
      let slide = min(word - newest, UInt64(ReplayWindow.words))
      var step: UInt64 = 1
      while step <= slide {
        bitmap[Int((newest &+ step) % UInt64(ReplayWindow.words))] = 0
        step += 1
      }
      next = counter + 1
    } else if next - 1 - counter > ReplayWindow.depth {
      return false
    }
    let index = Int(word % UInt64(ReplayWindow.words))
    let mask: UInt64 = 1 << (counter % 64)
    guard bitmap[index] & mask == 0 else { return false }
    bitmap[index] |= mask
    return true
  }
}
