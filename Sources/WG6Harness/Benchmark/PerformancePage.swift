import Foundation

/// `docs/performance.md`: written by people, but for what stands between two marks, which this writes.
public enum PerformancePage {
  static let begin = "<!-- wg6-lab bench --write: begin -->"
  static let end = "<!-- wg6-lab bench --write: end -->"

  /// Puts the results into the page and the chart beside it. A page that isn't there is begun.
  public static func write(_ results: Results, into directory: String) throws {
    let path = directory + "/performance.md"
    let page = Files.exists(path) ? Files.text(path) : "# Performance\n\n\(begin)\n\(end)\n"
    try Files.write(try insert(section(results), into: page), to: path)
    try Files.write(Chart(results: results).svg, to: directory + "/performance.svg")
  }

  /// The page with `section` between the marks, and else as it was.
  static func insert(_ section: String, into page: String) throws -> String {
    guard let first = page.range(of: begin), let last = page.range(of: end), first.upperBound <= last.lowerBound else {
      throw Unmarked()
    }
    return page[..<first.upperBound] + "\n\n" + section + "\n" + page[last.lowerBound...]
  }

  static func section(_ results: Results) -> String {
    let machine = results.machine
    return """
      ![TCP throughput of each contender](performance.svg)

      \(machine.date), \(machine.processors) processors (\(machine.processor)), Linux \(machine.kernel), wireguard-go \
      \(machine.wireguardGo); \(results.rounds) rounds in \(Int(results.minutes.rounded(.up))) minutes. In each cell the \
      median of the rounds, the smallest and the largest, and **how many times wireguard-go's** it is.

      \(ResultTable(results: results).text)
      """
  }

  struct Unmarked: Error, CustomStringConvertible {
    var description: String {
      "docs/performance.md has lost its marks \(PerformancePage.begin) and \(PerformancePage.end)"
    }
  }
}

extension Results {
  /// For people.
  public var table: String { ResultTable(results: self).text }
}
