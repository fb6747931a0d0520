import Glibc
import SystemPackage
import WG6Linux

/// SIGINT, SIGTERM and SIGHUP, held back while a tunnel is half built, and looked at between steps.
struct Signals: ~Copyable {
  private var set: sigset_t
  private let arrivals: Arrivals

  /// The signals to end that have arrived.
  private final class Arrivals {
    /// SIGHUP is one if it comes from a terminal, that is gone then.
    private let ending = [SIGINT, SIGTERM] + (isatty(STDIN_FILENO) == 0 ? [] : [SIGHUP])
    /// The first that was taken.
    private(set) var taken: Int32?

    /// The first that has arrived; nil if none has.
    var first: Int32? {
      if let taken { return taken }
      var pending = sigset_t()
      unsafe sigpending(&pending)
      return ending.first { unsafe sigismember(&pending, $0) == 1 }
    }

    /// Takes those that have arrived since the last call; returns whether any has.
    func take() -> Bool {
      var set = sigset_t()
      unsafe sigemptyset(&set)
      for signal in ending { unsafe sigaddset(&set, signal) }
      var now = timespec()
      var hasTaken = false
      while true {
        let signal = unsafe sigtimedwait(&set, nil, &now)
        if signal <= 0 { return hasTaken }
        taken = taken ?? signal
        hasTaken = true
      }
    }
  }

  /// Blocks the signals for the rest of this process; `watch` and `wait` notice them. Nobody who stopped listening to what
  /// is told ends it half-way either.
  static func block() -> Signals {
    signal(SIGPIPE, SIG_IGN)
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] { unsafe sigaddset(&set, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    return Signals(set: set, arrivals: Arrivals())
  }

  /// Says whether a signal to end has arrived.
  var watch: () -> Bool {
    let arrivals = arrivals
    return { arrivals.first != nil }
  }

  /// Says whether one has arrived since the last call.
  var take: () -> Bool {
    let arrivals = arrivals
    return { arrivals.take() }
  }

  /// Does `body`. If a signal made it fail, or ended one of the file's commands, this process then ends by that signal, as
  /// shells and service managers expect: a shell's status is 128 and the signal's number.
  func ending<Result: ~Copyable>(_ body: () throws -> Result) throws -> Result {
    do {
      let result = try body()
      if let signal = arrivals.taken { end(by: signal) }
      return result
    } catch {
      if let signal = arrivals.first { end(by: signal) }
      throw error
    }
  }

  private func end(by number: Int32) {
    signal(number, SIG_DFL)
    var set = sigset_t()
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, number)
    raise(number)
    unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }

  /// Waits for a signal to end, or until `child` ends: then returns how. Passes SIGHUP on: a daemon takes it for the order
  /// to reload. From a terminal it says that the terminal is gone, and so to end too.
  mutating func wait(for child: Child) throws -> Child.Ending? {
    while true {
      if let ending = try child.poll() { return ending }
      var signal: Int32 = 0
      guard unsafe sigwait(&set, &signal) == 0 else { continue }
      switch signal {
      case SIGCHLD: continue
      case SIGHUP where isatty(STDIN_FILENO) == 0: child.send(signal: SIGHUP)
      default: return nil
      }
    }
  }
}
