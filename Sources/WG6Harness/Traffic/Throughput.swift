import Foundation

/// TCP throughput, measured by `iperf3`.
public enum Throughput {
  /// What one measurement showed, of all streams together.
  public struct Result: Sendable {
    /// Gbit/s that reached the other side.
    public let rate: Double
    /// Gbit that reached the other side.
    public let amount: Double
    /// Segments that were sent again.
    public let retransmits: Int
  }

  /// Gbit/s that reach the other side, there and (with `-R`) back. The server runs on the far side's `target` already.
  ///
  /// With `pace`, in Mbit/s, no faster than that.
  public static func measure(
    from host: Host, to target: String, seconds: Int = 1, back: Bool = false, pace: Int? = nil
  ) throws -> Double {
    try result(from: host, to: target, seconds: seconds, back: back, ["-b", "\(pace ?? 0)M"]).rate
  }

  /// The same, with several streams at once and all that iperf3 tells.
  public static func result(
    from host: Host, to target: String, seconds: Int, streams: Int = 1, back: Bool = false, _ options: [String] = []
  ) throws -> Result {
    let client = try start(from: host, to: target, seconds: seconds, streams: streams, back: back, options)
    return try Result(client.wait(within: Double(seconds) + 30).orThrow())
  }

  /// Starts it and returns at once.
  static func start(
    from host: Host, to target: String, seconds: Int, streams: Int = 1, back: Bool = false, _ options: [String] = []
  ) throws -> Program {
    try host.start(
      ["iperf3", "-J", "-t", "\(seconds)", "-P", "\(streams)", "-c", target] + (back ? ["-R"] : []) + options)
  }

  /// Starts the far end, which serves any number of measurements until the lab is cleared.
  public static func serve(on machine: any Machine) throws {
    if let host = machine as? Host {
      let server = try host.start(["iperf3", "-s", "--forceflush"])
      try waitUntil("iperf3 listens on \(host.name)") { server.output.contains("listening") }
    } else {
      try machine.shell("iperf3 -s -D >/tmp/iperf.log 2>&1")
    }
  }
}

extension Throughput.Result {
  /// Reads iperf3's report.
  init(_ outcome: Outcome) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let end = try decoder.decode(Report.self, from: Data(outcome.output.utf8)).end
    rate = end.sumReceived.bitsPerSecond / 1e9
    amount = end.sumReceived.bytes * 8 / 1e9
    retransmits = end.sumSent.retransmits ?? 0
  }

  /// The part of iperf3's report that matters here.
  private struct Report: Decodable {
    struct End: Decodable {
      let sumSent: Sum
      let sumReceived: Sum
    }
    struct Sum: Decodable {
      let bytes: Double
      let bitsPerSecond: Double
      let retransmits: Int?
    }
    let end: End
  }
}
