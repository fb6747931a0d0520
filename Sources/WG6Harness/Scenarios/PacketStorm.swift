import Foundation

extension Scenario {
  /// A packet must not go round for ever between two peers, each of whose endpoints is behind the other.
  static let packetStorm = Scenario(
    "packet-storm", "an attacker with two keys makes each peer's endpoint an address behind the other",
    needs: [.program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let inner = try InnerTunnel(lab, tunnel)
    try tunnel.client.reach(InnerTunnel.server.v4)
    let attacker = try lab.host("attacker")
    try lab.cable(
      tunnel.server.port("front", "203.0.113.1/24", "2001:db8:200::1/64"),
      attacker.port("wan", "203.0.113.2/24", "2001:db8:200::2/64"))
    try tunnel.server.sysctl(["net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.front.rp_filter": "0"])
    try attacker.reach("203.0.113.1")
    try attacker.reach("2001:db8:200::1")
    let foreign = try Node(on: tunnel.server, .wireguardGo, interface: "wg2")
    try foreign.configure(listenPort: 51_822, peers: [])
    try foreign.up(["10.69.0.1/24", "fd69::1/64"])
    let first = (node: tunnel.serverNode, port: Tunnel.port, inner: Tunnel.serverInner)
    let second = (node: inner.serverNode, port: 51_821, inner: InnerTunnel.server)
    let third = (node: foreign, port: 51_822, inner: (v4: "10.69.0.1", v6: "fd69::1"))
    var number = 10
    for (what, other, mtus) in [
      ("one tunnel", first, (1420, 1340)), ("two tunnels", second, (1420, 1420)),
      ("two tunnels of 1,280 bytes", second, (1280, 1280)), ("two tunnels of 9,000 bytes", second, (9000, 9000)),
      ("wireguard-go's tunnel", third, (1420, 1340)), ("wireguard-go's tunnel, of more", third, (1280, 1340)),
    ] {
      try tunnel.server.ip("link", "set", "wg0", "mtu", "\(mtus.0)")
      try tunnel.server.ip("link", "set", "wg1", "mtu", "\(mtus.1)")
      for (how, isIPv6, isSpoofed) in [
        ("IPv4, through the sessions", false, false), ("IPv6, through the sessions", true, false),
        ("IPv4, with forged sources", false, true), ("IPv6, with forged sources", true, true),
      ] {
        let storm = Storm(lab: lab, tunnel: tunnel, attacker: attacker, isIPv6: isIPv6)
        try storm.play("\(what), \(how)", first, other, numbers: (number, number + 1), isSpoofed: isSpoofed)
        number += 2
      }
    }
    try tunnel.server.ip("link", "set", "wg0", "mtu", "1420")
    try tunnel.server.ip("link", "set", "wg1", "mtu", "1340")
    for address in [Tunnel.serverInner.v4, Tunnel.serverInner.v6, InnerTunnel.server.v4] {
      let pings = try tunnel.client.floodPing(address, count: 300)
      try lab.require(pings.lost == 0, "300 pings of an honest peer to \(address), none lost", "\(pings.lost) lost")
    }
  }
}

/// One attempt with two fresh keys.
private struct Storm {
  typealias Interface = (node: Node, port: Int, inner: (v4: String, v6: String))

  let lab: Lab
  let tunnel: Tunnel
  let attacker: Host
  let isIPv6: Bool

  func play(_ title: String, _ first: Interface, _ second: Interface, numbers: (Int, Int), isSpoofed: Bool) throws {
    let one = try peer(of: first, number: numbers.0), other = try peer(of: second, number: numbers.1)
    try one.connect()
    try other.connect()
    let nodes = [first.node, second.node]
    let endpoints = try zip(nodes, [one, other]).map { try $0.endpoint(of: $1.publicKey) }
    if isSpoofed {
      for (sender, seeming) in [(one, other), (other, one)] {
        let address = isIPv6 ? seeming.inner.v6 : seeming.inner.v4
        try attacker.ip(
          "addr", "add", address + (isIPv6 ? "/128" : "/32"), "dev", "wan", isIPv6 ? "nodad" : "noprefixroute")
        let target = try SocketAddress(isIPv6 ? "2001:db8:200::1" : "203.0.113.1", sender.targetPort)
        let socket = try DatagramSocket(on: attacker, address: address, port: Tunnel.port)
        socket.send(sender.message(counter: 2000), to: target)
      }
    } else {
      // What carries the other's message has an earlier counter than what moved its sender, so that it stays moved.
      for (sender, through) in [(one, other), (other, one)] {
        through.deliver(sender.message(counter: 2000), to: sender.targetPort, isIPv6: isIPv6, counter: 1000)
        Thread.sleep(forTimeInterval: 0.05)
      }
    }
    Thread.sleep(forTimeInterval: 0.2)
    let moved = try zip(nodes, [one, other]).map { try $0.endpoint(of: $1.publicKey) } != endpoints
    let interfaces = ["wg0", "wg1", "wg2"]
    let before = try NetworkCounters(of: tunnel.server, interfaces: interfaces)
    _ = try tunnel.server.attempt(["ping", "-q", "-n", "-c", "1", "-W", "0.1", isIPv6 ? one.inner.v6 : one.inner.v4])
    Thread.sleep(forTimeInterval: Scenario.isLong ? 100 : 2)
    let grown = try NetworkCounters(of: tunnel.server, interfaces: interfaces) - before
    func sum(_ what: String) -> Int { interfaces.reduce(0) { $0 + grown["\($1)/statistics/tx_\(what)"] } }
    let figures = "\(sum("packets")) packets, \(sum("bytes")) bytes, \(sum("dropped")) dropped"
    for (node, peer) in zip(nodes, [one, other]) { try node.set("peer", peer.publicKey, "remove") }
    try lab.require(
      sum("bytes") < 70_000, "\(title): \(moved ? "endpoints" : "no endpoint") moved; after one packet, \(figures)",
      figures)
  }

  /// A key that `interface` knows.
  private func peer(of interface: Interface, number: Int) throws -> Insider {
    // The machine's own address in it ends with 1.
    let network = (v4: String(interface.inner.v4.dropLast()), v6: String(interface.inner.v6.dropLast()))
    let insider = try Insider(
      on: attacker, address: "203.0.113.2", inner: (network.v4 + "\(number)", network.v6 + "\(number)"),
      knowing: interface.node.keys.publicKey, at: "203.0.113.1", port: interface.port, targetInner: interface.inner)
    try interface.node.set(
      "peer", insider.publicKey, "allowed-ips", "\(insider.inner.v4)/32,\(insider.inner.v6)/128")
    return insider
  }
}
