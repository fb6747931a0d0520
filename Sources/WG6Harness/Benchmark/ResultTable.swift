/// The results as tables that are Markdown and, padded as they are, just as well to be read in a terminal.
struct ResultTable {
  let results: Results

  /// Everything, with headings.
  var text: String {
    let tables = Testbed.Cable.allCases.compactMap { cable -> String? in
      let table = table(cable)
      return table.isEmpty ? nil : "### \(Self.title(cable))\n\n" + table
    }
    return (tables + failures).joined(separator: "\n")
  }

  static func title(_ cable: Testbed.Cable) -> String {
    switch cable {
    case .whole: "Large packets cross the cable whole"
    case .segmented: "The kernel cuts them before the cable"
    }
  }

  /// A row a figure; in each cell the median, the smallest and the largest, and the ratio to the yardstick.
  func table(_ cable: Testbed.Cable) -> String {
    let contenders = results.contenders
    let rows = results.figures(cable).map { figure in
      ["\(figure.title), \(figure.unit)"] + contenders.map { cell(figure, $0, cable) }
    }
    guard !rows.isEmpty else { return "" }
    return Self.padded([[""] + contenders.map(\.title)] + rows)
  }

  private func cell(_ figure: Figure, _ contender: Contender, _ cable: Testbed.Cable) -> String {
    guard let summary = results.summary(of: figure, contender, cable) else { return "–" }
    var text = Results.text(summary.median)
    if results.rounds > 1 { text += " (\(Results.text(summary.least))–\(Results.text(summary.most)))" }
    if contender != .yardstick, let ratio = summary.ratio { text += " **×\(Results.text(ratio))**" }
    return text
  }

  private var failures: [String] {
    results.failures.isEmpty ? [] : ["Not measured:\n\n" + results.failures.map { "- \($0)\n" }.joined()]
  }

  /// Columns as wide as their widest cell; the first row is the heading.
  static func padded(_ rows: [[String]]) -> String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var lines = rows.map { row in
      zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(separator: " | ")
    }
    lines.insert(widths.map { String(repeating: "-", count: $0) }.joined(separator: " | "), at: 1)
    return lines.map { "| \($0) |\n" }.joined()
  }
}
