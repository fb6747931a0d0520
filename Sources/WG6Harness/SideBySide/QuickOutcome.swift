/// What one side of a comparison came to.
struct QuickOutcome {
  /// While the tunnel is up, with what was said to others until its end.
  let up: Snapshot
  /// What `down`, or an `up` that failed, did not take back.
  let left: Difference

  init(_ trial: Trial) throws {
    let before = try trial.snapshot("before")
    // Where it failed, all that there is to say of the machine is what it left behind.
    var up = trial.status("up") == 0 ? try trial.snapshot("up").without([.file]) : Snapshot()
    let interface = QuickCase.interface
    up.facts.insert(Fact(.outcome, "up \(trial.status("up") == 0 ? "succeeds" : "fails")"))
    if trial.status("up") == 0 {
      up.facts.insert(Fact(.outcome, "down \(trial.status("down") == 0 ? "succeeds" : "fails")"))
      if trial.status("meanwhile") != 0 {
        up.facts.insert(Fact(.outcome, "meanwhile something fails: \(trial.text("meanwhile.log"))"))
      }
    }
    up.facts.formUnion(QuickOutcome.numbered(trial.text("hooks.log"), .hook))
    up.facts.formUnion(QuickOutcome.numbered(trial.text("resolver.log"), .resolver))
    let saved = trial.text("saved.conf")
    if saved != trial.text("\(interface).conf") { up.facts.formUnion(QuickOutcome.lines(ofFile: saved)) }
    self.up = up
    left = Difference(before, try trial.snapshot("after"))
  }

  private var isUp: Bool { up.facts.contains(Fact(.outcome, "up succeeds")) }

  /// Where only one of the two is up, that says it all.
  func whatToCompare(with other: QuickOutcome) -> Snapshot {
    isUp == other.isUp ? up : up.only([.outcome])
  }

  private static func numbered(_ text: String, _ area: Fact.Area) -> [Fact] {
    text.split(separator: "\n").enumerated().map { Fact(area, "\($0.offset + 1). \($0.element)") }
  }

  /// Those have an order.
  private static let hooks = ["PreUp", "PostUp", "PreDown", "PostDown"]

  /// The lines of a configuration file, each with its section, so that the order of peers makes no difference.
  private static func lines(ofFile text: String) -> [Fact] {
    var section = ""
    var facts: [Fact] = []
    var hookCount = 0
    for line in text.split(separator: "\n").map({ String($0).trimmed }) where !line.isEmpty {
      let parts = line.split(separator: "=", maxSplits: 1).map { String($0).trimmed }
      if line.hasPrefix("[") { section = line }
      if parts.first == "PublicKey" { section = "[Peer \(parts[1].prefix(8))]" }
      guard parts.count == 2 else { continue }
      var value = parts[1]
      if parts[0] == "AllowedIPs" {
        value = value.split { $0 == "," || $0 == " " }.sorted().joined(separator: ", ")
      } else if parts[0] == "ListenPort" {
        value = Snapshot.portText(value)
      } else if parts[0] == "Address", value.hasPrefix("fe80:"), !text.contains("fe80::66") {
        value = "fe80::auto"
      }
      if hooks.contains(parts[0]) { hookCount += 1 }
      let place = hooks.contains(parts[0]) ? " (\(hookCount))" : ""
      facts.append(Fact(.saved, "\(section) \(parts[0]) = \(value)\(place)"))
    }
    return facts
  }
}
