extension Scenario {
  /// From every file to another one: what reload makes is what `up` makes.
  static let reloadPairs = Scenario(
    "reload-pairs", "from each of wg-quick's files to another by reload: the machine is the one that up makes of it",
    needs: [.commandLine, .program("nft", package: "nftables")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 reloads") }
    var random = SeededGenerator.chosen()
    lab.say("seed \(random.seed)")
    let files = QuickCase.reloadable
    let pairs = zip(files, files.shuffled(using: &random)).filter { $0.0.name != $0.1.name }
    var wrong: [String] = []
    try lab.play(Array(pairs.enumerated()), atOnce: 4) { number, pair in
      [try pair.1.reload("pair\(number)", from: pair.0, in: lab)]
    } finish: { plan, trials in
      let name = "\(plan.element.0.name) → \(plan.element.1.name)"
      var difference = Difference(
        try trials[0].snapshot("fresh").withRulesInOrder, try trials[0].snapshot("reloaded").withRulesInOrder,
        names: ("fresh", "reloaded"))
      difference.forgetWhatStays()
      lab.say("  \(difference.isEmpty ? "✓" : "✗") \(name)")
      if !difference.isEmpty { wrong.append("\(name):\n\(difference)\n\(trials[0].text("reload.log"))") }
    }
    try lab.require(
      wrong.isEmpty, "\(pairs.count) reloads end where an up would",
      "seed \(random.seed): \(wrong.count) do not:\n" + wrong.joined(separator: "\n"))
  }
}

extension QuickCase {
  /// Those that come up alike, on the usual network, and have no commands of their own.
  fileprivate static var reloadable: [QuickCase] {
    let without = Set((hooks + variables + saving + refused + refusedForms + apart).map(\.name)),
      usual = Network.both.lines
    return all.filter { !without.contains($0.name) && $0.network == usual }
  }

  /// Brings `first` up, reloads this file in its place, and brings it up afresh.
  fileprivate func reload(_ name: String, from first: QuickCase, in lab: Lab) throws -> Trial {
    let tool = try Binaries.path(of: "wg6"), interface = QuickCase.interface
    let place = "/etc/wireguard/\(interface).conf"
    return try Trial(
      name, in: lab,
      files: [
        "network": network.joined(separator: "\n") + "\n", "hosts": QuickCase.hosts, "first": first.text,
        "second": text,
      ],
      script: """
        network || exit 1
        install -m 600 first \(place)
        \(tool) up \(interface) || exit 2
        install -m 600 second \(place)
        try reload \(tool) reload \(interface)
        settle
        snap reloaded
        \(tool) down \(interface) || exit 3
        absent \(interface)
        \(tool) up \(interface) || exit 4
        settle
        snap fresh
        \(tool) down \(interface) || exit 5
        absent \(interface)
        exit 0
        """)
  }
}

extension Difference {
  /// A file that says nothing about the port or a peer's endpoint leaves them as they are.
  fileprivate mutating func forgetWhatStays() {
    for fact in left where fact.area == .device && (fact.text.hasSuffix(" (none)") || fact.text.hasSuffix(" drawn")) {
      let words = fact.text.split(separator: " ").dropLast().joined(separator: " ")
      guard words.hasSuffix("endpoint") || words.hasSuffix("listen port") else { continue }
      left.remove(fact)
      right = right.filter { !($0.area == .device && $0.text.hasPrefix(words + " ")) }
    }
  }
}
