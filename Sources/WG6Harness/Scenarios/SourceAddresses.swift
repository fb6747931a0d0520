import Foundation

extension Scenario {
  /// Which of one's own addresses the outer packets come from, and by which link they leave.
  static let sourceAddresses = Scenario(
    "source-addresses",
    "the outer source follows removed addresses and better routes, and answers go back the way they came"
  ) { lab in
    try followsRemovedAddresses(lab)
    try repliesFromWhereItWasWrittenTo(lab)
    try followsBetterRoute(lab)
    try repliesByLink(lab)
  }

  /// An initiator's address goes while it talks, in one family and then the other.
  private static func followsRemovedAddresses(_ lab: Lab) throws {
    let tunnel = try Tunnel(in: lab, suffix: "1")
    try tunnel.client.sysctl(["net.ipv4.conf.wan.promote_secondaries": "1"])
    try tunnel.establish()
    let port = tunnel.client.port("wan")
    for (remote, old, new, mask) in [
      (Tunnel.serverOuter.v4, Tunnel.clientOuter.v4, "198.51.100.10", "/24"),
      (Tunnel.serverOuter.v6, Tunnel.clientOuter.v6, "2001:db8:100::10", "/64"),
      (Tunnel.serverOuter.v4, "198.51.100.10", "198.51.100.11", "/24"),
    ] {
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", bracketed(remote, Tunnel.port))
      try lab.require(
        tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v4),
        "the endpoint is \(remote) now, and the next ping is answered at once")
      try lab.require(
        tunnel.serverNode.endpoint(of: tunnel.clientKey) == bracketed(old, Tunnel.port), "it came from \(old)",
        tunnel.serverNode.endpoint(of: tunnel.clientKey))
      try port.add(new + mask)
      try port.remove(old + mask)
      try waitUntil("the new address is used", within: 3) {
        try tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v4)
      }
      try lab.require(
        tunnel.serverNode.endpoint(of: tunnel.clientKey) == bracketed(new, Tunnel.port),
        "\(old) is removed: it comes from \(new) at once", tunnel.serverNode.endpoint(of: tunnel.clientKey))
    }
  }

  /// A responder with several addresses, one of them on another interface than the route to the peer.
  private static func repliesFromWhereItWasWrittenTo(_ lab: Lab) throws {
    let tunnel = try Tunnel(in: lab, suffix: "2")
    try tunnel.establish()
    let port = tunnel.server.port("wan")
    try port.add("198.51.100.77/24")
    try port.add("2001:db8:100::77/64")
    try tunnel.server.port("lo").add("203.0.113.1/32")
    try tunnel.server.port("lo").add("2001:db8:113::1/128")
    try tunnel.client.route("203.0.113.0/24", via: Tunnel.serverOuter.v4)
    try tunnel.client.route("2001:db8:113::/64", via: Tunnel.serverOuter.v6)
    for address in [
      Tunnel.serverOuter.v4, Tunnel.serverOuter.v6, "198.51.100.77", "2001:db8:100::77", "203.0.113.1",
      "2001:db8:113::1", Tunnel.serverOuter.v4,
    ] {
      let wanted = bracketed(address, Tunnel.port)
      try tunnel.client.reach(address)
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", wanted)
      try lab.require(
        tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v6)
          && tunnel.clientNode.endpoint(of: tunnel.serverKey) == wanted, "written to \(address), it answers from there",
        tunnel.clientNode.endpoint(of: tunnel.serverKey))
    }
  }

  /// Two links to the same network: a better route appears on the other one.
  private static func followsBetterRoute(_ lab: Lab) throws {
    let tunnel = try Tunnel(in: lab, suffix: "3", endpoint: "192.0.2.2:\(Tunnel.port)", cabled: false)
    let (client, server) = (tunnel.client, tunnel.server)
    try lab.cable(client.port("first", "192.0.2.1/24"), server.port("first", "192.0.2.2/24"))
    try lab.cable(client.port("second", "192.0.2.3/24"), server.port("second"))
    for host in [client, server] {
      try host.sysctl([
        "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.first.rp_filter": "0", "net.ipv4.conf.second.rp_filter": "0",
      ])
    }
    for link in ["first", "second"] { try client.ip("route", "flush", "dev", link) }
    try client.ip("route", "add", "192.0.2.0/24", "dev", "first", "src", "192.0.2.1", "metric", "2")
    try client.reach(Tunnel.serverInner.v4)
    try lab.require(
      tunnel.serverNode.endpoint(of: tunnel.clientKey) == "192.0.2.1:\(Tunnel.port)",
      "by the first link it comes from 192.0.2.1", tunnel.serverNode.endpoint(of: tunnel.clientKey))
    try client.ip("route", "add", "192.0.2.0/24", "dev", "second", "src", "192.0.2.3", "metric", "1")
    // A daemon hears of it a little later than the kernel itself does.
    try? waitUntil("the better route is taken", within: 3) {
      try tunnel.answersAtOnce(from: client, Tunnel.serverInner.v4)
        && tunnel.serverNode.endpoint(of: tunnel.clientKey) == "192.0.2.3:\(Tunnel.port)"
    }
    try lab.require(
      tunnel.serverNode.endpoint(of: tunnel.clientKey) == "192.0.2.3:\(Tunnel.port)",
      "a better route by the second link: it comes from that one's 192.0.2.3",
      tunnel.serverNode.endpoint(of: tunnel.clientKey))
    try client.port("second").remove("192.0.2.3/24")
    try client.ip("route", "replace", "192.0.2.0/24", "dev", "first", "src", "192.0.2.1", "metric", "2")
    try client.port("first").add("192.0.2.3/24")
    try waitUntil("the first link is taken again", within: 3) {
      try tunnel.answersAtOnce(from: client, Tunnel.serverInner.v4)
    }
    try lab.require(
      true,
      "its address moved to the first link: the tunnel goes on, from \(tunnel.serverNode.endpoint(of: tunnel.clientKey))"
    )
  }

  /// Two uplinks with a rule for each one's address: what came in by one leaves by it.
  private static func repliesByLink(_ lab: Lab) throws {
    let tunnel = try Tunnel(in: lab, suffix: "4", endpoint: "192.0.2.1:\(Tunnel.port)", cabled: false)
    let (client, server) = (tunnel.client, tunnel.server)
    try lab.cable(
      client.port("first", "192.0.2.2/24", "2001:db8:2::2/64"), server.port("first", "192.0.2.1/24", "2001:db8:2::1/64")
    )
    try lab.cable(
      client.port("second", "198.51.100.2/24", "2001:db8:100::2/64"),
      server.port("second", "198.51.100.1/24", "2001:db8:100::1/64"))
    // The client speaks from an address that neither link is of, and the server's default route leads by the first.
    try client.port("lo").add("203.0.113.9/32")
    try client.port("lo").add("2001:db8:113::9/128")
    for (family, own, gateways) in [
      ("-4", "203.0.113.9", ["192.0.2", "198.51.100"]), ("-6", "2001:db8:113::9", ["2001:db8:2:", "2001:db8:100:"]),
    ] {
      let dot = family == "-4" ? "." : ":"
      try server.ip(family, "route", "add", "default", "via", "\(gateways[0])\(dot)2")
      try server.ip(family, "route", "add", "default", "via", "\(gateways[1])\(dot)2", "table", "200")
      try server.ip(family, "rule", "add", "from", "\(gateways[1])\(dot)1", "table", "200")
      for (gateway, link) in zip(gateways, ["first", "second"]) {
        let subnet = family == "-4" ? "\(gateway).0/24" : "\(gateway):/64"
        // Ahead of the one that came with the address, which IPv6 keeps beside it.
        let metric = family == "-4" ? "0" : "100"
        try client.ip(family, "route", "replace", subnet, "dev", link, "src", own, "metric", metric)
      }
    }
    for host in [client, server] {
      try host.sysctl([
        "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.first.rp_filter": "0", "net.ipv4.conf.second.rp_filter": "0",
      ])
    }
    for (link, address) in [
      ("second", "198.51.100.1"), ("first", "192.0.2.1"), ("second", "2001:db8:100::1"), ("first", "2001:db8:2::1"),
    ] {
      try client.reach(address)
      let captures = try ["first", "second"].map {
        try server.capture(on: $0, "udp src port \(Tunnel.port) and udp dst port \(Tunnel.port)")
      }
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", bracketed(address, Tunnel.port))
      try client.reach(Tunnel.serverInner.v6)
      let replies = { (index: Int) in
        try captures[index].packets().filter { $0.destination == "203.0.113.9" || $0.destination == "2001:db8:113::9" }
      }
      let (used, spared) = link == "first" ? (0, 1) : (1, 0)
      try waitUntil("replies are captured") { try !replies(used).isEmpty }
      for capture in captures { capture.stop() }
      try lab.require(
        replies(used).allSatisfy { $0.source == address } && replies(spared).isEmpty,
        "written to \(address), it answers from there and by the link \(link)",
        "\(Set(try replies(used).map(\.source))), \(try replies(spared).count) by the other link")
    }
  }

  private static func bracketed(_ address: String, _ port: Int) -> String {
    address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
  }
}
