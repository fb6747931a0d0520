import Foundation

extension Scenario {
  /// A better route appears and goes, and the next packet follows it.
  static let betterRoute = Scenario(
    "better-route", "a packet that is sent after a route was added takes it, its source as well",
    needs: [.program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    try takesTheNextRoute(lab, .client, beside: lab.implementation, suffix: "1")
    try takesTheNextRoute(lab, .server, beside: lab.implementation, suffix: "2")
    guard lab.implementation == .wg6 else { return }
    lab.say("with wireguard-go at the other end")
    try takesTheNextRoute(lab, .client, beside: .wireguardGo, suffix: "3")
    try takesTheNextRoute(lab, .server, beside: .wireguardGo, suffix: "4")
  }

  /// One end has two uplinks to the other, and its routes change. The other end's implementation is `other`.
  private static func takesTheNextRoute(
    _ lab: Lab, _ side: Side, beside other: Implementation, suffix: String
  ) throws {
    let rounds = Scenario.isLong ? 100 : 10
    let tunnel = try Tunnel(
      in: lab, side == .client ? lab.implementation : other, suffix: suffix, endpoint: "203.0.113.2:\(Tunnel.port)",
      serverImplementation: side == .client ? other : lab.implementation, cabled: false)
    let mover = tunnel.end(side), still = tunnel.end(side.other)
    let server = (v4: "203.0.113.2", v6: "2001:db8:113::2"), client = (v4: "203.0.113.1", v6: "2001:db8:113::1")
    try lab.cable(
      tunnel.client.port("first", "192.0.2.1/24", "2001:db8:2::1/64"),
      tunnel.server.port("first", "192.0.2.2/24", "2001:db8:2::2/64"))
    try lab.cable(
      tunnel.client.port("second", "198.51.100.1/24", "2001:db8:100::1/64"),
      tunnel.server.port("second", "198.51.100.2/24", "2001:db8:100::2/64"))
    for (host, own, gateways) in [
      (tunnel.client, client, (v4: "192.0.2.2", v6: "2001:db8:2::2")),
      (tunnel.server, server, (v4: "192.0.2.1", v6: "2001:db8:2::1")),
    ] {
      try host.sysctl([
        "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.first.rp_filter": "0", "net.ipv4.conf.second.rp_filter": "0",
      ])
      try host.reach(gateways.v4)
      try host.reach(gateways.v6)
      if host === still.host {
        try host.port("lo").add(own.v4 + "/32")
        try host.port("lo").add(own.v6 + "/128")
      }
    }
    let last = side == .client ? 2 : 1, own = side == .client ? 1 : 2
    let far = side == .client ? server : client
    for (family, target, inner, first, second) in [
      ("-4", far.v4, still.inner.v4, "192.0.2.", "198.51.100."),
      ("-6", far.v6, still.inner.v6, "2001:db8:2::", "2001:db8:100::"),
    ] {
      let prefix = target + (family == "-4" ? "/32" : "/128")
      try mover.host.ip(family, "route", "add", prefix, "via", "\(first)\(last)", "metric", "20")
      // The other end answers from the address that is written to, whichever way the packet came.
      try mover.host.reach(target)
      try mover.node.set("peer", still.node.keys.publicKey, "endpoint", bracketed(target))
      try mover.host.reach(inner)
      let socket = try DatagramSocket(
        on: mover.host, address: family == "-4" ? mover.inner.v4 : mover.inner.v6, port: 7300)
      let receiver = try DatagramSocket(on: still.host, address: inner, port: 7301)
      let address = try SocketAddress(inner, 7301)
      var late = 0
      let captures = try ["first", "second"].map {
        try mover.host.capture(on: $0, "udp dst port \(Tunnel.port) and dst host \(target) and greater 100")
      }
      for _ in 0..<rounds {
        for (change, wanted) in [("add", second), ("del", first)] {
          try mover.host.ip(
            family, "route", change, prefix, "via", "\(second)\(last)", "dev", "second", "metric", "10")
          socket.send([UInt8](repeating: 7, count: 64), to: address)
          if receiver.receive(within: 2) == nil { late += 1 }
          if try still.node.endpoint(of: mover.node.keys.publicKey) != bracketed("\(wanted)\(own)") { late += 1 }
        }
      }
      for capture in captures { capture.stop() }
      try lab.require(
        late == 0,
        "\(side), IPv\(family.dropFirst()): \(rounds) times a better route came and went, and each next packet took it",
        "\(late) of \(2 * rounds) packets left with the former source")
      for (capture, gateway) in zip(captures, [first, second]) {
        try lab.require(
          capture.packets().allSatisfy { $0.source == "\(gateway)\(own)" },
          "what left by \(gateway)\(last) came from that link's address",
          "\(Set(capture.packets().map(\.source)))")
      }
    }
  }

  private static func bracketed(_ address: String) -> String {
    address.contains(":") ? "[\(address)]:\(Tunnel.port)" : "\(address):\(Tunnel.port)"
  }
}

/// One end of a tunnel.
enum Side: String, CustomStringConvertible {
  case client, server

  var other: Side { self == .client ? .server : .client }
  var description: String { rawValue }
}

extension Tunnel {
  /// What one end has.
  struct End {
    let host: Host
    let node: Node
    let inner: (v4: String, v6: String)
    let outer: (v4: String, v6: String)
  }

  func end(_ side: Side) -> End {
    switch side {
    case .client: End(host: client, node: clientNode, inner: Self.clientInner, outer: Self.clientOuter)
    case .server: End(host: server, node: serverNode, inner: Self.serverInner, outer: Self.serverOuter)
    }
  }
}
