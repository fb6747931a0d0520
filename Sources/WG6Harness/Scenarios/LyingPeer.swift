import Foundation

extension Scenario {
  /// A peer with a valid key that plays router.
  static let lyingPeer = Scenario(
    "lying-peer", "router advertisements and redirects through the tunnel change no route, address, MTU or hop limit",
    needs: [
      .commandLine, .program("wg-quick", package: "wireguard-tools"), .program("nft", package: "nftables"),
      .program("wireguard-go", package: "wireguard-go"),
    ]
  ) { lab in
    let stage = try LyingPeerStage(in: lab)
    try stage.play(by: Frontend(implementation: lab.implementation))
    guard lab.implementation == .wg6 else { return }
    lab.say("the daemon below wg-quick")
    try stage.playQuick()
    lab.say("moved to another network namespace, as containers are given an interface")
    try stage.playMoved()
  }
}

/// A host behind a router, with a default route through a peer whose administrator is the attacker.
private struct LyingPeerStage {
  let lab: Lab
  let host: Host
  let server: Host
  let keys: KeyPair
  let node: Node
  let liar: LyingRouter

  /// Excluded from the tunnel, and reached by the host's own router.
  static let excluded = "2001:db8:7::7"
  static let own = (v4: "10.66.0.2", v6: "fd66::2")
  /// A machine on the host's link that the peer would like to have the host's datagrams.
  static let thief = "198.51.100.66"

  init(in lab: Lab) throws {
    self.lab = lab
    host = try lab.host("host")
    server = try lab.host("server")
    let router = try lab.host("router")
    try lab.cable(
      host.port("wan", "198.51.100.2/24", "2001:db8:100::2/64"),
      router.port("lan", "198.51.100.1/24", "\(Self.thief)/24", "2001:db8:100::1/64"))
    try lab.cable(
      router.port("net", "203.0.113.2/24", "2001:db8:200::2/64"),
      server.port("wan", "203.0.113.1/24", "2001:db8:200::1/64"))
    try router.forward()
    try router.ip("addr", "add", Self.excluded + "/128", "dev", "lo", "nodad")
    try host.route(via: "198.51.100.1")
    try host.route(via: "2001:db8:100::1")
    try server.route(via: "203.0.113.2")
    keys = try KeyPair.fresh(lab)
    node = try Node(on: server, .wg6, interface: "wg0")
    try node.configure(
      listenPort: 51820, peers: [PeerSettings(keys.publicKey, allowedIPs: ["\(Self.own.v4)/32", "\(Self.own.v6)/128"])])
    try node.up(["10.66.0.1/24", "fd66::1/64"])
    liar = try LyingRouter(on: server, "wg0")
    try host.reach("203.0.113.1")
    try host.reach(Self.thief)
    try host.reach(Self.excluded)
    try waitUntil("no address is tentative any longer") { try !host.shell("ip -6 addr").output.contains("tentative") }
  }

