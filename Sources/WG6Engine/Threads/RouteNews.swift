import Glibc
import Synchronization
import SystemPackage
import WG6Linux
import WG6Protocol

/// What the kernel tells of routes, and how far the control thread has reviewed it.
///
/// The kernel tells of a new route before the call that adds it returns. A packet that is sent after that has to take the
/// new route, so the outbound thread, which wakes for the packet, must not overtake the review: it listens to the monitor,
/// too, and waits for the control thread. Without news it does not wait, and makes no system call for it.
struct RouteNews: ~Copyable, Sendable {
  /// The longest wait for a review, in milliseconds. With many peers a review takes longer, and packets keep the former route.
  private static let patience: Int32 = 10

  let monitor: InterfaceMonitor
  /// Rounds of the control thread: begun before it reads the monitor, done when it has reviewed what it read.
  private let begun = Atomic<UInt64>(0)
  private let done = Atomic<UInt64>(0)
  private let isAwaited = Atomic<Bool>(false)
  /// Set when the outbound thread has seen news. It stops listening until `listenAgain`.
  private let isDeaf = Atomic<Bool>(false)
  private let bell: Bell

  init() throws(Errno) {
    let first = try InterfaceMonitor(), second = try Bell()
    monitor = first
    bell = second
  }

  // MARK: The outbound thread's side

  /// Waits until what the monitor told before this call is reviewed.
  ///
  /// - Parameter isTold: whether the monitor has something that no one may have read yet.
  func wait(isTold: Bool, control: borrowing Bell) {
    // Read before the request, so that the round waited for begins after the monitor told.
    let current = begun.load(ordering: .sequentiallyConsistent)
    let wanted = isTold ? current + 1 : current
    guard done.load(ordering: .sequentiallyConsistent) < wanted else { return }
    if isTold {
      isDeaf.store(true, ordering: .sequentiallyConsistent)
      isAwaited.store(true, ordering: .sequentiallyConsistent)
      control.ring()
    }
    waitOut(wanted)
  }

  @inline(never) private func waitOut(_ wanted: UInt64) {
    let end = Clock.monotonic + UInt64(RouteNews.patience) * Limits.millisecond
    while done.load(ordering: .sequentiallyConsistent) < wanted, Clock.monotonic < end {
      var rung = pollfd(fd: bell.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&rung, 1, RouteNews.patience)
      bell.hush()
    }
  }

  // MARK: The control thread's side

  /// Takes the outbound thread's request for a round. Returns false if there is none.
  func takeRequest() -> Bool {
    isAwaited.load(ordering: .relaxed) && isAwaited.exchange(false, ordering: .sequentiallyConsistent)
  }

  /// Runs a round: `body` reads the monitor and reviews what it told.
  func round(_ body: () -> Void) {
    begun.add(1, ordering: .sequentiallyConsistent)
    body()
    done.store(begun.load(ordering: .relaxed), ordering: .sequentiallyConsistent)
    bell.ring()
  }

  /// Has the outbound thread listen again. Call after a review, so that news comes to it no more often than the reviews'
  /// budget allows.
  func listenAgain(_ poller: borrowing Poller) {
    guard isDeaf.load(ordering: .relaxed), isDeaf.exchange(false, ordering: .sequentiallyConsistent) else { return }
    try? poller.change(
      monitor.descriptor.rawValue, token: Wires.Token.routes, events: Poller.readable | Poller.once)
  }
}
