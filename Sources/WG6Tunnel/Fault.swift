import Glibc

/// Points at which a test can have the command die, to see what the next one makes of it. There are none in an optimised
/// build.
enum Fault {
  #if DEBUG
    private nonisolated(unsafe) static var passed = 0

    /// The command ends by SIGKILL at the point whose number `WG6_FAULT` says.
    static func point() {
      guard let wanted = unsafe getenv("WG6_FAULT").flatMap({ unsafe Int(String(cString: $0)) }) else { return }
      unsafe passed += 1
      if unsafe passed == wanted { kill(getpid(), SIGKILL) }
    }
  #else
    static func point() {}
  #endif
}
