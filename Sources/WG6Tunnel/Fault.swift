import Glibc

/// Points at which a test can have the command die, to see what the next one makes of it, and an older kernel to play. There
/// are none in an optimised build.
enum Fault {
  #if DEBUG
    private nonisolated(unsafe) static var passed = 0

    /// The command ends by SIGKILL at the point whose number `WG6_FAULT` says.
    static func point() {
      guard let wanted = unsafe getenv("WG6_FAULT").flatMap({ unsafe Int(String(cString: $0)) }) else { return }
      unsafe passed += 1
      if unsafe passed == wanted { kill(getpid(), SIGKILL) }
    }

    /// Whether to do without tables that outlive their owner, as on a kernel before 6.9.
    static var hasPlainTables: Bool { unsafe getenv("WG6_PLAIN_TABLES") != nil }
  #else
    static func point() {}
    static let hasPlainTables = false
  #endif
}
