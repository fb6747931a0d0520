import Foundation

/// The contenders side by side, in turns, on networks made for it.
///
/// Every round builds everything anew. In a round each measure is taken of all contenders one right after the other, so
/// that whatever else the machine does in these minutes weighs on all of them; a different one begins in each round.
public struct Benchmark: Sendable {
  public var contenders = Contender.allCases
  public var measures = Measure.allCases
  public var rounds = 5
  /// A short form to try things out: two seconds a stream, and only the ways through the tunnel that tell the most.
  public var isQuick = false

  public init() {}

  static let needs: [Prerequisite] =
    Prerequisite.always + [.program("iperf3", package: "iperf3"), .program("ethtool", package: "ethtool")]

  /// Takes every measure of every contender in every round. One that fails is told, noted in the results and left out.
  public func run(say: @escaping @Sendable (String) -> Void) throws -> Results {
    let missing = Self.needs.filter { !$0.isMet(.wg6) }
    guard missing.isEmpty else { throw Prerequisite.Missing(scenario: "bench", missing: missing) }
    // Each contender says for itself.
    unsetenv("WG6_CIPHER")
    var results = Results(rounds: rounds)
    let start = Clock.seconds
    for round in 0..<rounds {
      say("round \(round + 1) of \(rounds)")
      try Lab.open("bench", say: say) { lab in
        let testbeds = try contenders.map { try Testbed($0, in: lab) }
        for cable in Testbed.Cable.allCases {
          for testbed in testbeds { try testbed.set(cable) }
          for measure in measures where measure.isOf(cable) {
            for turn in testbeds.indices {
              take(measure, on: testbeds[(turn + round) % testbeds.count], cable, round, into: &results, say)
            }
          }
        }
      }
    }
    results.minutes = (Clock.seconds - start) / 60
    return results
  }

  private func take(
    _ measure: Measure, on testbed: Testbed, _ cable: Testbed.Cable, _ round: Int, into results: inout Results,
    _ say: (String) -> Void
  ) {
    let title = "\(measure.rawValue) of \(testbed.contender.rawValue)\(cable == .whole ? "" : ", segmented")"
    var extent = Measure.Extent()
    extent.isFull = !isQuick && cable == .whole
    if isQuick { extent.mainSeconds = 2 }
    do {
      let figures = try measure.take(on: testbed, extent)
      for (figure, value) in figures {
        results.samples.append(
          Results.Sample(
            contender: testbed.contender, cable: cable, measure: measure, figure: figure, round: round, value: value))
      }
      let told = figures.prefix(2).map { "\(Results.text($0.1)) \($0.0.unit)" }
      if !told.isEmpty { say("  \(title): \(told.joined(separator: ", "))") }
    } catch {
      say("  \(title) FAILED: \(error)")
      results.failures.append("\(title), round \(round + 1): \(error)")
    }
  }
}
