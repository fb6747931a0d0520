import Foundation

extension Scenario {
  /// Small and giant frames under both families.
  static let packetSizes = Scenario(
    "packet-sizes", "MTU 1420 and 34,736 over IPv4 and IPv6: pings, TCP and UDP both ways, and padding within an MTU"
  ) { lab in
    let random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it)")
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    var port = 7100
    for outer in ["\(Tunnel.serverOuter.v4):\(Tunnel.port)", "[\(Tunnel.serverOuter.v6)]:\(Tunnel.port)"] {
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", outer)
      for mtu in [1420, 34_816 - 80] {
        try tunnel.setMTU(inside: mtu, outside: max(1500, mtu + 80))
        for (client, server, header) in [
          (Tunnel.clientInner.v4, Tunnel.serverInner.v4, 28), (Tunnel.clientInner.v6, Tunnel.serverInner.v6, 48),
        ] {
          for (host, target) in [(tunnel.client, server), (tunnel.server, client)] {
            try host.reach(target)
            for size in [56, mtu - header] {
              let pings = try host.startPing(target, count: 10, every: 0.02, "-s", "\(size)", "-M", "do")
                .result(within: 30)
              guard pings.lost == 0 else {
                throw Disproved(claim: "10 pings of \(size) bytes to \(target)", detail: "\(pings.lost) lost")
              }
            }
          }
          port += 1
          let traffic = try CheckedTraffic(
            from: (tunnel.client, client), to: (tunnel.server, server), port: port,
            load: .init(
              streamBytes: 2_000_000, streamRate: 10_000_000, datagramRate: 200, datagramSizes: 16...(mtu - header)),
            random: random)
          try waitUntil("the stream is through", within: 30) {
            let now = traffic.figures
            return now.broken != nil
              || (now.streamed.there == 2_000_000 && now.streamed.back == 2_000_000 && now.datagramsSent >= 40)
          }
          let figures = traffic.finish()
          // A queue may overflow on a busy machine; what arrives is right.
          try lab.require(
            figures.isSound && figures.lossPercent < 10,
            "MTU \(mtu) over \(outer.hasPrefix("[") ? "IPv6" : "IPv4"), IPv\(header == 28 ? 4 : 6) inside: the largest pings, "
              + "2 MB of TCP each way, \(figures.datagramsArrived) of \(figures.datagramsSent) datagrams: none altered, none twice",
            "\(figures)")
        }
      }
    }
    try paddingStaysWithin(lab, tunnel)
  }

  /// A packet that fits through a link still fits when it is padded: the link takes no byte more.
  private static func paddingStaysWithin(_ lab: Lab, _ tunnel: Tunnel) throws {
    try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", "\(Tunnel.serverOuter.v4):\(Tunnel.port)")
    // 20 of IPv4, 8 of UDP, 32 of WireGuard around the tunnel's own MTU, which is no multiple of 16.
    try tunnel.setMTU(inside: 1299, outside: 1299 + 60)
    try tunnel.client.reach(Tunnel.serverInner.v4)
    let capture = try tunnel.client.capture(on: "wan", "ip[6:2] & 0x3fff != 0")
    for inner in [1281, 1296, 1297, 1299] {
      let pings = try tunnel.client.startPing(
        Tunnel.serverInner.v4, count: 5, every: 0.02, "-s", "\(inner - 28)", "-M", "do"
      ).result(within: 30)
      try lab.require(pings.lost == 0, "\(inner) bytes pass through an interface's MTU of 1299 on a link of 1359")
    }
    capture.stop()
    try lab.require(capture.packets().isEmpty, "nothing was fragmented on the link", capture.digest())
    // Now the interface would take one byte more, but the route to the peer would not.
    try tunnel.setMTU(inside: 1300, outside: 1299 + 60)
    for (host, target) in [(tunnel.client, Tunnel.serverInner.v4), (tunnel.server, Tunnel.clientInner.v4)] {
      try host.ip("route", "add", target + "/32", "dev", "wg0", "mtu", "1299")
    }
    // A daemon hears of routes a little later than they are there; then 1297 bytes are padded by two.
    try waitUntil("both sides pad to 1299") {
      let before = (
        try tunnel.clientNode.transfer(with: tunnel.serverKey), try tunnel.serverNode.transfer(with: tunnel.clientKey)
      )
      _ = try tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4, "-s", "1269")
      return try tunnel.clientNode.transfer(with: tunnel.serverKey).sent == before.0.sent + 1299 + 32
        && tunnel.serverNode.transfer(with: tunnel.clientKey).sent == before.1.sent + 1299 + 32
    }
    let routed = try tunnel.client.capture(on: "wan", "ip[6:2] & 0x3fff != 0")
    for inner in [1281, 1297, 1299] {
      let pings = try tunnel.client.startPing(
        Tunnel.serverInner.v4, count: 5, every: 0.02, "-s", "\(inner - 28)", "-M", "do"
      ).result(within: 30)
      try lab.require(
        pings.lost == 0, "\(inner) bytes pass through a route's MTU of 1299 in an interface of 1300, same link")
    }
    routed.stop()
    try lab.require(routed.packets().isEmpty, "and nothing was fragmented on the link", routed.digest())
  }
}

extension Tunnel {
  /// Sets both ends' MTUs, of the interface and of the cable.
  fileprivate func setMTU(inside: Int, outside: Int) throws {
    for host in [client, server] {
      try host.ip("link", "set", "wan", "mtu", "\(outside)")
      try host.ip("link", "set", "wg0", "mtu", "\(inside)")
    }
  }
}
