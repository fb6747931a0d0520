import Foundation

/// The situations, played one after the other, and what each has shown.
public struct SituationTable: Sendable {
  private enum Result: Sendable {
    case held(Scenario.Report)
    case failed
    case missing([Prerequisite])
  }

  private struct Row: Sendable {
    let name: String
    let result: Result
    let seconds: Double
  }

  private var rows: [Row] = []

  public var hasFailures: Bool {
    rows.contains { if case .failed = $0.result { true } else { false } }
  }

  public var hasMissing: Bool {
    rows.contains { if case .missing = $0.result { true } else { false } }
  }

  /// Plays each situation to its end, whatever became of those before.
  public static func play(implementation: Implementation, say: @escaping @Sendable (String) -> Void) -> SituationTable {
    var table = SituationTable()
    for scenario in Scenario.situations {
      say("\n=== \(scenario.name): \(scenario.summary)\n")
      let start = Date()
      let result: Result
      do {
        result = .held(try scenario.run(implementation: implementation, say: say))
      } catch let missing as Prerequisite.Missing {
        say("\(missing)")
        result = .missing(missing.missing)
      } catch {
        say("\(error)")
        result = .failed
      }
      table.rows.append(Row(name: scenario.name, result: result, seconds: Date().timeIntervalSince(start)))
    }
    return table
  }

  /// A line for each situation: whether it held, how many claims there were, how long it took, and what was measured.
  public var text: String {
    var cells = [["situation", "result", "claims", "seconds", "measured"]]
    for row in rows {
      let seconds = String(format: "%.1f", row.seconds)
      switch row.result {
      case .held(let report):
        if let reason = report.wg6Alone {
          cells.append([row.name, "wg6 alone", "-", "-", reason])
        } else {
          let figures = report.figures.map { "\($0.name): \($0.value)" }.joined(separator: "; ")
          cells.append([row.name, "held", "\(report.claimCount)", seconds, figures])
        }
      case .failed: cells.append([row.name, "FAILED", "-", seconds, "see above"])
      case .missing(let needs):
        cells.append([row.name, "missing", "-", "-", needs.map(\.description).joined(separator: ", ")])
      }
    }
    return ResultTable.padded(cells)
  }
}
