/// What a router with a LAN behind it carries: packets that were made elsewhere, and no two neighbours of one flow.
enum RoutedTraffic {
  /// The "simple IMIX", as UDP payloads: of twelve IP packets, seven of 64 bytes, four of 576 and one as large as the
  /// tunnel takes.
  static let mix = [64, 576, 64, 64, 576, 64, 1420, 64, 576, 64, 64, 576].map { $0 - headers }
  static let flows = 1000
  /// An IP and a UDP header.
  private static let headers = 28

  /// Calls: each has a packet of `callSize` bytes every 20 ms.
  static let calls = 100
  static let callSize = 160
  static let callRate = Double(calls) * 50

  /// Programs that look names up: each asks when it has its answer. Sizes of DNS messages as they are common.
  static let clients = 64
  static let questionSize = 60
  static let answerSize = 180

  /// How long the calls' packets were under way, how many were lost, and what each cost the daemons. Where none
  /// arrived, there is no time.
  static func figures(_ trial: DatagramPath.Trial, daemonSeconds: Double?) -> [(Figure, Double)] {
    let delays = RoundTrips(milliseconds: trial.delays)
    var figures: [(Figure, Double)] = [
      (.callsDelay, delays.quantile(0.5)), (.callsSlow, delays.quantile(0.99)), (.callsLost, trial.loss * 100),
    ]
    if let daemonSeconds { figures.append((.callsTime, daemonSeconds / Double(trial.sent) * 1e6)) }
    return figures.filter { $0.1.isFinite }
  }
}

extension Testbed {
  /// Thousands of packets a second of mixed sizes and many flows that are forwarded from LAN to LAN.
  func forwardedRate() throws -> Double {
    let path = try routedPath(flows: RoutedTraffic.flows)
    return try RateSearch.highest { path.trial(sizes: RoutedTraffic.mix, rate: $0, seconds: $1) } / 1000
  }

  /// Calls from LAN to LAN, at an even pace: every packet comes alone.
  func calls() throws -> [(Figure, Double)] {
    let path = try routedPath(flows: RoutedTraffic.calls)
    let seconds = 3.0, room = Int(RoutedTraffic.callRate * seconds)
    _ = path.trial(sizes: [RoutedTraffic.callSize], rate: RoutedTraffic.callRate, seconds: 0.3)
    let before = daemonSeconds()
    let trial = path.trial(
      sizes: [RoutedTraffic.callSize], rate: RoutedTraffic.callRate, seconds: seconds, delays: room)
    return RoutedTraffic.figures(trial, daemonSeconds: daemons.isEmpty ? nil : daemonSeconds() - before)
  }

  /// Look-ups from LAN to LAN, from many programs at once.
  func lookups() throws -> [(Figure, Double)] {
    let (near, far) = try networks()
    let questions = try Questions(from: near, to: far, target: Self.farAddress, clients: RoutedTraffic.clients)
    let (question, answer) = (RoutedTraffic.questionSize, RoutedTraffic.answerSize)
    _ = questions.ask(question: question, answer: answer, seconds: 0.3)
    let before = daemonSeconds()
    let result = questions.ask(question: question, answer: answer, seconds: 3)
    guard result.answered > 0 else { throw Disproved(claim: "look-ups are answered", detail: "none of them") }
    let delays = RoundTrips(milliseconds: result.delays), spent = daemonSeconds() - before
    var figures: [(Figure, Double)] = [
      (.lookups, Double(result.answered) / result.seconds / 1000), (.lookupsDelay, delays.quantile(0.5)),
      (.lookupsSlow, delays.quantile(0.99)), (.lookupsRepeated, Double(result.repeated)),
    ]
    if !daemons.isEmpty { figures.append((.lookupsTime, spent / Double(result.answered) * 1e6)) }
    return figures
  }

  private func daemonSeconds() -> Double { daemons.map { Usage(of: $0.pid).totalSeconds }.reduce(0, +) }

  private func routedPath(flows: Int) throws -> DatagramPath {
    let (near, far) = try networks()
    return try DatagramPath(from: near, to: far, target: Self.farAddress, flows: flows)
  }
}
