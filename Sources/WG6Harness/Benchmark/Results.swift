import Foundation

/// All that was measured, and what it comes to.
public struct Results: Codable, Sendable {
  /// One figure of one contender in one round.
  struct Sample: Codable, Sendable {
    let contender: Contender
    let cable: Testbed.Cable
    let measure: Measure
    let figure: Figure
    let round: Int
    let value: Double
  }

  /// What the rounds say together.
  struct Summary {
    let median: Double
    let least: Double
    let most: Double
    /// How many times the yardstick's: the median of the rounds' ratios. `nil` where the yardstick has no such figure.
    let ratio: Double?
  }

  let rounds: Int
  let machine: Surroundings
  var samples: [Sample] = []
  /// What could not be measured, and why.
  public internal(set) var failures: [String] = []
  /// How long it all took.
  var minutes = 0.0

  init(rounds: Int, machine: Surroundings = .current()) {
    self.rounds = rounds
    self.machine = machine
  }

  /// The contenders that were measured, in the tables' order.
  var contenders: [Contender] {
    Contender.allCases.filter { contender in samples.contains { $0.contender == contender } }
  }

  /// The figures there are for a state of the cable, in the order of the measures.
  func figures(_ cable: Testbed.Cable) -> [Figure] {
    var seen: Set<Figure> = []
    return Measure.allCases.flatMap { measure in
      samples.filter { $0.cable == cable && $0.measure == measure && seen.insert($0.figure).inserted }.map(\.figure)
    }
  }

  func summary(of figure: Figure, _ contender: Contender, _ cable: Testbed.Cable) -> Summary? {
    let own = values(of: figure, contender, cable)
    guard !own.isEmpty else { return nil }
    let yardstick = values(of: figure, .yardstick, cable)
    let ratios = own.compactMap { round, value in yardstick[round].flatMap { $0 > 0 ? value / $0 : nil } }
    return Summary(
      median: Self.median(Array(own.values)), least: own.values.min() ?? 0, most: own.values.max() ?? 0,
      ratio: ratios.isEmpty ? nil : Self.median(ratios))
  }

  /// By round.
  private func values(of figure: Figure, _ contender: Contender, _ cable: Testbed.Cable) -> [Int: Double] {
    let mine = samples.filter { $0.figure == figure && $0.contender == contender && $0.cable == cable }
    return Dictionary(mine.map { ($0.round, $0.value) }) { $1 }
  }

  /// The middle one, or the mean of the two in the middle.
  static func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return .nan }
    let sorted = values.sorted()
    return (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
  }

  /// A number with three digits that count.
  static func text(_ value: Double) -> String {
    guard value.isFinite else { return "–" }
    let digits = value == 0 ? 0 : Int(log10(abs(value)).rounded(.down))
    return String(format: "%.\(max(0, min(2 - digits, 3)))f", value)
  }

  /// For programs.
  public func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
  }

  /// Reads what `json` wrote.
  public init(json path: String) throws {
    self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
  }
}

/// The machine and the programs that the figures are of.
struct Surroundings: Codable, Sendable {
  let processor: String
  let processors: Int
  let kernel: String
  let wireguardGo: String
  let date: String

  static func current() -> Surroundings {
    let model = Files.text("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
    let kernel = Files.text("/proc/sys/kernel/osrelease").trimmed
    let formatter = ISO8601DateFormatter()
    formatter.formatOptions = [.withFullDate]
    return Surroundings(
      processor: (model?.split(separator: ":").last).map { String($0).trimmed } ?? "unknown",
      processors: ProcessInfo.processInfo.activeProcessorCount, kernel: kernel, wireguardGo: packageVersion(),
      date: formatter.string(from: Date()))
  }

  /// What dpkg knows of the yardstick's package.
  private static func packageVersion() -> String {
    let entry = Files.text("/var/lib/dpkg/status").split(separator: "\n\n").first {
      $0.hasPrefix("Package: wireguard-go\n")
    }
    let line = entry?.split(separator: "\n").first { $0.hasPrefix("Version: ") }
    return line.map { String($0.dropFirst("Version: ".count)) } ?? "of unknown version"
  }
}