  private func write(excluding: Bool) throws {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      ListenPort = 51820
      Address = \(Self.own.v4)/24, \(Self.own.v6)/64
      \(excluding ? "ExcludedIPs = 2001:db8:7::/48" : "")

      [Peer]
      PublicKey = \(node.keys.publicKey)
      Endpoint = 203.0.113.1:51820
      AllowedIPs = 0.0.0.0/0, ::/0

      """, to: host.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
  }

  func play(by frontend: Frontend) throws {
    try write(excluding: frontend.implementation == .wg6)
    try frontend.up("home", on: host).orThrow()
    try require(LinkState(of: host), unharmedBy: [Self.excluded])
    try requireOwnRouter()
    try frontend.down("home", on: host).orThrow()
  }

  /// In the name of the host's own router, the peer says that datagrams to it are better sent by another machine there.
  private func requireOwnRouter() throws {
    let seen = try host.capture(on: "home", "icmp[0] = 5")
    for _ in 0..<3 {
      try liar.redirect(
        "203.0.113.1", by: Self.thief, from: "198.51.100.1", outer: "198.51.100.2", to: Self.own.v4)
      Thread.sleep(forTimeInterval: 0.2)
    }
    try waitUntil("redirects have come through the tunnel", within: 5) { !seen.digest().trimmed.isEmpty }
    seen.stop()
    let way = try host.run("ip", "-4", "route", "get", "203.0.113.1", "mark", "51820").output
    try lab.require(
      way.contains("via 198.51.100.1 ") && !way.contains("redirected"),
      "IPv4 redirects from the peer, in the name of the own router, lead its datagrams nowhere else", way)
  }

  /// wg-quick starts the daemon and knows nothing of these settings.
  func playQuick() throws {
    try write(excluding: false)
    let environment = ["WG_QUICK_USERSPACE_IMPLEMENTATION": try Implementation.wg6.daemon()]
    try host.run(["wg-quick", "up", "home"], environment: environment)
    try require(LinkState(of: host), unharmedBy: ["2001:db8:100::1"])
    try host.run(["wg-quick", "down", "home"], environment: environment)
  }

  func playMoved() throws {
    try write(excluding: false)
    let frontend = Frontend(implementation: .wg6)
    try frontend.up("home", on: host).orThrow()
    let container = try lab.host("container")
    try host.ip("link", "set", "home", "netns", container.namespace)
    try waitUntil("the daemon has followed it", within: 5) {
      try container.run("sysctl", "-n", "net.ipv6.conf.home.accept_ra").line == "0"
    }
    try container.ip("link", "set", "home", "up")
    try container.ip("addr", "add", "\(Self.own.v4)/24", "dev", "home")
    try container.ip("addr", "add", "\(Self.own.v6)/64", "dev", "home", "nodad")
    try require(LinkState(of: container), unharmedBy: [])
    try frontend.down("home", on: host).orThrow()
    lab.remove(container)
  }

  /// Has the peer send all that it can, and fails if anything is otherwise afterwards.
  private func require(_ state: @autoclosure () throws -> LinkState, unharmedBy destinations: [String]) throws {
    let before = try state()
    try before.host.reach("fd66::1")
    let seen = try before.host.capture(on: "home", "icmp6 and (ip6[40] = 134 or ip6[40] = 137)")
    try liar.advertise(to: Self.own.v6)
    for destination in destinations { try liar.redirect(destination, to: Self.own.v6) }
    let count = 1 + destinations.count
    try waitUntil("\(count) messages have come through the tunnel", within: 5) {
      seen.digest().split(separator: "\n").count >= count
    }
    seen.stop()
    // What they change is changed in the same moment; an address may be tentative for a second.
    Thread.sleep(forTimeInterval: 0.3)
    let after = try state()
    let lines = after.lines.filter { !before.lines.contains($0) } + before.lines.filter { !after.lines.contains($0) }
    try lab.require(
      lines.isEmpty, "\(count) messages of a router, from the peer, change no route, address, MTU or hop limit",
      "\(lines.count) facts: " + lines.joined(separator: "; "))
    try lab.require(
      before.addresses.allSatisfy { !$0.contains("fe80:") }, "the interface has the addresses of the file alone",
      before.addresses.joined(separator: "; "))
  }
}

/// What of a host a router on the link `home` could change.
private struct LinkState {
  let host: Host
  let addresses: [String]
  let lines: [String]

  init(of host: Host) throws {
    self.host = host
    func lines(_ words: String...) throws -> [String] {
      try host.run(words).output.split(separator: "\n").map { line in
        line.split(separator: " ").prefix { $0 != "expires" && $0 != "valid_lft" }.joined(separator: " ")
      }
    }
    addresses = try lines("ip", "-6", "-o", "addr", "show", "dev", "home")
    let ways = try ["2001:db8:7::7", "2001:db8:100::1", "2001:db8:9::9", "2001:db8:55::5"].flatMap { destination in
      try host.attempt(["ip", "-6", "route", "get", destination]).output.split(separator: "\n").map(String.init)
    }
    let routes =
      try lines("ip", "-6", "route", "show", "table", "all") + lines("ip", "-4", "route", "show", "table", "all")
    let numbers = try ["mtu", "hop_limit"].map { name in
      try "\(name) \(host.run("sysctl", "-n", "net.ipv6.conf.home.\(name)").line)"
    }
    self.lines = addresses + routes + ways + numbers
  }
}
