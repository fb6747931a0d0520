/// TCP throughput as a bar for each contender and state of the cable, in SVG that is legible on light and on dark ground.
struct Chart {
  let results: Results

  // In pixels of a picture 720 wide.
  private static let width = 720.0, left = 150.0, right = 90.0, bar = 16.0, group = 52.0, top = 64.0

  var svg: String {
    let contenders = results.contenders
    let figure = Figure.tcp(streams: 1, inner: .v4, outer: .v4, back: false)
    let most = contenders.flatMap { contender in
      Testbed.Cable.allCases.compactMap { results.summary(of: figure, contender, $0)?.most }
    }.max()
    let scale = (Self.width - Self.left - Self.right) / max(most ?? 1, 0.001)
    let height = Self.top + Self.group * Double(contenders.count) + 12
    var parts = contenders.enumerated().flatMap { index, contender in
      bars(of: contender, figure, at: Self.top + Self.group * Double(index), scale)
    }
    parts.insert(contentsOf: Self.legend, at: 0)
    return """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Int(Self.width)) \(Int(height))" role="img" \
      aria-label="TCP throughput of each contender in Gbit/s">
      <style>
      text { font: 13px system-ui, sans-serif; fill: #24292f }
      .title { font-weight: 600 }
      .whole { fill: #2563ab } .segmented { fill: #d9822b } .spread { stroke: #24292f; stroke-width: 1.5 }
      @media (prefers-color-scheme: dark) {
        text { fill: #e6edf3 } .spread { stroke: #e6edf3 }
        .whole { fill: #58a6ff } .segmented { fill: #e3a050 }
      }
      </style>
      \(parts.joined(separator: "\n"))
      </svg>

      """
  }

  private static let legend = [
    #"<text class="title" x="12" y="22">TCP, one stream, Gbit/s: median, and from the slowest to the fastest round</text>"#,
    #"<rect class="whole" x="150" y="34" width="12" height="12"/><text x="168" y="45">large packets cross whole</text>"#,
    #"<rect class="segmented" x="360" y="34" width="12" height="12"/><text x="378" y="45">cut before the cable</text>"#,
  ]

  private func bars(of contender: Contender, _ figure: Figure, at y: Double, _ scale: Double) -> [String] {
    let name = #"<text x="\#(Self.left - 10)" y="\#(y + 21)" text-anchor="end">\#(contender.title)</text>"#
    return [name]
      + Testbed.Cable.allCases.enumerated().flatMap { index, cable -> [String] in
        guard let summary = results.summary(of: figure, contender, cable) else { return [] }
        let own = y + Double(index) * (Self.bar + 2), middle = own + Self.bar / 2
        func x(_ value: Double) -> String { Self.number(Self.left + value * scale) }
        return [
          #"<rect class="\#(cable.rawValue)" x="\#(Self.left)" y="\#(own)" "#
            + #"width="\#(Self.number(summary.median * scale))" height="\#(Self.bar)"/>"#,
          #"<line class="spread" x1="\#(x(summary.least))" x2="\#(x(summary.most))" y1="\#(middle)" y2="\#(middle)"/>"#,
          #"<text x="\#(Self.number(Self.left + summary.most * scale + 8))" y="\#(own + 13)">"#
            + Self.label(summary, contender) + "</text>",
        ]
      }
  }

  private static func label(_ summary: Results.Summary, _ contender: Contender) -> String {
    let ratio = contender == .yardstick || contender == .plain ? nil : summary.ratio
    return Results.text(summary.median) + (ratio.map { " (×\(Results.text($0)))" } ?? "")
  }

  private static func number(_ value: Double) -> String { Results.text(value) }
}
