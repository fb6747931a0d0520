import Foundation
import Synchronization

/// A child process of the harness. Its output goes to files, so that it never blocks on a reader and a failure finds it.
public final class Program: Sendable {
  /// The command as a person would type it.
  public let title: String
  public let pid: pid_t
  private let outputPath: String
  private let complaintsPath: String
  private let status = Mutex<Int32?>(nil)

  /// Starts `words`. `output` is the path that the two log files' names begin with.
  init(_ words: [String], title: String, environment: [String: String], input: String?, output: String) throws {
    self.title = title
    outputPath = output + ".out"
    complaintsPath = output + ".err"
    var streams = Spawner.Streams(output: outputPath, complaints: complaintsPath)
    if let input {
      streams.input = output + ".in"
      try Files.write(input, to: streams.input, mode: 0o600)
    }
    pid = try Spawner.shared.spawn(words, environment: environment, streams: streams)
  }

  /// Whether it has not ended yet.
  public var isRunning: Bool { exitStatus == nil }

  /// What it has written to its standard output so far.
  public var output: String { Files.text(outputPath) }

  /// What it has written to its standard error so far.
  public var complaints: String { Files.text(complaintsPath) }

  /// Its exit status, 128 and the signal's number for one that was killed, `nil` while it runs.
  public var exitStatus: Int32? {
    status.withLock { status in
      guard status == nil else { return status }
      var raw: Int32 = 0
      guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
      let signal = raw & 0x7f
      status = signal == 0 ? (raw >> 8) & 0xff : 128 + signal
      return status
    }
  }

  /// Waits until it has ended; one that outstays its time is killed and reported as overdue.
  public func wait(within seconds: Double) throws -> Outcome {
    do {
      try waitUntil("\(title) ends", within: seconds, every: 0.004) { exitStatus != nil }
    } catch {
      kill(pid, SIGKILL)
      throw Overdue(what: "\(title) ends", seconds: seconds, detail: output + complaints)
    }
    return Outcome(title: title, status: exitStatus!, output: output, complaints: complaints)
  }

  /// Sends it a signal, unless it has ended.
  public func send(_ signal: Int32) {
    if isRunning { kill(pid, signal) }
  }

  /// Asks it to end with `signal` and insists after `seconds`. Returns its exit status.
  @discardableResult
  public func stop(_ signal: Int32 = SIGTERM, within seconds: Double = 5) -> Int32 {
    send(signal)
    try? waitUntil("\(title) ends", within: seconds, every: 0.01) { exitStatus != nil }
    if exitStatus == nil {
      kill(pid, SIGKILL)
      try? waitUntil("\(title) dies", within: 5, every: 0.01) { exitStatus != nil }
    }
    return exitStatus ?? -1
  }
}

/// How a program ended and what it said.
public struct Outcome: Sendable {
  public let title: String
  public let status: Int32
  public let output: String
  public let complaints: String

  public var succeeded: Bool { status == 0 }

  /// The output without white space around it.
  public var line: String { output.trimmingCharacters(in: .whitespacesAndNewlines) }

  /// The output's lines, empty ones left out.
  public var lines: [String] { output.split(whereSeparator: \.isNewline).map(String.init) }

  /// Itself, or an error that says what the program complained about.
  @discardableResult
  public func orThrow() throws -> Outcome {
    guard succeeded else { throw ProgramFailed(outcome: self) }
    return self
  }
}

/// A program that was expected to succeed and did not.
public struct ProgramFailed: Error, CustomStringConvertible {
  public let outcome: Outcome
  public var description: String {
    let said = [outcome.complaints, outcome.output].joined(separator: "\n")
      .trimmingCharacters(in: .whitespacesAndNewlines)
    return "\(outcome.title): status \(outcome.status)\(said.isEmpty ? "" : ": \(said)")"
  }
}
