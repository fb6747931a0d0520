import Foundation

/// Something that should have become true in time and did not.
public struct Overdue: Error, CustomStringConvertible {
  public let what: String
  public let seconds: Double
  public var detail = ""
  public var description: String { "after \(seconds) s still not so: \(what)\(detail.isEmpty ? "" : "\n\(detail)")" }
}

/// A claim of a scenario that turned out false.
public struct Disproved: Error, CustomStringConvertible {
  public let claim: String
  public let detail: String
  public var description: String { "not so: \(claim)\(detail.isEmpty ? "" : " (\(detail))")" }
}

/// Waits until `condition` holds, and throws `Overdue` when it does not within `seconds`.
///
/// The harness's only way to let time pass: a scenario waits for what it needs, never for a while.
public func waitUntil(
  _ what: String, within seconds: Double = 10, every pause: Double = 0.05, _ condition: () throws -> Bool
) throws {
  let start = Clock.seconds
  while true {
    if try condition() { return }
    guard Clock.seconds - start < seconds else { throw Overdue(what: what, seconds: seconds) }
    usleep(UInt32(pause * 1_000_000))
  }
}

/// Lets time pass in which nothing is to happen, which no condition can tell.
func pass(seconds: Double) throws {
  let end = Clock.seconds + seconds
  try waitUntil("time passes", within: seconds + 5) { Clock.seconds >= end }
}

/// The clock that counts through suspends.
public enum Clock {
  public static var seconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// Since 1970.
  static var wallSeconds: Double { Date().timeIntervalSince1970 }
}
