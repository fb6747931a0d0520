import Foundation

/// A row of echo requests that is under way.
public final class Ping {
  public let program: Program
  private let target: String

  init(from host: Host, to target: String, count: Int, every interval: Double, options: [String]) throws {
    self.target = target
    program = try host.start(
      ["ping", "-n", "-q", "-c", "\(count)", "-i", "\(interval)", "-W", "5"] + options + [target])
  }

  /// Waits for the last answer.
  public func result(within seconds: Double) throws -> Result {
    try Result(program.wait(within: seconds), target: target)
  }

  /// What `ping` counted.
  public struct Result: Sendable {
    public let sent: Int
    public let received: Int
    /// Round trips in milliseconds: the smallest, the mean, the largest.
    public let roundTrips: (least: Double, mean: Double, most: Double)
    public var lost: Int { sent - received }

    /// Reads `ping`'s last two lines.
    init(_ outcome: Outcome, target: String) throws {
      // "10 packets transmitted, 10 received, 0% packet loss, time 9011ms"
      // "rtt min/avg/max/mdev = 0.020/0.033/0.053/0.007 ms, …"
      guard let counts = outcome.lines.first(where: { $0.contains("packets transmitted") }) else {
        throw ProgramFailed(outcome: outcome)
      }
      let words = counts.split(separator: " ")
      sent = Int(words[0]) ?? 0
      received = Int(words[3]) ?? 0
      let times = outcome.lines.first { $0.hasPrefix("rtt ") }?.split(separator: " ") ?? []
      let values = times.count > 3 ? times[3].split(separator: "/").compactMap { Double($0) } : []
      roundTrips = values.count > 2 ? (values[0], values[1], values[2]) : (0, 0, 0)
    }
  }
}

extension Outcome {
  /// When each answer came, in seconds since 1970, as `ping -D` prints it.
  var answerTimes: [Double] {
    // "[1763756040.123456] 64 bytes from 10.66.0.1: icmp_seq=1 ttl=64 time=0.4 ms"
    lines.compactMap { line in
      guard line.contains(" time="), let end = line.firstIndex(of: "]") else { return nil }
      return Double(line[line.index(after: line.startIndex)..<end])
    }
  }
}

extension Host {
  /// Starts to ping and returns at once.
  public func startPing(_ target: String, count: Int, every interval: Double, _ options: String...) throws -> Ping {
    try Ping(from: self, to: target, count: count, every: interval, options: options)
  }

  /// As many pings as fit, one after the other answer.
  public func floodPing(
    _ target: String, count: Int, _ options: String..., within seconds: Double = 120
  ) throws -> Ping.Result {
    try Ping(from: self, to: target, count: count, every: 0.001, options: ["-f"] + options).result(within: seconds)
  }
}
