import CLinux
import Glibc
import SystemPackage

/// Waits for many descriptors at once (epoll, level-triggered). Each has a token of the caller's choice.
public struct Poller: ~Copyable, Sendable {
  private let descriptor: OwnedDescriptor

  public static let readable = UInt32(EPOLLIN.rawValue)
  /// Told whether asked for or not.
  public static let failed = UInt32(EPOLLERR.rawValue)
  public static let writable = UInt32(EPOLLOUT.rawValue)
  /// Tell once for each arrival, not for as long as something is there.
  public static let onArrival = EPOLLET.rawValue
  /// Tell once, and then not until `change` asks again.
  public static let once = EPOLLONESHOT.rawValue

  public init() throws(Errno) {
    let raw = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    descriptor = OwnedDescriptor(raw)
  }

  /// Starts to wait for `events` of `watched`. Any thread may call this while another waits.
  public borrowing func add(_ watched: Int32, token: UInt64, events: UInt32 = Poller.readable) throws(Errno) {
    try control(EPOLL_CTL_ADD, watched, token, events)
  }

  public borrowing func change(_ watched: Int32, token: UInt64, events: UInt32) throws(Errno) {
    try control(EPOLL_CTL_MOD, watched, token, events)
  }

  public borrowing func remove(_ watched: Int32) {
    _ = epoll_ctl(descriptor.rawValue, EPOLL_CTL_DEL, watched, nil)
  }

  /// Waits until something is ready, and tells each token with its events. Up to 32 a call.
  public borrowing func wait(_ body: (_ token: UInt64, _ events: UInt32) -> Void) throws(Errno) {
    var ready = unsafe InlineArray<32, epoll_event>(repeating: epoll_event())
    var span = unsafe ready.mutableSpan
    let count = unsafe span.withUnsafeMutableBufferPointer { buffer in
      unsafe epoll_wait(descriptor.rawValue, buffer.baseAddress!, Int32(buffer.count), -1)
    }
    guard count >= 0 else {
      if errno == EINTR { return }
      throw Errno(rawValue: errno)
    }
    for index in 0..<Int(count) { unsafe body(ready[index].data.u64, ready[index].events) }
  }

  private borrowing func control(
    _ operation: Int32, _ watched: Int32, _ token: UInt64, _ events: UInt32
  ) throws(Errno) {
    var event = unsafe epoll_event()
    unsafe event.events = events
    unsafe event.data.u64 = token
    guard unsafe epoll_ctl(descriptor.rawValue, operation, watched, &event) == 0 else { throw Errno(rawValue: errno) }
  }
}
