import Foundation

/// One thing to find out about a contender; it gives one figure or several.
public enum Measure: String, CaseIterable, Codable, Sendable {
  case startUp = "start-up"
  case idle
  case tcp
  case streams = "tcp-8"
  case loaded
  case datagrams = "udp-1360"
  case smallDatagrams = "udp-64"
  case runs = "udp-64-runs"
  case forwarded
  case calls = "voip"
  case lookups = "dns"

  /// How long, and how much of the matrix.
  struct Extent {
    /// Of the main TCP run, and of the others.
    var mainSeconds = 4
    var seconds = 2
    /// Every family in every family, or only what tells the most.
    var isFull = true
  }

  /// Whether it is taken on such a cable: what is small from the start is not, where large packets are cut.
  func isOf(_ cable: Testbed.Cable) -> Bool {
    switch self {
    case .startUp, .idle, .loaded, .smallDatagrams, .runs, .forwarded, .calls, .lookups: cable == .whole
    case .tcp, .streams, .datagrams: true
    }
  }

  /// Takes it on a testbed. What nobody answered has no time, and no figure.
  func take(on testbed: Testbed, _ extent: Extent) throws -> [(Figure, Double)] {
    try figures(on: testbed, extent).filter { $0.1.isFinite }
  }

  private func figures(on testbed: Testbed, _ extent: Extent) throws -> [(Figure, Double)] {
    switch self {
    case .startUp: try testbed.startUp()
    case .idle: try testbed.idleRoundTrips()
    case .tcp: try testbed.mainStream(extent) + testbed.matrix(extent)
    case .streams: try testbed.manyStreams(extent)
    case .loaded: try testbed.loadedRoundTrips(extent)
    case .datagrams: [(.datagrams, try testbed.datagramRate(size: 1360))]
    case .smallDatagrams: [(.smallDatagrams, try testbed.datagramRate(size: 64))]
    case .runs: [(.runs, try testbed.datagramRate(size: 64, run: Figure.run))]
    case .forwarded: [(.forwarded, try testbed.forwardedRate())]
    case .calls: try testbed.calls()
    case .lookups: try testbed.lookups()
    }
  }
}

extension Testbed {
  /// From the moment of exec(2); the middle one of five.
  fileprivate func startUp() throws -> [(Figure, Double)] {
    guard let command = try contender.implementation?.command(interface: "wg1") else { return [] }
    let times = try (0..<5).map { _ in
      let daemon = try client.start(
        ["bash", "-c", "echo $EPOCHREALTIME; exec \"$@\"", "bash"] + command,
        environment: contender.environment.merging(["LOG_LEVEL": "error"]) { $1 })
      try waitUntil("\(contender.rawValue) answers on its control socket", within: 10, every: 0.0002) {
        guard let socket = try? ControlSocket(on: client, interface: "wg1") else { return false }
        socket.send("get=1\n\n")
        return socket.errorNumber() == 0
      }
      let end = Clock.wallSeconds
      guard let start = Double(daemon.output.trimmed) else { throw ProgramFailed(outcome: try daemon.wait(within: 1)) }
      daemon.stop()
      try waitUntil("wg1 is gone") { !client.has(interface: "wg1") }
      return (end - start) * 1000
    }
    return [(.startUp, times.sorted()[times.count / 2])]
  }

  /// Every 2 ms, when everything sleeps in between, and one after the other.
  fileprivate func idleRoundTrips() throws -> [(Figure, Double)] {
    let target = address(.v4)
    _ = try RoundTrips(from: client, to: target, count: 50, every: 0.002)
    return try figures(
      Figure.roundTrip("idle", "every 2 ms"), RoundTrips(from: client, to: target, count: 500, every: 0.002))
      + figures(
        Figure.roundTrip("flood", "one after the other"), RoundTrips(from: client, to: target, count: 5000, every: 0))
  }

