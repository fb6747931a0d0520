import Foundation

extension Scenario {
  /// A router whose file asks for everything to go through the tunnel, and what comes with that.
  static let defaultRoute = Scenario(
    "default-route",
    "wg6 up with ::/0 and 0.0.0.0/0 on a router: MTU from the way, the LAN stays at hand, forged packets, clamped MSS",
    needs: [.commandLine, .program("nft", package: "nftables")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6's own up") }
    let router = try DefaultRouter(in: lab)
    for clamps in [false, true] {
      lab.say("ClampMSS = \(clamps ? "yes" : "no")")
      try router.up(clampsMSS: clamps)
      try router.everythingGoesThrough()
      try router.segmentsFit(clamped: clamps)
      try router.frontend.down("home", on: router.home).orThrow()
    }
    try router.forgedPackets()
  }
}

/// A LAN, its router, and a server behind an uplink that takes 1,400 bytes.
private struct DefaultRouter {
  let lab: Lab
  let home: Host
  let laptop: Host
  let net: Host
  let server: Node
  let keys: KeyPair
  let frontend: Frontend

  /// What only the tunnel leads to, and where the router is in it.
  static let far = ["192.0.2.7", "2001:db8:99::7"]
  static let inner = ["10.66.0.2", "fd66::2"]
  /// What an uplink of 1,400 bytes leaves with an outer header of IPv4.
  static let mtu = 1400 - 60

  init(in lab: Lab) throws {
    self.lab = lab
    frontend = Frontend(implementation: lab.implementation)
    keys = try KeyPair.fresh(lab)
    home = try lab.host("home")
    net = try lab.host("net")
    laptop = try lab.host("laptop")
    try lab.cable(home.port("wan", "198.51.100.2/24"), net.port("wan", "198.51.100.1/24"), mtu: 1400)
    let lan = try RoutedLAN(behind: home, laptop, in: lab)
    try home.forward()
    // The strictest setting: an answer must come from where its question would go.
    try home.sysctl(["net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.wan.rp_filter": "1"])
    try home.route(via: "198.51.100.1")
    server = try lan.server(on: net, for: keys, leadingTo: (Self.far[0], Self.far[1]), in: lab)
    try home.reach("198.51.100.1")
    try lan.reachesItsGateways()
  }

  func up(clampsMSS: Bool, table: String = "auto", guards: Bool = true) throws {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      Address = \(Self.inner[0])/24, \(Self.inner[1])/64
      Table = \(table)
      ClampMSS = \(clampsMSS ? "yes" : "no")
      SpoofGuard = \(guards ? "yes" : "no")

      [Peer]
      PublicKey = \(server.keys.publicKey)
      Endpoint = 198.51.100.1:51820
      AllowedIPs = 0.0.0.0/0, ::/0

      """, to: home.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
    try frontend.up("home", on: home).orThrow()
  }

  func everythingGoesThrough() throws {
    let link = try home.ip("-o", "link", "show", "dev", "home")
    try lab.require(link.contains(" mtu \(Self.mtu) "), "the MTU is \(Self.mtu): an uplink of 1,400, less 60", link)
    let uplink = try LeakWatch(on: "wan", of: home, allowed: ["udp and port 51820"])
    for host in [home, laptop] {
      for address in Self.far { try host.reach(address) }
    }
    for address in RoutedLAN.laptop { try home.reach(address) }
    uplink.capture.stop()
    let others = try uplink.leaks()
    try lab.require(
      others.isEmpty,
      "the router and its LAN reach \(Self.far.joined(separator: " and ")), nothing of it bare on the uplink",
      "\(others)")
  }

  /// The segment size that connections of the LAN tell the far end, without which large packets would be lost where
  /// nobody passes on ICMP errors.
  func segmentsFit(clamped: Bool) throws {
    for (address, header, isIPv6) in [(Self.far[0], 40, false), (Self.far[1], 60, true)] {
      let size = (clamped ? Self.mtu : 1500) - header
      let capture = try net.capture(on: "wg0", isIPv6 ? "ip6[6] = 6" : "tcp")
      // Nobody listens; the question is enough.
      _ = try laptop.attempt(["bash", "-c", "exec 3<>/dev/tcp/\(address)/9"], within: 20)
      try waitUntil("a SYN with a segment size of \(size) arrives at \(address)", within: 5) {
        capture.digest().contains("[S], ") && capture.digest().contains("mss \(size),")
      }
      capture.stop()
      lab.say("  ✓ a connection of the LAN to \(address) asks for segments of \(size) bytes")
    }
  }

  /// A neighbour writes to the router's address in the tunnel, past the tunnel.
  func forgedPackets() throws {
    for (table, isAnswered) in [("auto", false), ("off", false), ("off", true)] {
      try up(clampsMSS: false, table: table, guards: !isAnswered)
      for address in Self.inner {
        // Its own routes would send it to the router anyway, which is all that a neighbour needs.
        if isAnswered { try laptop.reach(address) }
        let answer = try laptop.attempt(["ping", "-q", "-n", "-c", "3", "-i", "0.1", "-W", "1", address]).succeeded
        try lab.require(
          answer == isAnswered,
          isAnswered
            ? "with SpoofGuard = no \(address) is an address like others, and answers"
            : "Table = \(table): \(address) does not answer to a neighbour who writes past the tunnel")
      }
      try frontend.down("home", on: home).orThrow()
    }
  }
}
