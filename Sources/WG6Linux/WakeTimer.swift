import CLinux
import Glibc
import SystemPackage

/// A deadline on the boot-time clock, so that one that passes while the machine sleeps fires when it wakes.
public struct WakeTimer: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init() throws(Errno) {
    let raw = timerfd_create(CLOCK_BOOTTIME, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    descriptor = OwnedDescriptor(raw)
  }

  /// Sets the deadline, in nanoseconds of the boot-time clock; `nil` for none.
  public borrowing func set(_ deadline: UInt64?) {
    var setting = itimerspec()
    if let deadline {
      // Zero would disarm it.
      let deadline = max(deadline, 1)
      setting.it_value = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
    }
    _ = unsafe timerfd_settime(descriptor.rawValue, Int32(TFD_TIMER_ABSTIME), &setting, nil)
  }

  public borrowing func hush() {
    var count: UInt64 = 0
    _ = unsafe read(descriptor.rawValue, &count, 8)
  }
}
