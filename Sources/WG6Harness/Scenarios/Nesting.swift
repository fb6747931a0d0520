import Foundation

extension Scenario {
  /// Tunnels in tunnels, and tunnels that lead into themselves.
  static let nesting = Scenario(
    "nesting", "WireGuard through WireGuard, onion routing, and loops of both, which die out and do no harm"
  ) { lab in
    let random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it)")
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let inner = try InnerTunnel(lab, tunnel)
    try inner.carries(lab, tunnel, random)
    try onionRouting(lab, tunnel)

    lab.say("wg0's endpoint becomes an address behind wg1, whose packets go through wg0")
    try dies(lab, tunnel, "a loop through two tunnels", counted: ["wg0", "wg1"]) {
      try tunnel.clientNode.set(
        "peer", tunnel.serverKey, "endpoint", "\(InnerTunnel.server.v4):\(Tunnel.port)")
    }
    try dies(lab, tunnel, "the same over IPv6", counted: ["wg0", "wg1"]) {
      try tunnel.clientNode.set(
        "peer", tunnel.serverKey, "endpoint", "[\(InnerTunnel.server.v6)]:\(Tunnel.port)")
    }
    lab.say("wg0's endpoint becomes an address behind wg0 itself")
    try dies(lab, tunnel, "an endpoint behind its own tunnel", counted: ["wg0"]) {
      try tunnel.clientNode.set(
        "peer", tunnel.serverKey, "endpoint", "\(Tunnel.serverInner.v4):\(Tunnel.port)")
    }
    try dies(lab, tunnel, "the same over IPv6", counted: ["wg0"]) {
      try tunnel.clientNode.set(
        "peer", tunnel.serverKey, "endpoint", "[\(Tunnel.serverInner.v6)]:\(Tunnel.port)")
    }

    try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", "\(Tunnel.serverOuter.v4):\(Tunnel.port)")
    try lab.require(
      tunnel.clientNode.daemon!.isRunning && inner.clientNode.daemon!.isRunning, "both daemons are alive")
    try tunnel.client.reach(Tunnel.serverInner.v4)
    try tunnel.client.reach(InnerTunnel.server.v6)
    try lab.require(true, "with the true endpoint both tunnels work as before")
  }

  /// Starts from tunnels that work, makes a loop, sends ten pings into it, and counts until it is silent.
  private static func dies(
    _ lab: Lab, _ tunnel: Tunnel, _ what: String, counted: [String], _ makeLoop: () throws -> Void
  ) throws {
    // Live sessions in both: without, nothing but an initiation every five seconds would go round.
    try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", "\(Tunnel.serverOuter.v4):\(Tunnel.port)")
    for address in [Tunnel.serverInner.v4, InnerTunnel.server.v4] { try tunnel.client.reach(address) }
    func sent() throws -> [Int] {
      try counted.map { interface in
        let rows = try tunnel.client.run("wg", "show", interface, "transfer").lines
        return rows.reduce(0) { $0 + (Int($1.split(separator: "\t").last ?? "") ?? 0) }
      }
    }
    let before = try sent()
    try makeLoop()
    let target = counted.count == 2 ? InnerTunnel.server.v4 : Tunnel.serverInner.v4
    let ping = try tunnel.client.startPing(target, count: 10, every: 0.01, "-W", "1")
    let lost = try ping.result(within: 20).lost
    // Dead is what sends nothing for as long as a round of any loop could last.
    var (last, since) = (try sent(), Clock.seconds)
    try? waitUntil("nothing goes round any more", within: 5) {
      let now = try sent()
      if now != last { (last, since) = (now, Clock.seconds) }
      return Clock.seconds - since > 0.5
    }
    try lab.require(lost == 10, "\(what): ten pings are lost", "\(lost) were")
    let grown = zip(last, before).map(-)
    try lab.require(
      grown.allSatisfy { $0 < 70_000 } && Clock.seconds - since > 0.5,
      "it dies out after \(grown.map(String.init).joined(separator: " and ")) bytes", "\(grown), and it goes on")
  }

  /// A peer whose endpoint lies behind another peer of the same interface, and then behind itself.
  private static func onionRouting(_ lab: Lab, _ tunnel: Tunnel) throws {
    let hidden = try Node(on: tunnel.server, lab.implementation, interface: "wg2")
    try hidden.configure(
      listenPort: 51_822, peers: [PeerSettings(tunnel.clientKey, allowedIPs: ["10.68.0.1/32"])])
    try hidden.up(["10.68.0.2/24"], mtu: 1340)
    try tunnel.clientNode.set(
      "peer", hidden.keys.publicKey, "allowed-ips", "10.68.0.2/32", "endpoint", "\(Tunnel.serverInner.v4):51822")
    try tunnel.client.ip("addr", "add", "10.68.0.1/24", "dev", "wg0")
    try tunnel.client.reach("10.68.0.2")
    try lab.require(true, "a peer behind another peer of the same interface is reached through both layers")

    let before = try tunnel.clientNode.transfer(with: hidden.keys.publicKey).sent
    try tunnel.clientNode.set("peer", hidden.keys.publicKey, "endpoint", "10.68.0.2:51822")
    let ping = try tunnel.client.startPing("10.68.0.2", count: 10, every: 0.01, "-W", "1")
    try lab.require(ping.result(within: 20).lost == 10, "once its endpoint lies behind itself, it answers no more")
    let grown = try tunnel.clientNode.transfer(with: hidden.keys.publicKey).sent - before
    try lab.require(grown < 70_000, "that loop dies out after \(grown) bytes", "\(grown) bytes")
    try tunnel.clientNode.set("peer", hidden.keys.publicKey, "remove")
    try lab.require(
      tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4), "the other peer is none the worse for it")
  }
}

extension InnerTunnel {
  /// Fails unless the inner tunnel carries everything, in packets that fit.
  fileprivate func carries(_ lab: Lab, _ tunnel: Tunnel, _ random: SeededGenerator) throws {
    let fragments = try tunnel.client.capture(on: "wan", "ip[6:2] & 0x3fff != 0")
    for (own, target, header) in [(Self.client.v4, Self.server.v4, 28), (Self.client.v6, Self.server.v6, 48)] {
      try tunnel.client.reach(target)
      let pings = try tunnel.client.startPing(
        target, count: 20, every: 0.02, "-s", "\(Self.mtu - header)", "-M", "do"
      ).result(within: 30)
      try lab.require(pings.lost == 0, "20 pings of \(Self.mtu) bytes to \(target) through both layers, none lost")
      let traffic = try CheckedTraffic(
        from: (tunnel.client, own), to: (tunnel.server, target), port: header == 28 ? 7004 : 7006,
        load: .init(streamBytes: 5_000_000, streamRate: 10_000_000, datagramSizes: 16...(Self.mtu - header)),
        random: random
      )
      try waitUntil("the stream is through", within: 60) {
        let now = traffic.figures
        return now.broken != nil || (now.streamed.there == 5_000_000 && now.streamed.back == 5_000_000)
      }
      let figures = traffic.finish()
      try lab.require(
        figures.isSound && figures.lossPercent < 10,
        "5 MB of TCP each way, \(figures.datagramsArrived) of \(figures.datagramsSent) datagrams: none altered, none twice",
        "\(figures)")
    }
    fragments.stop()
    try lab.require(fragments.packets().isEmpty, "nothing was fragmented on the cable", fragments.digest())
  }
}
