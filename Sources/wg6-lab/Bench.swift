import ArgumentParser
import Foundation
import WG6Harness

/// `wg6-lab bench`
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure wg6 beside Debian's wireguard-go and beside no tunnel at all.",
    discussion: """
      Needs root. What the figures mean stands in docs/performance.md. Exit status 1 when something could not be \
      measured, 69 when something that it needs is missing.
      """)

  @Option(help: "How often each measure is taken of each contender, in turns.")
  var rounds: Int?

  @Flag(help: "One round, shorter streams and less of the matrix: to try things out.")
  var quick = false

  @Option(
    name: .customLong("contender"),
    help: "Only this one (\(Contender.allCases.map(\.rawValue).joined(separator: ", "))); may be repeated.")
  var contenders: [Contender] = []

  @Option(
    name: .customLong("measure"),
    help: "Only this one (\(Measure.allCases.map(\.rawValue).joined(separator: ", "))); may be repeated.")
  var measures: [Measure] = []

  @Option(help: "Where the results go as JSON.", completion: .file())
  var json: String?

  @Option(help: "Measure nothing and take these results, written with --json before.", completion: .file())
  var from: String?

  @Option(help: "Write the results into performance.md, and a chart, in this directory.", completion: .directory)
  var write: String?

  func validate() throws {
    if let rounds, !(1...100).contains(rounds) { throw ValidationError("--rounds takes 1 to 100") }
  }

  func run() throws {
    do {
      let results = try from.map { try Results(json: $0) } ?? measure()
      print(results.table)
      if let json { try Files.write(results.json(), to: json) }
      if let write { try PerformancePage.write(results, into: write) }
      if !results.failures.isEmpty { throw ExitCode.failure }
    } catch let missing as Prerequisite.Missing {
      FileHandle.standardError.write(Data("\(missing)\n".utf8))
      throw ExitCode(69)
    }
  }

  private func measure() throws -> Results {
    Interruption.clearsLabs()
    var benchmark = Benchmark()
    benchmark.isQuick = quick
    benchmark.rounds = rounds ?? (quick ? 1 : 5)
    if !contenders.isEmpty { benchmark.contenders = Contender.allCases.filter(contenders.contains) }
    if !measures.isEmpty { benchmark.measures = Measure.allCases.filter(measures.contains) }
    return try benchmark.run { text in FileHandle.standardError.write(Data((text + "\n").utf8)) }
  }
}

extension Contender: ExpressibleByArgument {}
extension Measure: ExpressibleByArgument {}
