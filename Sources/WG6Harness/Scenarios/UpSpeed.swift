import Foundation

extension Scenario {
  /// How long `up` and `down` take, wg-quick's beside them.
  static let upSpeed = Scenario(
    "up-speed", "the time of up and down, with one peer and with thousands, wg-quick's beside it; WG6_LONG=1 asserts",
    needs: [
      .commandLine, .program("wg-quick", package: "wireguard-tools"), .program("nft", package: "nftables"),
      .program("wireguard-go", package: "wireguard-go"), .program("bash", package: "bash"),
    ]
  ) { lab in
    let isLong = Scenario.isLong
    let many = isLong ? 10_000 : 1000
    var random = SeededGenerator.chosen()
    for (peers, rounds, bound) in [(1, 11, 0.060), (many, 3, 2.0)] {
      let text = file(peers: peers, &random)
      let ours = try times(of: lab.implementation, text, rounds: rounds, in: lab)
      // It starts a program for every route.
      let theirs = try times(of: .wireguardGo, text, rounds: peers == 1 ? rounds : 1, in: lab)
      for (verb, own, other) in [("up", ours.up, theirs.up), ("down", ours.down, theirs.down)] {
        lab.say(
          "  \(peers) peers, \(2 * peers) routes, \(verb): \(milliseconds(own)) (middle of \(rounds)), wg-quick \(milliseconds(other))"
        )
      }
      if isLong {
        try lab.require(
          ours.up <= bound, "up with \(peers) peers takes no more than \(milliseconds(bound))", milliseconds(ours.up))
      }
    }
  }

  private static func milliseconds(_ seconds: Double) -> String { "\(Int((seconds * 1000).rounded())) ms" }

  /// Peers with two prefixes each, one of each family.
  private static func file(peers: Int, _ random: inout SeededGenerator) -> String {
    var text = "[Interface]\nPrivateKey = \(QuickCase.privateKey)\nAddress = 10.66.0.2/24, fd66::2/64\n"
    for index in 0..<peers {
      let key = Data((0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }).base64EncodedString()
      let place = "\(index >> 8).\(index & 255)"
      text += """

        [Peer]
        PublicKey = \(key)
        AllowedIPs = 10.7\(index & 1).\(place)/32, fd70::\(String(index, radix: 16)):0/112
        Endpoint = 203.0.113.\(index & 127):51820

        """
    }
    return text
  }

  /// The middle of so many rounds, in seconds.
  private static func times(of implementation: Implementation, _ text: String, rounds: Int, in lab: Lab) throws
    -> (up: Double, down: Double)
  {
    let frontend = Frontend(implementation: implementation)
    let interface = QuickCase.interface, tool = try frontend.quickTool()
    let trial = try Trial(
      "\(implementation.rawValue)-\(lab.hosts.count)", in: lab,
      files: ["network": QuickCase.Network.both.lines.joined(separator: "\n") + "\n", "file": text],
      script: """
        network || exit 1
        install -m 600 file /etc/wireguard/\(interface).conf
        for round in $(seq \(rounds)); do
          for verb in up down; do
            bash -c 't=$EPOCHREALTIME; "$@" >log 2>&1 || exit 1; echo $t $EPOCHREALTIME' - \\
              \(tool) $verb \(interface) >>$verb.times || { cat log >&2; exit 1; }
          done
          absent \(interface)
        done
        """)
    try trial.wait(within: 1200)
    func middle(_ file: String) throws -> Double {
      let times = trial.text(file).split(separator: "\n").compactMap { line -> Double? in
        let ends = line.split(separator: " ").compactMap { Double($0) }
        return ends.count == 2 ? ends[1] - ends[0] : nil
      }.sorted()
      guard times.count == rounds else { throw Disproved(claim: "\(rounds) rounds were timed", detail: "\(times)") }
      return times[rounds / 2]
    }
    return (try middle("up.times"), try middle("down.times"))
  }
}
