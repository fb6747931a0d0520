import Glibc
import Logging
import SystemPackage
import WG6Linux

/// Has the program that brought the tunnel up read its file again, at SIGHUP: the daemon itself knows no files.
struct Reloader {
  let program: String
  private var child: Child?
  /// A signal that came while the last one was still being followed.
  private var isWanted = false

  init(_ program: String) {
    self.program = program
  }

  mutating func start(_ interface: String, _ log: Logger) {
    guard child == nil else {
      isWanted = true
      return
    }
    do {
      child = try Child(program, ["reload"] + Child.argument(interface))
    } catch {
      log.error("cannot reload: \(program): \(error)")
    }
  }

  /// A child may have ended.
  mutating func childEnded(_ interface: String, _ log: Logger) {
    guard let ending = try? child?.poll() else { return }
    child = nil
    if ending != .exited(0) { log.error("the file was not taken over; see wg6 reload \(interface)") }
    if isWanted {
      isWanted = false
      start(interface, log)
    }
  }
}
