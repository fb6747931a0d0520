/// One row of the table: what a number says, and of what unit it is.
public struct Figure: Codable, Hashable, Sendable {
  /// What programs call it, for example `tcp-1 v4-in-v6 back`.
  let name: String
  /// What people read.
  let title: String
  let unit: String

  init(_ name: String, _ title: String, _ unit: String) {
    self.name = name
    self.title = title
    self.unit = unit
  }

  /// TCP through the tunnel. Without a tunnel there is one family only, and the row with both of that family is its.
  static func tcp(streams: Int, inner: Testbed.Family, outer: Testbed.Family, back: Bool) -> Figure {
    let (way, arrow) = back ? ("back", "←") : ("there", "→")
    return Figure(
      "tcp-\(streams) \(inner.rawValue)-in-\(outer.rawValue) \(way)",
      "TCP, \(streams == 1 ? "1 stream" : "\(streams) streams"), \(inner.rawValue) in \(outer.rawValue) \(arrow)",
      "Gbit/s")
  }

  static let retransmits = Figure("retransmits", "of its segments, sent again", "per Gbit")
  static let senderTime = Figure("cpu sender", "processor, sender", "s/Gbit")
  static let receiverTime = Figure("cpu receiver", "processor, receiver", "s/Gbit")
  static let daemonsTime = Figure("cpu daemons", "processor, sender and receiver", "s/Gbit")
  static let machineTime = Figure("cpu machine", "processor, whole machine", "s/Gbit")
  static let resident = Figure("resident", "resident memory after TCP", "MiB")
  static let peak = Figure("peak", "resident memory at the most", "MiB")
  static let startUp = Figure("start-up", "start until the control socket answers", "ms")
  static let datagrams = Figure("udp-1360", "UDP, 1,360 bytes, below 1% loss", "kpps")
  static let smallDatagrams = Figure("udp-64", "UDP, 64 bytes, below 1% loss", "kpps")
  /// How many datagrams a program that uses UDP_SEGMENT sends at once.
  static let run = 32
  static let runs = Figure("udp-64 runs", "the same, sent \(run) at once", "kpps")
  static let forwarded = Figure("forwarded", "forwarded, mixed sizes, 1,000 flows, below 1% loss", "kpps")
  static let callsDelay = Figure("voip p50", "100 calls forwarded, one way, median", "ms")
  static let callsSlow = Figure("voip p99", "100 calls forwarded, one way, 99th percentile", "ms")
  static let callsLost = Figure("voip lost", "of their packets, lost", "%")
  static let callsTime = Figure("voip cpu", "processor, sender and receiver, for each of them", "µs")
  static let lookups = Figure("dns", "look-ups forwarded, of 64 programs, answered", "1,000/s")
  static let lookupsDelay = Figure("dns p50", "until the answer, median", "ms")
  static let lookupsSlow = Figure("dns p99", "until the answer, 99th percentile", "ms")
  static let lookupsRepeated = Figure("dns repeated", "of the questions, asked again", "in 3 s")
  static let lookupsTime = Figure("dns cpu", "processor, sender and receiver, for each look-up", "µs")

  /// Round trips: the median and the slowest percent, under a name for what else goes on.
  static func roundTrip(_ when: String, _ title: String) -> (median: Figure, slow: Figure) {
    (
      Figure("rtt \(when) p50", "ping, \(title), median", "ms"),
      Figure("rtt \(when) p99", "ping, \(title), 99th percentile", "ms")
    )
  }
}
