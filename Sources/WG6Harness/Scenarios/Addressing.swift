import Foundation

extension Scenario {
  /// The server answers from where it was spoken to.
  static let stickySource = Scenario(
    "sticky-source", "a server with two addresses answers from the one the client wrote to, unless that has gone"
  ) { lab in
    for (suffix, second, mask, bracketed) in [
      ("4", "198.51.100.77", "/24", "198.51.100.77"), ("6", "2001:db8:100::77", "/64", "[2001:db8:100::77]"),
    ] {
      let tunnel = try Tunnel(in: lab, suffix: suffix, endpoint: "\(bracketed):\(Tunnel.port)") { server in
        try server.port("wan").add(second + mask)
      }
      let capture = try tunnel.client.capture(on: "wan", "udp port \(Tunnel.port)")
      try tunnel.establish()
      let answers = {
        try capture.packets().filter { $0.source != Tunnel.clientOuter.v4 && $0.source != Tunnel.clientOuter.v6 }
      }
      try waitUntil("answers are captured") { try answers().count > 1 }
      try lab.require(
        answers().allSatisfy { $0.source == second }, "all answers come from \(second)",
        Set(try answers().map(\.source)).sorted().joined(separator: " "))
      try tunnel.server.port("wan").remove(second + mask)
      try waitUntil("the server reaches the client from its other address", within: 20) {
        try tunnel.answers(from: tunnel.server, Tunnel.clientInner.v4)
      }
      try lab.require(
        !tunnel.clientNode.endpoint(of: tunnel.serverKey).contains(bracketed),
        "with \(second) removed it speaks from another: \(tunnel.clientNode.endpoint(of: tunnel.serverKey))")
    }
  }

  /// A machine without IPv6, and one without IPv4.
  static let oneFamily = Scenario(
    "one-family", "a machine on which one address family is missing still has its tunnel"
  ) { lab in
    let tunnel = try Tunnel(in: lab, suffix: "4", v6Inside: false) { server in
      try server.sysctl(["net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"])
    }
    try tunnel.client.reach(Tunnel.serverInner.v4)
    try lab.require(true, "IPv6 disabled on the server: the tunnel works over IPv4")

    let other = try Tunnel(in: lab, suffix: "6", endpoint: "[\(Tunnel.serverOuter.v6)]:\(Tunnel.port)") { server in
      try server.port("wan").remove(Tunnel.serverOuter.v4 + "/24")
    }
    try other.establish()
    try lab.require(true, "no IPv4 address on the server: the tunnel works over IPv6")
  }

