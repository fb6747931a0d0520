import Foundation

extension Scenario {
  /// The same file, brought up and taken down by wg-quick and by wg6, on two machines that are alike.
  static let sideBySide = Scenario(
    "side-by-side", "every kind of wg-quick file, by wg-quick and by wg6: the machines end up the same",
    needs: [
      .commandLine, .program("wg-quick", package: "wireguard-tools"), .program("nft", package: "nftables"),
      .program("wireguard-go", package: "wireguard-go"), .program("bash", package: "bash"),
    ]
  ) { lab in
    let wanted = ProcessInfo.processInfo.environment["WG6_CASES"]
    let cases = QuickCase.all.filter { wanted == nil || $0.name.contains(wanted!) }
    let ours = lab.implementation == .wg6
    var unexplained: [String] = []
    var seen: [String: Int] = [:]
    try lab.play(Array(cases.enumerated()), atOnce: 3) { number, quick in
      [
        try quick.trial("q\(number)", by: Frontend(implementation: .wireguardGo), in: lab),
        try quick.trial("w\(number)", by: Frontend(implementation: lab.implementation), in: lab),
      ]
    } finish: { plan, trials in
      let quick = plan.element
      let sides = (quick: try QuickOutcome(trials[0]), wg6: try QuickOutcome(trials[1]))
      var lines: [String] = []
      var notes: [String] = []
      var up = Difference(
        sides.quick.whatToCompare(with: sides.wg6), sides.wg6.whatToCompare(with: sides.quick),
        names: ("wg-quick", "wg6"))
      if ours { notes = KnownDifference.explain(&up, of: quick) }
      if !up.isEmpty { lines.append(up.description) }
      var left = sides.quick.left
      notes += KnownDifference.explainRemains(&left)
      if !left.isEmpty { lines.append("wg-quick leaves behind:\n\(left)") }
      // Of wg-quick's the table knows what stays; of ours nothing may.
      left = sides.wg6.left
      if !ours { _ = KnownDifference.explainRemains(&left) }
      if !left.isEmpty { lines.append("wg6 leaves behind:\n\(left)") }
      for note in notes { seen[note, default: 0] += 1 }
      let mark = lines.isEmpty ? "✓" : "✗"
      if sides.quick.up.texts(of: .outcome).contains(where: { $0.hasSuffix("fails") }) {
        notes.append("fails, in wg-quick")
      }
      lab.say("  \(mark) \(quick.name)\(notes.isEmpty ? "" : " (\(notes.joined(separator: "; ")))")")
      if !lines.isEmpty {
        let logs =
          "wg-quick said:\n\(trials[0].text("up.log"))wg6 said:\n\(trials[1].text("up.log"))\(trials[1].text("down.log"))"
        let text = lines.joined(separator: "\n").split(separator: "\n").map { "      " + $0 }.joined(separator: "\n")
        lab.say(text)
        unexplained.append("\(quick.name):\n\(text)\n\(logs)")
      }
    }
    try lab.require(
      unexplained.isEmpty,
      "\(cases.count) files by wg-quick and by wg6 end in the same machine, and after down in the one before",
      "\(unexplained.count) do not:\n" + unexplained.joined(separator: "\n"))
    guard ours, wanted == nil else { return }
    for difference in KnownDifference.all {
      lab.say("    \(seen[difference.name] ?? 0) files: \(difference.name)")
    }
    try lab.require(
      KnownDifference.all.allSatisfy { seen[$0.name] != nil }, "every known difference is still one",
      KnownDifference.all.map(\.name).filter { seen[$0] == nil }.joined(separator: "; "))
  }
}

extension QuickCase {
  /// Brings it up and takes it down on a host of its own, with a snapshot before, in between and after.
  func trial(_ name: String, by frontend: Frontend, in lab: Lab) throws -> Trial {
    let tool = try frontend.quickTool()
    return try Trial(
      name, in: lab,
      files: [
        "network": network.joined(separator: "\n") + "\n", "hosts": QuickCase.hosts,
        "\(QuickCase.interface).conf": text,
        "meanwhile": meanwhile,
      ],
      environment: ["WG_ENDPOINT_RESOLUTION_RETRIES": "0"],
      script: """
        install -m \(mode) \(QuickCase.interface).conf /etc/wireguard/\(interface).conf
        network || exit 1
        snap before
        try up \(tool) up \(interface)
        settle
        snap up
        if [ "$(cat up.status)" = 0 ]; then
          try meanwhile sh -e meanwhile
          try down \(tool) down \(interface)
        fi
        # Where a hook keeps `down` from ending, whoever types it helps himself.
        [ "$(cat down.status 2>/dev/null)" != 1 ] || ip link del \(interface)
        absent \(interface)
        snap after
        cp /etc/wireguard/hooks.log hooks.log 2>/dev/null
        cp /etc/wireguard/resolver.log resolver.log 2>/dev/null
        cp /etc/wireguard/\(interface).conf saved.conf
        exit 0
        """)
  }
}

extension Frontend {
  /// What to type in front of `up` and `down`.
  func quickTool() throws -> String {
    implementation == .wg6 ? try Binaries.path(of: "wg6") : "wg-quick"
  }
}
