import Foundation
import FoundationXML
import Testing

@testable import WG6Harness

/// What the benchmark makes of what it measures.
@Suite("The benchmark")
struct BenchmarkTests {
  /// A path that carries so many datagrams a second and drops the rest.
  private func path(carrying limit: Double, from sender: Double = 1_000_000) -> (Double, Double) -> DatagramPath.Trial {
    { rate, seconds in
      let sent = min(rate, sender) * seconds
      return .init(sent: Int(sent), received: Int(min(sent, limit * seconds)), seconds: seconds)
    }
  }

  @Test("The search finds what a path carries, to 4%", arguments: [17_000.0, 30_000, 123_456, 999_000])
  func search(limit: Double) throws {
    let found = try RateSearch.highest(path(carrying: limit))
    #expect(found > limit * 0.96 && found <= limit * 1.001, "\(found)")
  }

  @Test("A path that carries all that the sender can is found to")
  func unlimited() throws {
    #expect(try RateSearch.highest(path(carrying: 2_000_000)) == 1_000_000)
  }

  @Test("Nothing is found on a path that carries nothing")
  func dead() throws {
    #expect(try RateSearch.highest(path(carrying: 0)) == 0)
  }

  @Test("A small loss may have been an accident, and is given another chance; a great one is not")
  func accidents() throws {
    let path = path(carrying: 100_000)
    var trials = 0
    func search(losing share: Double) throws -> Double {
      try RateSearch.highest { rate, seconds in
        trials += 1
        let trial = path(rate, seconds)
        // Every other trial loses something that the path could have carried.
        guard trials.isMultiple(of: 2) else { return trial }
        return .init(sent: trial.sent, received: Int(Double(trial.received) * (1 - share)), seconds: trial.seconds)
      }
    }
    #expect(try search(losing: 0.05) > 95_000)
    #expect(try search(losing: 0.5) < 95_000)
  }

  @Test("Quantiles are samples: of the nearest rank")
  func quantiles() {
    let trips = RoundTrips(milliseconds: (1...100).map(Double.init).shuffled())
    #expect(trips.quantile(0.5) == 50)
    #expect(trips.quantile(0.99) == 99)
    #expect(trips.quantile(1) == 100)
    #expect(RoundTrips(milliseconds: [7]).quantile(0.99) == 7)
    #expect(RoundTrips(milliseconds: []).quantile(0.5).isNaN)
  }

  @Test("The mix is the simple IMIX of packets that fit the tunnel, each with room for what is written into it")
  func mix() {
    let packets = RoutedTraffic.mix.map { $0 + 28 }
    let counts = Dictionary(packets.map { ($0, 1) }, uniquingKeysWith: +)
    #expect(counts == [64: 7, 576: 4, 1420: 1])
    #expect(RoutedTraffic.mix.allSatisfy { $0 >= 16 })
  }

  @Test("Calls: delays as quantiles, loss in percent, microseconds of the daemons' for each packet sent")
  func calls() {
    let trial = DatagramPath.Trial(sent: 200, received: 100, seconds: 1, delays: (1...100).reversed().map(Double.init))
    let figures = Dictionary(uniqueKeysWithValues: RoutedTraffic.figures(trial, daemonSeconds: 0.004))
    let expected: [Figure: Double] = [.callsDelay: 50, .callsSlow: 99, .callsLost: 50, .callsTime: 20]
    #expect(figures == expected)
    // Without a tunnel there are no daemons.
    let names = RoutedTraffic.figures(trial, daemonSeconds: nil).map(\.0)
    #expect(names == [.callsDelay, .callsSlow, .callsLost])
    // What never arrived has no delay.
    let lost = RoutedTraffic.figures(.init(sent: 200, received: 0, seconds: 1), daemonSeconds: 0.004)
    #expect(lost.map(\.0) == [.callsLost, .callsTime] && lost.map(\.1) == [100, 20])
  }

  @Test("Medians are of the rounds, and ratios are taken within each")
  func summaries() throws {
    let figure = Figure.datagrams
    let results = self.results([.wg6: [10, 30, 80], .wireguardGo: [1, 10, 20]], figure)
    let summary = try #require(results.summary(of: figure, .wg6, .whole))
    #expect(summary.median == 30 && summary.least == 10 && summary.most == 80)
    // 10, 3 and 4; the medians' ratio would have been 3.
    #expect(summary.ratio == 4)
    #expect(results.summary(of: figure, .plain, .whole) == nil)
    #expect(results.summary(of: figure, .wg6, .segmented) == nil)
    #expect(Results.median([1, 2, 4, 9]) == 3)
  }

  @Test("A round in which the yardstick failed has no ratio, and its figure counts")
  func gaps() throws {
    var results = self.results([.wg6: [10, 20]], .datagrams)
    #expect(results.summary(of: .datagrams, .wg6, .whole)?.ratio == nil)
    results.samples += self.results([.wireguardGo: [5]], .datagrams).samples
    #expect(results.summary(of: .datagrams, .wg6, .whole)?.ratio == 2)
    #expect(results.summary(of: .datagrams, .wg6, .whole)?.median == 15)
  }

  @Test(
    "Numbers have three digits that count",
    arguments: zip(
      [6.954, 0.1234, 12.34, 567.8, 13504, 0, .nan],
      ["6.95", "0.123", "12.3", "568", "13504", "0.00", "–"]))
  func numbers(value: Double, text: String) {
    #expect(Results.text(value) == text)
  }

  @Test("The table has a row a figure and a cell a contender, and survives as JSON")
  func table() throws {
    let results = self.results([.wg6: [10, 30], .wireguardGo: [5, 10]], .smallDatagrams)
    #expect(
      ResultTable(results: results).table(.whole) == """
        |                                    | wg6                        | wireguard-go     |
        | ---------------------------------- | -------------------------- | ---------------- |
        | UDP, 64 bytes, below 1% loss, kpps | 20.0 (10.0–30.0) **×2.50** | 7.50 (5.00–10.0) |

        """)
    let directory = try TemporaryDirectory()
    try Files.write(results.json(), to: directory.path + "/results.json")
    #expect(try Results(json: directory.path + "/results.json").table == results.table)
  }

  @Test("The page keeps what people wrote around the marks, and has each run's results once")
  func page() throws {
    let directory = try TemporaryDirectory()
    let results = self.results([.wg6: [2], .wireguardGo: [1]], .tcp(streams: 1, inner: .v4, outer: .v4, back: false))
    try PerformancePage.write(results, into: directory.path)
    let path = directory.path + "/performance.md"
    try Files.write("before\n" + Files.text(path) + "after\n", to: path)
    let once = Files.text(path)
    try PerformancePage.write(results, into: directory.path)
    #expect(Files.text(path) == once)
    #expect(once.hasPrefix("before\n") && once.hasSuffix("after\n") && once.contains("**×2.00**"))
    #expect(throws: PerformancePage.Unmarked.self) { try PerformancePage.insert("x", into: "no marks") }
    let chart = Files.text(directory.path + "/performance.svg")
    #expect(XMLParser(data: Data(chart.utf8)).parse(), "\(chart)")
    #expect(chart.contains("(×2.00)"))
  }

  /// Results of one figure on a cable that takes everything whole, a value a round.
  private func results(_ values: [Contender: [Double]], _ figure: Figure) -> Results {
    var results = Results(rounds: values.values.map(\.count).max() ?? 0)
    for (contender, rounds) in values {
      for (round, value) in rounds.enumerated() {
        results.samples.append(
          .init(
            contender: contender, cable: .whole, measure: .smallDatagrams, figure: figure, round: round, value: value))
      }
    }
    return results
  }
}
