extension Scenario {
  /// Much of everything at once, and every byte of it right.
  static let transfer = Scenario(
    "transfer", "1 GiB of checked streams both ways with datagrams beside them, part of it through a tunnel inside"
  ) { lab in
    let random = SeededGenerator.chosen()
    let total = (Scenario.isLong ? 20 : 1) << 30
    lab.say("seed \(random.seed) (WG6_SEED repeats it); \(total >> 30) GiB (WG6_LONG=1: 20)")
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let inner = try InnerTunnel(lab, tunnel)
    try tunnel.client.reach(InnerTunnel.server.v6)
    let hosts = [tunnel.client, tunnel.server]
    let daemons = [tunnel.clientNode, tunnel.serverNode, inner.clientNode, inner.serverNode]

    func counted() throws -> [NetworkCounters] { try hosts.map { try NetworkCounters(of: $0) } }
    let before = try counted()
    let usedBefore = Scenario.processorSeconds(of: daemons)
    let start = Clock.seconds
    let flows = try Scenario.flows(tunnel, total: total, random)
    defer { for flow in flows { _ = flow.finish() } }
    var told = start
    try waitUntil("everything is through", within: Scenario.isLong ? 3600 : 600) {
      let figures = flows.map(\.figures)
      if let wrong = figures.first(where: { !$0.isSound }) {
        throw Disproved(claim: "every byte is right", detail: "\(wrong)")
      }
      let done = figures.reduce(0) { $0 + $1.streamed.there + $1.streamed.back }
      if Clock.seconds - told >= 30 {
        told = Clock.seconds
        lab.say("  \(done >> 20) MiB")
      }
      return done >= total
    }
    let took = Clock.seconds - start
    let used = Scenario.processorSeconds(of: daemons) - usedBefore
    let figures = flows.map { $0.finish() }
    let since = zip(try counted(), before).map(-)
    func sum(_ name: String) -> Int { since.reduce(0) { $0 + $1[name] } }

    let gigabits = Double(total) * 8 / 1e9
    lab.say(
      String(
        format:
          "  %.1f s, %.2f Gbit/s, of both ways and all streams; the four daemons had %.3f CPU-s for a Gbit; %d of %d segments sent again",
        took, gigabits / took, used / gigabits, sum("TcpRetransSegs"), sum("TcpOutSegs")))
    let streamed = figures.reduce(0) { $0 + $1.streamed.there + $1.streamed.back }
    try lab.require(
      figures.allSatisfy(\.isSound) && streamed == total,
      "\(streamed) bytes of TCP in \(flows.count) streams each way: none altered, left out, repeated or moved",
      "\(figures)")
    let (sent, arrived) = figures.reduce((0, 0)) { ($0.0 + $1.datagramsSent, $0.1 + $1.datagramsArrived) }
    try lab.require(
      arrived > 0, "\(arrived) of \(sent) datagrams up to 3,000 bytes: none altered, none twice", "\(figures)")
    let wrong = ["TcpInCsumErrors", "TcpInErrs", "UdpInCsumErrors", "Udp6InCsumErrors"].map { ($0, sum($0)) }
    try lab.require(wrong.allSatisfy { $0.1 == 0 }, "no host saw a wrong checksum", "\(wrong)")
    for node in daemons where lab.implementation == .wg6 {
      let drops = try node.unexpectedDrops()
      try lab.require(drops.isEmpty, "\(node.interface) of \(node.machine.name) dropped nothing", "\(drops)")
    }
  }

  /// Two streams each way over IPv4, one over IPv6, and one in the tunnel inside, which has a sixteenth of the bytes; all
  /// of them with datagrams.
  private static func flows(_ tunnel: Tunnel, total: Int, _ random: SeededGenerator) throws -> [CheckedTraffic] {
    let outer = [
      (Tunnel.clientInner.v4, Tunnel.serverInner.v4), (Tunnel.clientInner.v4, Tunnel.serverInner.v4),
      (Tunnel.clientInner.v6, Tunnel.serverInner.v6),
    ].map { (own: $0.0, target: $0.1, sixteenths: 5, longest: 3000) }
    let inner = (own: InnerTunnel.client.v6, target: InnerTunnel.server.v6, sixteenths: 1, longest: 1200)
    return try (outer + [inner]).enumerated().map { index, flow in
      try CheckedTraffic(
        from: (tunnel.client, flow.own), to: (tunnel.server, flow.target), port: 7100 + index,
        load: .init(
          streamBytes: total / 32 * flow.sixteenths, datagramRate: 200, datagramSizes: 16...flow.longest),
        random: SeededGenerator(seed: random.seed &+ UInt64(index)))
    }
  }

  private static func processorSeconds(of nodes: [Node]) -> Double {
    nodes.compactMap(\.daemon).reduce(0) { $0 + Usage(of: $1.pid).seconds.values.reduce(0, +) }
  }
}
