import Foundation

extension Scenario {
  /// What a session keeps of its throughput while strangers flood the server with handshakes.
  ///
  /// Attacker, server, peer and both ends of the stream share this machine's processors. So the flood is compared with
  /// the same flood sent to a socket beside the daemon's that nobody reads: what is lost there, the attacker's own work
  /// and the network's has cost. Both take turns, so that whatever else the machine does weighs on both.
  static let floodThroughput = Scenario(
    "flood-throughput", "a session's throughput under 50,000 handshake messages a second",
    needs: [.program("iperf3", package: "iperf3"), .program("nft", package: "nftables")]
  ) { lab in
    let siege = try Siege(in: lab)
    let attacks = try Attack.handshakes(siege, Recording(siege))
    try Throughput.serve(on: siege.tunnel.server)
    // To read the answers is work of the attacker's machine: this one is not to be charged with it.
    try siege.attacker.nft(
      """
      table netdev deaf {
        chain ingress { type filter hook ingress device wan priority 0; udp sport \(Tunnel.port) drop; }
      }
      """)
    let mute = try (
      DatagramSocket(on: siege.tunnel.server, address: Siege.front.v4, port: 9),
      DatagramSocket(on: siege.tunnel.server, address: Siege.front.v6, port: 9)
    )
    defer { withExtendedLifetime(mute) {} }

    for attack in Scenario.isLong ? attacks : Array(attacks.prefix(2)) {
      lab.say("\(attack.name), \(attack.rate) a second")
      let paced = try siege.compare(attack, pace: 200, rounds: 1)
      let free = try siege.compare(attack, pace: nil, rounds: Scenario.isLong ? 10 : 4)
      lab.say("  the daemon had meanwhile: \(free.usage)")
      try lab.require(
        paced.kept >= 0.8, "a stream of 200 Mbit/s keeps \(Usage.percent(paced.kept)) of it", "\(paced)")
      let claim =
        "a stream as fast as the machine can keeps \(Usage.percent(free.kept)): "
        + "\(free.attacked.twoDigits) of \(free.elsewhere.twoDigits) Gbit/s"
      // Such a stream takes what processors there are, and the flood takes what it needs first: the ratio says something
      // of the daemon only where nothing else runs.
      if Scenario.isLong { try lab.require(free.kept >= 0.8, claim, "\(free)") } else { lab.say("  \(claim)") }
    }
  }
}

/// Mean throughputs in Gbit/s with the flood going elsewhere, and to the daemon.
private struct Comparison {
  var elsewhere = 0.0
  var attacked = 0.0
  var usage = ""
  var kept: Double { attacked / elsewhere }
}

extension Siege {
  /// Measures in turns, each direction a second, `rounds` times.
  fileprivate func compare(_ attack: Attack, pace: Int?, rounds: Int) throws -> Comparison {
    let mute = try SocketAddress(attack.target.isIPv6 ? Siege.front.v6 : Siege.front.v4, 9)
    var result = Comparison()
    func measure(_ target: SocketAddress, back: Bool) throws -> Double {
      let flood = try flood(attack.datagrams, to: target, sources: attack.sources, rate: attack.rate)
      defer { _ = flood.stop() }
      return try Throughput.measure(from: tunnel.client, to: Tunnel.serverInner.v4, back: back, pace: pace)
    }
    for round in 0..<rounds {
      for back in [false, true] {
        let share = 1 / Double(2 * rounds)
        // Whoever comes second may find warmer caches.
        if round % 2 == 0 { result.elsewhere += try share * measure(mute, back: back) }
        let before = Usage(of: daemon.pid), start = Clock.seconds
        result.attacked += try share * measure(attack.target, back: back)
        result.usage = Usage(of: daemon.pid).shares(since: before, over: Clock.seconds - start).text
        if round % 2 == 1 { result.elsewhere += try share * measure(mute, back: back) }
      }
    }
    return result
  }
}

extension Double {
  fileprivate var twoDigits: String { String(format: "%.2f", self) }
}
