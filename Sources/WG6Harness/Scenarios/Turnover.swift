import Foundation

extension Scenario {
  /// Interfaces that come and go beside one that stays.
  static let turnover = Scenario(
    "turnover", "fifty interfaces made and unmade in every way while others use them; the one that stays loses nothing"
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let (client, server) = (tunnel.client, tunnel.server)
    let descriptors = { (program: Program) in Files.names(in: "/proc/\(program.pid)/fd").count }
    let before = (descriptors(tunnel.clientNode.daemon!), descriptors(tunnel.serverNode.daemon!))
    let traffic = try CheckedTraffic(
      from: (client, Tunnel.clientInner.v6), to: (server, Tunnel.serverInner.v6),
      load: .init(streamBytes: 0, datagramRate: 100), random: SeededGenerator(seed: 1))

    var passed = 0
    for round in 0..<50 {
      // Around through the tunnel that stays; every other round has a third tunnel inside the second one.
      let second = try Passing(lab, tunnel, number: 1, round: round, to: Tunnel.serverInner.v4)
      try client.reach(second.server)
      passed += 1
      if round.isMultiple(of: 2) {
        let third = try Passing(lab, tunnel, number: 2, round: round, to: second.server)
        try client.reach(third.server)
        passed += 1
        // Whoever is in the middle goes first, under traffic and with routes to it.
        try end(second, Ending.allCases[round / 2 % 3], whilePinging: third.server, from: client)
        try third.end(Ending.allCases[round / 6 % 3])
      } else {
        try end(second, Ending.allCases[round / 2 % 3], whilePinging: second.server, from: client)
      }
    }
    let figures = traffic.finish()
    try lab.require(true, "50 rounds: \(passed) pairs of interfaces were made, worked, and went")
    try lab.require(
      figures.isSound && figures.datagramsArrived == figures.datagramsSent,
      "of \(figures.datagramsSent) datagrams through the tunnel that stayed, both ways, none was lost", "\(figures)")
    for host in [client, server] {
      try waitUntil("only one daemon is left on \(host.name)") { host.daemons(of: lab.implementation).count == 1 }
      let links = try host.ip("-o", "link", "show").split(separator: "\n").count
      try lab.require(links == 3, "\(host.name) has its loopback, its cable and its tunnel, and no interface more")
    }
    let after = (descriptors(tunnel.clientNode.daemon!), descriptors(tunnel.serverNode.daemon!))
    try lab.require(
      before == after, "the daemons that stayed have as many descriptors open as before: \(after)", "\(before)")
    try lab.require(
      tunnel.answers(from: client, Tunnel.serverInner.v4), "and their tunnel works")
  }

  private static func end(_ passing: Passing, _ ending: Ending, whilePinging target: String, from host: Host) throws {
    let ping = try host.startPing(target, count: 100_000, every: 0.002)
    try passing.end(ending)
    ping.program.stop(SIGINT)
  }
}

/// How an interface may end.
private enum Ending: CaseIterable {
  case deleted, terminated, killed
}

/// A tunnel that will not be there for long.
private struct Passing {
  let nodes: [Node]
  let server: String

  init(_ lab: Lab, _ tunnel: Tunnel, number: Int, round: Int, to endpoint: String) throws {
    let interface = "wg\(number)"
    let net = "10.7\(number).\(round)"
    server = "\(net).1"
    let there = try Node(on: tunnel.server, lab.implementation, interface: interface)
    let here = try Node(on: tunnel.client, lab.implementation, interface: interface)
    nodes = [here, there]
    try there.configure(
      listenPort: 52_000 + number, peers: [PeerSettings(here.keys.publicKey, allowedIPs: ["\(net).2/32"])])
    try here.configure(
      peers: [
        PeerSettings(there.keys.publicKey, endpoint: "\(endpoint):\(52_000 + number)", allowedIPs: ["\(net).1/32"])
      ])
    try there.up(["\(net).1/24"], mtu: 1420 - 80 * number)
    try here.up(["\(net).2/24"], mtu: 1420 - 80 * number)
  }

  /// Ends both ends of it and waits until nothing is left.
  func end(_ ending: Ending) throws {
    for node in nodes {
      let host = node.machine as! Host
      switch ending {
      case .deleted: try host.ip("link", "del", node.interface)
      case .terminated: node.daemon!.send(SIGTERM)
      case .killed: node.daemon!.send(SIGKILL)
      }
    }
    for node in nodes {
      let host = node.machine as! Host
      try waitUntil("\(node.interface) is gone from \(host.name)", every: 0.01) {
        !node.daemon!.isRunning && !host.has(interface: node.interface)
      }
    }
  }
}
