import Foundation

extension Scenario {
  /// Two tunnels of one machine that both take the default route.
  static let twoDefaultRoutes = Scenario(
    "two-default-routes",
    "two tunnels with default routes and kill switches, also IPv4 over IPv6 beside IPv6 over IPv4: neither takes the other's datagrams",
    needs: [.commandLine, .program("nft", package: "nftables"), .program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6's own up") }
    let machine = try TwiceDefault(in: lab)
    let everything = "0.0.0.0/0, ::/0"
    for order in [[0, 1], [1, 0]] {
      try machine.play("both take all of both families", [everything, everything], order)
      try machine.play("IPv4 over IPv6, and IPv6 over IPv4", ["0.0.0.0/0", "::/0"], order)
    }
  }
}

/// A machine with two tunnels, to two daemons of wireguard-go behind its router.
private struct TwiceDefault {
  /// One of the tunnels.
  struct Tunnel {
    let name: String
    let keys: KeyPair
    let server: Node
    let port: Int
    let endpoint: String
    /// The first halves of its inside addresses; the server is 1, and the machine 2.
    let inner: (v4: String, v6: String)
  }

  /// What only the tunnels lead to.
  static let far = ["192.0.2.7", "2001:db8:99::7"]

  let lab: Lab
  let home: Host
  let net: Host
  let tunnels: [Tunnel]
  let frontend: Frontend

  init(in lab: Lab) throws {
    self.lab = lab
    frontend = Frontend(implementation: lab.implementation)
    let home = try lab.host("home"), net = try lab.host("net")
    (self.home, self.net) = (home, net)
    try lab.cable(
      home.port("wan", "198.51.100.2/24", "2001:db8:100::2/64"),
      net.port("wan", "198.51.100.1/24", "2001:db8:100::1/64"))
    for gateway in ["198.51.100.1", "2001:db8:100::1"] { try home.route(via: gateway) }
    tunnels = try [0, 1].map { number in
      let keys = try KeyPair.fresh(lab), port = 51820 + number
      let inner = (v4: "10.66.\(number).", v6: "fd66:\(number)::")
      let server = try Node(on: net, .wireguardGo, interface: "wg\(number)")
      try server.configure(
        listenPort: port,
        peers: [PeerSettings(keys.publicKey, allowedIPs: ["\(inner.v4)2/32", "\(inner.v6)2/128"])])
      try server.up(["\(inner.v4)1/24", "\(inner.v6)1/64"])
      return Tunnel(
        name: ["one", "two"][number], keys: keys, server: server, port: port,
        endpoint: ["[2001:db8:100::1]:\(port)", "198.51.100.1:\(port)"][number], inner: inner)
    }
    try net.ip("addr", "add", Self.far[0] + "/32", "dev", "lo")
    try net.ip("addr", "add", Self.far[1] + "/128", "dev", "lo", "nodad")
    for gateway in ["198.51.100.1", "2001:db8:100::1"] { try home.reach(gateway) }
  }

  func play(_ title: String, _ allowedIPs: [String], _ order: [Int]) throws {
    lab.say("\(title); \(tunnels[order[0]].name) comes up first")
    for number in order { try write(tunnels[number], allowedIPs[number]) }
    let uplink = try LeakWatch(
      on: "wan", of: home, allowed: tunnels.map { "udp and port \($0.port)" })
    let (first, second) = (tunnels[order[0]], tunnels[order[1]])
    try frontend.up(first.name, on: home).orThrow()
    try carries(first, allowedIPs[order[0]])
    // Whatever the second does, the first loses nothing.
    let inner = allowedIPs[order[0]].contains(".") ? first.inner.v4 + "1" : first.inner.v6 + "1"
    let ping = try home.startPing(inner, count: 100_000, every: 0.01)
    try frontend.up(second.name, on: home).orThrow()
    try neitherInTheOther(order, allowedIPs, "up")
    for tunnel in [first, second] { try home.run([frontend.tool(), "reload", tunnel.name]) }
    try neitherInTheOther(order, allowedIPs, "reloaded")
    try frontend.down(second.name, on: home).orThrow()
    try carries(first, allowedIPs[order[0]])
    try frontend.up(second.name, on: home).orThrow()
    try neitherInTheOther(order, allowedIPs, "one of them down and up again")
    ping.program.send(SIGINT)
    let pings = try ping.result(within: 10)
    // The last one may be under way when ping is told to end.
    try lab.require(
      pings.lost <= 1, "of \(pings.sent) pings through \(first.name) none was lost meanwhile", "\(pings.lost) lost")
    try frontend.down(first.name, on: home).orThrow()
    try carries(second, allowedIPs[order[1]])
    try frontend.down(second.name, on: home).orThrow()
    let rules = try home.ip("-4", "rule") + home.ip("-6", "rule")
    try lab.require(!rules.contains("proto 108"), "both down: no rule of theirs is left", rules)
    uplink.capture.stop()
    let leaks = try uplink.leaks()
    try lab.require(leaks.isEmpty, "nothing but the datagrams of both has left by the uplink", "\(leaks.prefix(5))")
  }

  private func write(_ tunnel: Tunnel, _ allowedIPs: String) throws {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(tunnel.keys.privateKey)
      Address = \(tunnel.inner.v4)2/24, \(tunnel.inner.v6)2/64
      KillSwitch = yes

      [Peer]
      PublicKey = \(tunnel.server.keys.publicKey)
      Endpoint = \(tunnel.endpoint)
      AllowedIPs = \(allowedIPs)

      """, to: home.privateDirectory("/etc/wireguard") + "/\(tunnel.name).conf", mode: 0o600)
  }

  private func families(_ tunnel: Tunnel, _ allowedIPs: String) -> [(near: String, far: String)] {
    (allowedIPs.contains(".") ? [(tunnel.inner.v4 + "2", tunnel.inner.v4 + "1")] : [])
      + (allowedIPs.contains(":") ? [(tunnel.inner.v6 + "2", tunnel.inner.v6 + "1")] : [])
  }

  /// It carries packets, both ways.
  private func carries(_ tunnel: Tunnel, _ allowedIPs: String) throws {
    for (near, far) in families(tunnel, allowedIPs) {
      try home.reach(far, within: 2)
      try net.reach(near, within: 2)
    }
  }

  /// What goes through one tunnel does not go through the other as well.
  private func neitherInTheOther(_ order: [Int], _ allowedIPs: [String], _ when: String) throws {
    for (number, other) in [(0, 1), (1, 0)] {
      let tunnel = tunnels[number], beside = tunnels[other]
      try carries(tunnel, allowedIPs[number])
      for (_, far) in families(tunnel, allowedIPs[number]) {
        let before = try beside.server.transfer(with: beside.keys.publicKey).received
        let own = try tunnel.server.transfer(with: tunnel.keys.publicKey).received
        let pings = try home.floodPing(far, count: 100, "-s", "1000")
        let through = try beside.server.transfer(with: beside.keys.publicKey).received - before
        let taken = try tunnel.server.transfer(with: tunnel.keys.publicKey).received - own
        // Beside them go the pings that are counted all the time.
        try lab.require(
          pings.lost == 0 && taken > 100_000 && through < 50_000,
          "\(when): 100 pings to \(far) go through \(tunnel.name), and not through \(beside.name)",
          "\(pings.lost) lost; \(taken) bytes, and \(through) through \(beside.name)")
      }
    }
    for address in Self.far { try home.reach(address, within: 2) }
  }
}
