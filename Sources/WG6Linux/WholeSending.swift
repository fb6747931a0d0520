import Synchronization
import WG6Protocol

/// Where runs of datagrams may go out as one message: to which family, and which destinations do not take them.
///
/// Any thread may ask, and tell. What two say at once is not lost for long: it will be found out again.
struct WholeSending: ~Copyable, Sendable {
  private let v4 = Atomic<Bool>(false)
  private let v6 = Atomic<Bool>(false)
  /// Destinations that refused a size, each where its hash says, the later in the earlier one's place: 32 bits of the
  /// hash, 16 bits of the smallest size refused, and 16 bits that count down to the next attempt.
  private let refusals = InlineArray<16, Atomic<UInt64>> { _ in Atomic(0) }

  /// Runs to a destination that go out singly before another is tried whole: routes change.
  static let pause: UInt64 = 1000

  func isOn(isIPv6: Bool) -> Bool { (isIPv6 ? v6.load(ordering: .relaxed) : v4.load(ordering: .relaxed)) }

  func set(_ isOn: Bool, isIPv6: Bool) {
    if isIPv6 { v6.store(isOn, ordering: .relaxed) } else { v4.store(isOn, ordering: .relaxed) }
  }

  /// Turns a family off; true for the one who did.
  func turnOff(isIPv6: Bool) -> Bool {
    isIPv6 ? v6.exchange(false, ordering: .relaxed) : v4.exchange(false, ordering: .relaxed)
  }

  /// Whether a run of datagrams of `size` bytes may be sent along `path` as one.
  func allows(_ size: Int, along path: PackedPath) -> Bool {
    guard isOn(isIPv6: path.isIPv6) else { return false }
    let (place, tag) = WholeSending.place(of: path)
    let entry = refusals[place].load(ordering: .relaxed)
    guard entry >> 32 == tag, size >= Int(entry >> 16 & 0xFFFF), entry & 0xFFFF != 0 else { return true }
    refusals[place].store(entry - 1, ordering: .relaxed)
    return false
  }

  /// `path` has refused datagrams of `size` bytes in one message.
  func refused(_ size: Int, along path: PackedPath) {
    let (place, tag) = WholeSending.place(of: path)
    refusals[place].store(tag << 32 | UInt64(size) << 16 | WholeSending.pause, ordering: .relaxed)
  }

  /// Where a destination's refusals are noted, and how it is told apart from others there. It need not be hard to guess:
  /// who shares a place sends a little slower at the worst.
  private static func place(of path: PackedPath) -> (Int, UInt64) {
    let hash = (path.remote.high ^ path.remote.low &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
    return (Int(hash >> 60), hash >> 28 & 0xFFFF_FFFF)
  }
}