  /// The mark on the outer packets chooses their route.
  static let firewallMark = Scenario(
    "fwmark", "outer packets carry the mark, which is set and cleared at run time"
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    for family in ["-4", "-6"] {
      try tunnel.client.ip(family, "rule", "add", "fwmark", "0x77", "prohibit", "priority", "100")
    }
    try lab.require(tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4), "unmarked packets take the usual route")
    try tunnel.clientNode.set("fwmark", "0x77")
    try lab.require(
      tunnel.clientNode.machine.run("wg", "show", "wg0", "fwmark").line == "0x77", "the mark is shown")
    try lab.require(
      !tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4), "marked packets meet the rule for them, IPv4 outside"
    )
    try tunnel.clientNode.set(
      "peer", tunnel.serverKey, "endpoint", "[\(Tunnel.serverOuter.v6)]:\(Tunnel.port)")
    try lab.require(
      !tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4), "marked packets meet the rule for them, IPv6 outside"
    )
    try tunnel.clientNode.set("fwmark", "off")
    try lab.require(tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4), "without the mark they pass again")
  }

  /// The listening port changes under a running tunnel.
  static let portChange = Scenario("port-change", "the server's port changes at run time, and back") { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    for port in [40_001, 40_002, Tunnel.port] {
      try tunnel.serverNode.set("listen-port", "\(port)")
      try lab.require(
        tunnel.server.run("wg", "show", "wg0", "listen-port").line == "\(port)", "the port is \(port) now")
      try waitUntil("the server reaches the client from port \(port)") {
        try tunnel.answers(from: tunnel.server, Tunnel.clientInner.v6)
      }
      try lab.require(
        tunnel.clientNode.endpoint(of: tunnel.serverKey).hasSuffix(":\(port)"), "the client has followed to it")
    }
    let holder = try DatagramSocket(on: tunnel.server, address: "0.0.0.0", port: 40_003)
    defer { withExtendedLifetime(holder) {} }
    let refused = try tunnel.server.attempt(["wg", "set", "wg0", "listen-port", "40003"])
    try lab.require(!refused.succeeded, "a port that another program holds is refused", refused.complaints)
  }

  /// Nobody may speak with another's address.
  static let allowedIPsFilter = Scenario(
    "allowed-ips", "packets with an inner source that is not the peer's are dropped",
    needs: [.commandLine]
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    try tunnel.client.ip("addr", "add", "10.66.0.66/24", "dev", "wg0")
    try tunnel.client.ip("addr", "add", "fd66::66/64", "dev", "wg0", "nodad")
    let capture = try tunnel.server.capture(on: "wg0", "host 10.66.0.66 or host fd66::66")
    try lab.require(
      !tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4, "-I", "10.66.0.66"), "a false IPv4 source: no answer")
    try lab.require(
      !tunnel.answers(from: tunnel.client, Tunnel.serverInner.v6, "-I", "fd66::66"), "a false IPv6 source: no answer")
    capture.stop()
    try lab.require(capture.digest().trimmed.isEmpty, "none of it reached the server's interface", capture.digest())
    if lab.implementation == .wg6 {
      let drops = try tunnel.server.run([Binaries.path(of: "wg6"), "show", "wg0", "drops"]).lines
      let counted = drops.filter { $0.contains("source not allowed: 2 ") }
      try lab.require(counted.count == 2, "both are counted, for the interface and for the peer", "\(drops)")
    }
    try tunnel.serverNode.set(
      "peer", tunnel.clientKey, "allowed-ips", "10.66.0.2/32,fd66::2/128,10.66.0.66/32,fd66::66/128")
    try lab.require(
      tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4, "-I", "10.66.0.66")
        && tunnel.answers(from: tunnel.client, Tunnel.serverInner.v6, "-I", "fd66::66"),
      "allowed at run time, both pass")
  }

  /// The stock script, with another daemon behind it.
  static let wgQuick = Scenario(
    "wg-quick", "wg-quick up and down with the daemon as its userspace implementation",
    needs: [.program("wg-quick", package: "wireguard-tools")]
  ) { lab in
    let host = try lab.host("server")
    let keys = (near: try KeyPair.fresh(lab), far: try KeyPair.fresh(lab))
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.near.privateKey)
      ListenPort = 51820
      Address = 10.66.0.1/24, fd66::1/64
      [Peer]
      PublicKey = \(keys.far.publicKey)
      AllowedIPs = 10.66.0.2/32, fd66::2/128, 2001:db8:77::/48

      """, to: host.privateDirectory("/etc/wireguard") + "/quick.conf", mode: 0o600)
    let environment = ["WG_QUICK_USERSPACE_IMPLEMENTATION": try lab.implementation.daemon()]
    for round in 1...2 {
      try host.run(["wg-quick", "up", "quick"], environment: environment)
      try lab.require(
        host.ip("-6", "route", "get", "2001:db8:77::1").contains("dev quick"), "up, round \(round): routes are there")
      try host.run(["wg-quick", "down", "quick"], environment: environment)
      try waitUntil("nothing stays") { try host.remains(of: "quick", lab.implementation).isEmpty }
      try lab.require(true, "down, round \(round): nothing stays")
    }
  }
}
