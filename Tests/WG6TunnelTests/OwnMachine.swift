import CHarness
import Glibc
import Testing
import WG6Linux

/// A thread with a network of its own, and with directories that no other thread sees.
enum OwnMachine {
  static let isPossible = getuid() == 0
  static let absence: Comment = "SKIPPED: needs root"

  /// Runs `body` on such a thread. `/run` is empty there. Expectations there belong to no test: see `require`.
  static func run(_ body: @escaping @Sendable () throws -> Void) throws {
    let outcome = Outcome()
    let thread = try Thread(named: "own machine") {
      guard harness_leave_machine() == 0 else { return }
      outcome.result = Result {
        try mountMemory(over: "/run", "mode=0755")
        try body()
      }
    }
    thread.join()
    try #require(outcome.result, "no network and mounts of its own").get()
  }

  /// Mounts an empty file system in memory over `directory`, inside `run`; `options` are mount(8)'s.
  static func mountMemory(over directory: String, _ options: String) throws {
    try require(harness_mount_memory(directory, options) == 0, "\(directory) can be mounted over, errno \(errno)")
  }

  /// Ends `body` with an error that fails its test, unless `condition` holds.
  static func require(_ condition: Bool, _ claim: String) throws {
    if !condition { throw Disproved(description: "not so: \(claim)") }
  }

  struct Disproved: Error, CustomStringConvertible {
    let description: String
  }

  /// The end of the thread orders the accesses.
  private final class Outcome: @unchecked Sendable {
    var result: Result<Void, any Error>?
  }
}
