import Foundation

/// TCP throughput, measured by `iperf3`.
public enum Throughput {
  /// Gbit/s that reach the other side, there and (with `-R`) back. The server runs on the far side's `target` already.
  ///
  /// With `pace`, in Mbit/s, no faster than that.
  public static func measure(
    from host: Host, to target: String, seconds: Int = 1, back: Bool = false, pace: Int? = nil
  ) throws -> Double {
    let outcome = try host.run(
      ["iperf3", "-J", "-t", "\(seconds)", "-c", target] + (back ? ["-R"] : [])
        + (pace.map { ["-b", "\($0)M"] } ?? []), within: Double(seconds) + 30)
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Report.self, from: Data(outcome.output.utf8)).end.sumReceived.bitsPerSecond / 1e9
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

  /// The part of iperf3's report that matters here.
  private struct Report: Decodable {
    struct End: Decodable { let sumReceived: Sum }
    struct Sum: Decodable { let bitsPerSecond: Double }
    let end: End
  }
}
