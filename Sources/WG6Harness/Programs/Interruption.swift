import Foundation

/// What Ctrl-C does to a lab.
public enum Interruption {
  /// From now on SIGINT, SIGTERM and SIGHUP clear the labs of this process and end it.
  ///
  /// Call it before the first thread is started: threads inherit the blocked signals, so that only the one that waits
  /// for them takes them.
  public static func clearsLabs() {
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    let waited = signals
    Thread {
      var signals = waited
      var signal: Int32 = 0
      guard sigwait(&signals, &signal) == 0 else { return }
      FileHandle.standardError.write(Data("\ninterrupted: clearing the lab away\n".utf8))
      Sweep.own()
      _exit(128 + signal)
    }.start()
  }
}
