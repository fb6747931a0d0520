import CLinux
import Glibc
import SystemPackage

/// A counter that wakes whoever waits for it (eventfd). Any thread may ring it.
public struct Bell: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init() throws(Errno) {
    let raw = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    descriptor = OwnedDescriptor(raw)
  }

  /// Wakes the waiter. A bell that rings already goes on ringing.
  public borrowing func ring() {
    var one: UInt64 = 1
    _ = unsafe write(descriptor.rawValue, &one, 8)
  }

  /// Stops it ringing.
  public borrowing func hush() {
    var count: UInt64 = 0
    _ = unsafe read(descriptor.rawValue, &count, 8)
  }
}
