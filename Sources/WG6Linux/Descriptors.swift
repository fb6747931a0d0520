import CLinux
import Glibc
import SystemPackage

/// A file descriptor with one owner, closed when that ends.
public struct OwnedDescriptor: ~Copyable, Sendable {
  public let rawValue: Int32

  /// Takes over an open descriptor.
  public init(_ rawValue: Int32) {
    self.rawValue = rawValue
  }

  /// Takes over what a call of `CLinux` returned: a descriptor, or a negative errno that is thrown.
  init(orErrno result: Int32) throws(Errno) {
    guard result >= 0 else { throw Errno(rawValue: -result) }
    rawValue = result
  }

  deinit {
    close(rawValue)
  }
}

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

/// Signals as something to read rather than something that interrupts. Blocks them for this thread and those it starts.
public struct SignalReader: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init(_ signals: [Int32]) throws(Errno) {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    let raw = unsafe signalfd(-1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    descriptor = OwnedDescriptor(raw)
  }

  /// The next signal that came; `nil` where none did.
  public borrowing func next() -> Int32? {
    var info = signalfd_siginfo()
    let size = MemoryLayout<signalfd_siginfo>.size
    return unsafe read(descriptor.rawValue, &info, size) == size ? Int32(info.ssi_signo) : nil
  }
}

/// Waits for many descriptors at once (epoll, level-triggered). Each has a token of the caller's choice.
public struct Poller: ~Copyable, Sendable {
  private let descriptor: OwnedDescriptor

  public static let readable = UInt32(EPOLLIN.rawValue)
  public static let writable = UInt32(EPOLLOUT.rawValue)

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

/// Tells when a file is removed (inotify).
public struct RemovalWatch: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init(of path: String) throws(Errno) {
    let raw = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    let owned = OwnedDescriptor(raw)
    // A socket's link count falls (IN_ATTRIB) before the last reference, ours, lets it go (IN_DELETE_SELF).
    guard unsafe inotify_add_watch(raw, path, UInt32(IN_ATTRIB | IN_DELETE_SELF)) >= 0 else {
      throw Errno(rawValue: errno)
    }
    descriptor = owned
  }

  /// Throws away what was told so far; whether the file is still there is to be asked.
  public borrowing func drain() {
    unsafe withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      while unsafe read(descriptor.rawValue, buffer.baseAddress!, buffer.count) > 0 {}
    }
  }
}
