import Glibc
import WG6Protocol

/// This machine's clocks, for whoever drives an engine.
public enum Clock {
  /// Nanoseconds of CLOCK_BOOTTIME, which runs on in suspend. One vDSO call, some 25 ns.
  public static var monotonic: Nanoseconds { nanoseconds(of: CLOCK_BOOTTIME) }

  public static var now: Now { Now(monotonic: monotonic, wall: nanoseconds(of: CLOCK_REALTIME)) }

  private static func nanoseconds(of clock: clockid_t) -> Nanoseconds {
    var time = timespec()
    unsafe clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