  /// While one TCP stream takes all that it gets.
  fileprivate func loadedRoundTrips(_ extent: Measure.Extent) throws -> [(Figure, Double)] {
    let stream = try Throughput.start(from: client, to: address(.v4), seconds: extent.mainSeconds)
    try waitUntil("the stream flows") { stream.isRunning && Usage(of: stream.pid).totalSeconds > 0.02 }
    let trips = try RoundTrips(from: client, to: address(.v4), count: (extent.mainSeconds - 1) * 250, every: 0.002)
    try stream.wait(within: 30).orThrow()
    return figures(Figure.roundTrip("loaded", "beside a TCP stream"), trips)
  }

  private func figures(_ rows: (median: Figure, slow: Figure), _ trips: RoundTrips) -> [(Figure, Double)] {
    [(rows.median, trips.quantile(0.5)), (rows.slow, trips.quantile(0.99))]
  }

  /// The stream that processor time and memory are taken of.
  fileprivate func mainStream(_ extent: Measure.Extent) throws -> [(Figure, Double)] {
    let before = daemons.map { Usage(of: $0.pid).totalSeconds }, machine = Usage.ofTheMachine()
    let result = try Throughput.result(from: client, to: address(.v4), seconds: extent.mainSeconds)
    let whole = Usage.ofTheMachine() - machine
    let usage = daemons.map { Usage(of: $0.pid) }
    let spent = zip(usage, before).map { $0.totalSeconds - $1 }
    var figures: [(Figure, Double)] = [
      (.tcp(streams: 1, inner: .v4, outer: .v4, back: false), result.rate),
      (.retransmits, Double(result.retransmits) / result.amount),
    ]
    if spent.count == 2 {
      figures += [
        (.senderTime, spent[0] / result.amount), (.receiverTime, spent[1] / result.amount),
        (.daemonsTime, (spent[0] + spent[1]) / result.amount),
      ]
    }
    figures.append((.machineTime, whole / result.amount))
    if let resident = usage.map(\.residentKiB).max(), let peak = usage.map(\.peakKiB).max() {
      figures += [(.resident, Double(resident) / 1024), (.peak, Double(peak) / 1024)]
    }
    return figures
  }

  /// One stream over each other way.
  fileprivate func matrix(_ extent: Measure.Extent) throws -> [(Figure, Double)] {
    let some: [(Family, Family, Bool)] = [(.v4, .v4, true), (.v6, .v6, false)]
    let rest: [(Family, Family, Bool)] = [
      (.v6, .v6, true), (.v6, .v4, false), (.v6, .v4, true), (.v4, .v6, false), (.v4, .v6, true),
    ]
    return try streams(1, over: extent.isFull ? some + rest : some, extent)
  }

  /// Eight streams at once.
  fileprivate func manyStreams(_ extent: Measure.Extent) throws -> [(Figure, Double)] {
    let some: [(Family, Family, Bool)] = [(.v4, .v4, false), (.v4, .v4, true)]
    return try streams(8, over: extent.isFull ? some + [(.v6, .v6, false), (.v6, .v6, true)] : some, extent)
  }

  private func streams(
    _ count: Int, over ways: [(inner: Family, outer: Family, back: Bool)], _ extent: Measure.Extent
  ) throws -> [(Figure, Double)] {
    var figures: [(Figure, Double)] = []
    var outer = Family.v4
    for way in ways where !daemons.isEmpty || way.inner == way.outer {
      if way.outer != outer { try goOver(way.outer) }
      outer = way.outer
      let result = try Throughput.result(
        from: client, to: address(way.inner), seconds: extent.seconds, streams: count, back: way.back)
      figures.append((.tcp(streams: count, inner: way.inner, outer: way.outer, back: way.back), result.rate))
    }
    if outer != .v4 { try goOver(.v4) }
    return figures
  }

  /// Thousands of datagrams a second that arrive when less than 1% is lost.
  fileprivate func datagramRate(size: Int, run: Int = 1) throws -> Double {
    let path = try DatagramPath(from: client, to: server, target: address(.v4))
    return try RateSearch.highest { try path.trial(size: size, run: run, rate: $0, seconds: $1) } / 1000
  }
}
