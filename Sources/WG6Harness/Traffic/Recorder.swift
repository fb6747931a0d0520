import Foundation

/// A running `wg6 capture` or `wg6 keylog`, and its output.
final class Recorder {
  let program: Program

  /// Starts `wg6 NAME INTERFACE …` and waits until it has begun.
  ///
  /// - Parameter book: an address book; none without.
  init(
    _ name: String, _ words: [String] = [], of interface: String = "wg0", on host: Host, book: String = "/dev/null"
  ) throws {
    let wg6 = try Binaries.path(of: "wg6")
    program = try host.start([wg6, name, interface] + words, environment: ["WG6_KEYS": book, "TZ": "UTC"])
    try waitUntil("wg6 \(name) has begun", within: 20) { [program] in
      program.complaints.contains("until Ctrl-C") || !program.isRunning
    }
  }

  /// Ends it as Ctrl-C does; returns its exit status.
  func stop() -> Int32 { program.stop(SIGINT) }

  var lines: [String] { program.output.split(separator: "\n").map(String.init) }

  /// How many packets it says it missed.
  var missed: Int? {
    program.complaints.split(separator: "\n").last { $0.hasSuffix(" missed") }?.split(separator: " ").dropLast().last
      .flatMap { Int($0) }
  }
}
