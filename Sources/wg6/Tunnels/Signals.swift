import Glibc
import SystemPackage
import WG6Linux

/// SIGINT, SIGTERM and SIGHUP, held back while a tunnel is half built, and looked at between steps.
struct Signals: ~Copyable {
  private var set: sigset_t

  /// Blocks the signals for the rest of this process; `watch` and `wait` notice them. Nobody who stopped listening to what
  /// is told ends it half-way either.
  static func block() -> Signals {
    signal(SIGPIPE, SIG_IGN)
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] { unsafe sigaddset(&set, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    return Signals(set: set)
  }

  /// Says which signal to end has arrived; `nil` where none has. SIGHUP is one from a terminal, that is gone then.
  var watch: () -> Int32? {
    let ending = [SIGINT, SIGTERM] + (isatty(STDIN_FILENO) == 0 ? [] : [SIGHUP])
    return {
      var arrived = sigset_t()
      unsafe sigpending(&arrived)
      return ending.first { unsafe sigismember(&arrived, $0) == 1 }
    }
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
