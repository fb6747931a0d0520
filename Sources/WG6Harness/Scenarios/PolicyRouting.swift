import Foundation

extension Scenario {
  /// A tunnel that takes the default route, by rules and marks.
  static let policyRouting = Scenario(
    "policy-routing", "default routes of both families through the tunnel by rule and mark; bound sockets, links down",
    needs: [.program("nft", package: "nftables")]
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let (client, server) = (tunnel.client, tunnel.server)
    // Two places that only the default route leads to.
    let beyond = ["192.0.2.7", "2001:db8:99::7"]
    try server.ip("addr", "add", beyond[0] + "/32", "dev", "wg0")
    try server.ip("addr", "add", beyond[1] + "/128", "dev", "wg0", "nodad")
    try client.ip("route", "add", "default", "via", Tunnel.serverOuter.v4)
    try client.ip("-6", "route", "add", "default", "via", Tunnel.serverOuter.v6)

    try tunnel.clientNode.set(
      "fwmark", "51820", "peer", tunnel.serverKey, "allowed-ips", "0.0.0.0/0,::/0")
    for family in ["-4", "-6"] {
      try client.ip(family, "route", "add", "default", "dev", "wg0", "table", "51820")
      try client.ip(family, "rule", "add", "not", "fwmark", "51820", "table", "51820")
      try client.ip(family, "rule", "add", "table", "main", "suppress_prefixlength", "0")
    }
    try client.sysctl(["net.ipv4.conf.all.src_valid_mark": "1"])

    for outer in ["\(Tunnel.serverOuter.v4):\(Tunnel.port)", "[\(Tunnel.serverOuter.v6)]:\(Tunnel.port)"] {
      let outside = outer.hasPrefix("[") ? "IPv6" : "IPv4"
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", outer)
      let before = try tunnel.clientNode.transfer(with: tunnel.serverKey)
      for address in beyond {
        let pings = try client.floodPing(address, count: 100)
        try lab.require(
          pings.lost == 0, "100 pings to \(address) by the default route, \(outside) outside: none lost",
          "\(pings.lost) lost")
      }
      let after = try tunnel.clientNode.transfer(with: tunnel.serverKey)
      try lab.require(
        after.sent - before.sent >= 200 * 128 && after.sent - before.sent < 200 * 160 + 2000,
        "they went through the tunnel, once each: \(after.sent - before.sent) bytes", "\(before) \(after)")
    }
    let before = try tunnel.clientNode.transfer(with: tunnel.serverKey).sent
    for address in [Tunnel.serverOuter.v4, Tunnel.serverOuter.v6] { _ = try client.floodPing(address, count: 20) }
    let sent = try tunnel.clientNode.transfer(with: tunnel.serverKey).sent - before
    try lab.require(sent < 20 * 128, "what the main table knows closer than by default stays outside", "\(sent) bytes")
    for (address, mark) in [(beyond[0], "51820"), (beyond[1], "51820")] {
      let way = try client.ip(address.contains(":") ? "-6" : "-4", "route", "get", address, "mark", mark)
      try lab.require(way.contains("dev wan"), "marked packets to \(address) take the uplink's default route", way)
    }

    lab.say("sockets bound to the tunnel, and a firewall that marks and so reroutes what they send")
    try boundSockets(lab, tunnel, beyond)
    try linkDownAndUp(lab, tunnel)
  }

  private static func boundSockets(_ lab: Lab, _ tunnel: Tunnel, _ beyond: [String]) throws {
    for address in beyond {
      try lab.require(
        tunnel.answers(from: tunnel.client, address, "-I", "wg0"), "a socket bound to wg0 reaches \(address)")
    }
    try tunnel.client.nft(
      """
      table inet marking {
        chain output {
          type route hook output priority mangle;
          icmp type echo-request meta mark set 1
          icmpv6 type echo-request meta mark set 1
        }
      }
      """)
    for address in beyond {
      try lab.require(
        tunnel.answers(from: tunnel.client, address) && tunnel.answers(from: tunnel.client, address, "-I", "wg0"),
        "with every ping marked otherwise and looked up again, \(address) is still reached, bound and not")
    }
    try tunnel.client.run("nft", "delete", "table", "inet", "marking")
  }

  /// The cable is drawn and plugged in again, with the tunnel's socket open all the while.
  private static func linkDownAndUp(_ lab: Lab, _ tunnel: Tunnel) throws {
    let client = tunnel.client
    for outer in ["\(Tunnel.serverOuter.v4):\(Tunnel.port)", "[\(Tunnel.serverOuter.v6)]:\(Tunnel.port)"] {
      let outside = outer.hasPrefix("[") ? "IPv6" : "IPv4"
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", outer)
      try client.reach(Tunnel.serverInner.v4)
      try client.ip("link", "set", "wan", "down")
      try lab.require(
        !tunnel.answers(from: client, Tunnel.serverInner.v4), "the uplink is down: no answer, \(outside) outside")
      try client.ip("link", "set", "wan", "up")
      // What the machine's network service would do.
      try client.ip("-6", "addr", "replace", Tunnel.clientOuter.v6 + "/64", "dev", "wan", "nodad")
      try client.ip("route", "replace", "default", "via", Tunnel.serverOuter.v4)
      try client.ip("-6", "route", "replace", "default", "via", Tunnel.serverOuter.v6)
      try client.reach(Tunnel.serverInner.v4, within: 15)
      try lab.require(true, "and up again: the tunnel works again by itself")
    }
  }
}
