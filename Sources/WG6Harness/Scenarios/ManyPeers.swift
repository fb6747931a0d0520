import Foundation

extension Scenario {
  /// Routing daemons, unpatched, over tunnels that carry multicast and turn routes into allowed IPs.
  static let manyPeers = Scenario(
    "many-peers",
    "three routers in a triangle, one interface each for all peers: BIRD's Babel and RIPng, a link is cut; DeadAfter",
    needs: [.commandLine, .program("nft", package: "nftables"), .program("bird", package: "bird2")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 has Multicast, RouteSync and DeadAfter") }
    let triangle = try Triangle(in: lab)
    try triangle.oneInterface()
    try triangle.withdrawnRoutes()
    try triangle.oneInterfaceEach()
  }
}

/// Three routers on one link, each with a network of its own that only the tunnels lead to.
private struct Triangle {
  let lab: Lab
  let hosts: [Host]
  let keys: [KeyPair]
  let frontend: Frontend

  /// Seconds between pings.
  private static let interval = 0.05
  /// With hellos of a second.
  private static let longestOutage = 11.0
  /// With DeadAfter = 3. Other work on the machine takes longer than that at times, so the long form alone holds it to this.
  private static let longestReportedOutage = Scenario.isLong ? 4.0 : longestOutage

  init(in lab: Lab) throws {
    self.lab = lab
    frontend = Frontend(implementation: lab.implementation)
    hosts = try ["ada", "ben", "cleo"].map { try lab.host($0) }
    keys = try hosts.map { _ in try KeyPair.fresh(lab) }
    try lab.plug(hosts.indices.map { hosts[$0].port("wan", "\(Self.outer($0))/24") }, into: "switch")
    for place in hosts.indices {
      try hosts[place].forward()
      try hosts[place].ip("addr", "add", Self.inner(place) + "/128", "dev", "lo", "nodad")
    }
    for place in hosts.indices { try hosts[place].reach(Self.outer((place + 1) % 3)) }
  }

  private static func outer(_ place: Int) -> String { "10.9.0.\(place + 1)" }
  private static func inner(_ place: Int) -> String { "2001:db8:\(place + 1)::1" }
  private static func network(_ place: Int) -> String { "2001:db8:\(place + 1)::/48" }
  private static func gateway(_ place: Int) -> String { "fe80::\(place + 1)" }

  // MARK: One interface for all peers

  func oneInterface() throws {
    lab.say("one interface for all peers, and Babel")
    try upMeshes("")
    var routers = try start { _ in babel([("mesh", 1, 96)]) }
    try awaitRoutes(through: "mesh")
    let shown = try show(hosts[0], "mesh")
    try lab.require(
      (1...2).allSatisfy { shown.contains("\(Self.network($0)) (route)") }
        && (1...2).allSatisfy { shown.contains("\(Self.gateway($0))/128 (file)") },
      "wg6 show tells which allowed IPs came from routes, and which from the file", shown)
    let stored = try hosts[0].run(frontend.tool(), "showconf", "mesh").output
    try lab.require(!stored.contains("2001:db8:"), "showconf has those of the file alone", stored)
    let outage = try outage(seconds: 14)
    try lab.require(
      outage < Self.longestOutage, "a link is cut: \(outage.rounded) s without traffic, 11 at most", "\(outage)")
    try lab.require(
      show(hosts[0], "mesh").section(of: keys[2]).contains(Self.network(1)),
      "the way round leads through the third router, whose allowed IP the network is by now")
    try endCut()
    stop(routers)
    try waitUntil("the routes have gone, and the allowed IPs with them", within: 10) {
      try hosts.allSatisfy { try !show($0, "mesh").contains("(route)") }
    }

    lab.say("the same interface, and RIPng")
    routers = try start { _ in ripng("mesh", "update time 1; timeout time 4;") }
    try awaitRoutes(through: "mesh")
    lab.say("  ✓ RIPng's routes are allowed IPs, and pings go through")
    stop(routers)

    try floodOfRoutes()
    try downAll(["mesh"])
  }

  /// More routes at once than the kernel can tell of: what was lost is made good.
  private func floodOfRoutes() throws {
    let count = 5000
    for (verb, wanted) in [("add", count), ("del", 0)] {
      let lines = (0..<count).map {
        "route \(verb) 2001:db9:\(String($0, radix: 16))::/48 via \(Self.gateway(1)) dev mesh"
      }
      try hosts[0].run(["ip", "-6", "-batch", "-"], input: lines.joined(separator: "\n") + "\n", within: 60)
      try waitUntil("\(wanted) of \(count) routes are allowed IPs", within: 20) {
        try show(hosts[0], "mesh").components(separatedBy: "(route)").count - 1 == wanted
      }
      lab.say("  ✓ \(count) routes at once, \(verb == "add" ? "added" : "deleted"): \(wanted) allowed IPs")
    }
  }

  // MARK: One interface for all peers, DeadAfter

  /// A routing daemon that notices nothing for minutes, and a route of higher metric that takes over.
  func withdrawnRoutes() throws {
    lab.say("one interface for all peers, DeadAfter = 3, and a second route for each network by the third router")
    try upMeshes("DeadAfter = 3")
    for place in 0...1 {
      let other = 1 - place
      for (via, metric) in [(other, "100"), (2, "200")] {
        try hosts[place].ip(
          "-6", "route", "add", Self.network(other), "via", Self.gateway(via), "dev", "mesh", "metric", metric)
      }
      try hosts[2].ip("-6", "route", "add", Self.network(place), "via", Self.gateway(place), "dev", "mesh")
    }
    try awaitPing([(0, 1)])
    let outage = try outage(seconds: 12)
    try lab.require(
      outage < Self.longestReportedOutage,
      "the routes through the silent peer are withdrawn: \(outage.rounded) s without traffic, \(Int(Self.longestReportedOutage)) at most",
      "\(outage)")
    let routes = try hosts[0].ip("-6", "route", "show", Self.network(1))
    try lab.require(!routes.contains("metric 100"), "the kernel has the other route alone", routes)
    try endCut()
    try waitUntil("the route is back when the peer is heard again", within: 10) {
      try hosts[0].ip("-6", "route", "show", Self.network(1)).contains("via \(Self.gateway(1)) dev mesh metric 100")
    }
    lab.say("  ✓ the peer is heard again, and the route is back")
    try awaitPing([(0, 1)])
    try downAll(["mesh"])
  }

  // MARK: An interface for each peer

  func oneInterfaceEach() throws {
    lab.say("an interface for each peer, DeadAfter = 3")
    for place in hosts.indices {
      for other in hosts.indices where other != place {
        try Files.write(
          """
          [Interface]
          PrivateKey = \(keys[place].privateKey)
          ListenPort = \(51820 + other)
          Address = \(Self.gateway(place))/64
          Table = off
          DeadAfter = 3

          [Peer]
          PublicKey = \(keys[other].publicKey)
          Endpoint = \(Self.outer(other)):\(51820 + place)
          AllowedIPs = ::/0
          PersistentKeepalive = 1

          """, to: hosts[place].privateDirectory("/etc/wireguard") + "/to\(other).conf", mode: 0o600)
        try frontend.up("to\(other)", on: hosts[place]).orThrow()
      }
    }
    // The update that tells the other way comes within a second with RIPng, at once with Babel.
    let daemons: [(name: String, routing: (Int) -> String, longest: Double)] = [
      (
        "Babel with hellos of 4 s",
        { place in
          // The direct link costs a little more than one of the way round, which is then known to be free of loops
          // (RFC 8966 §3.5.1); otherwise Babel would have to ask first.
          babel(hosts.indices.filter { $0 != place }.map { ("to\($0)", 4, place + $0 == 1 ? 120 : 96) })
        }, Self.longestReportedOutage
      ),
      ("RIPng with timers of 180 s", { _ in ripng("to*", "update time 1;") }, Self.longestReportedOutage + 1),
    ]
    for daemon in daemons {
      let routers = try start(daemon.routing)
      try carrierGoesAndComes(daemon.name, longest: daemon.longest)
      stop(routers)
      try waitUntil("the routes have gone", within: 10) {
        try hosts.allSatisfy { try $0.ip("-6", "route", "show", "proto", "bird").trimmed.isEmpty }
      }
    }
    try downAll(["to0", "to1", "to2"])
  }

  private func carrierGoesAndComes(_ name: String, longest: Double) throws {
    try waitUntil("all routers have the others' routes", within: 40) {
      try hosts.indices.allSatisfy { place in
        try hosts.indices.allSatisfy { other in
          try place == other || hosts[place].ip("-6", "route", "show", Self.network(other)).contains("dev to\(other) ")
        }
      }
    }
    try awaitPing()
    if name.hasPrefix("Babel") {
      try waitUntil("both ends of the link know the way round, too", within: 30) {
        try [(0, 1), (1, 0)].allSatisfy { place, other in
          try routes(of: hosts[place]).count { $0.contains(Self.network(other)) } == 2
        }
      }
    }
    let outage = try outage(seconds: 12)
    try lab.require(
      outage < longest, "carrier off, \(name): \(outage.rounded) s without traffic, \(Int(longest)) at most",
      "\(outage)")
    let link = try hosts[0].ip("-o", "link", "show", "dev", "to1")
    try lab.require(link.contains("NO-CARRIER"), "the interface of the silent peer has no carrier", link)
    try endCut()
    try waitUntil("the carrier is back when the peer is heard again", within: 10) {
      try !hosts[0].ip("-o", "link", "show", "dev", "to1").contains("NO-CARRIER")
    }
    lab.say("  ✓ the peer is heard again, and the carrier is back")
  }

  // MARK: Tunnels

  private func upMeshes(_ setting: String) throws {
    for place in hosts.indices {
      let peers = hosts.indices.filter { $0 != place }.map { other in
        """
        [Peer]
        PublicKey = \(keys[other].publicKey)
        Endpoint = \(Self.outer(other)):51820
        AllowedIPs = \(Self.gateway(other))/128
        PersistentKeepalive = 1

        """
      }
      try Files.write(
        """
        [Interface]
        PrivateKey = \(keys[place].privateKey)
        ListenPort = 51820
        Address = \(Self.gateway(place))/64
        Table = off
        Multicast = on
        RouteSync = yes
        RouteSyncFilter = 2001:db8::/31
        \(setting)

        \(peers.joined())
        """, to: hosts[place].privateDirectory("/etc/wireguard") + "/mesh.conf", mode: 0o600)
      try frontend.up("mesh", on: hosts[place]).orThrow()
    }
  }

  private func downAll(_ interfaces: [String]) throws {
    for host in hosts {
      for interface in interfaces where host.has(interface: interface) {
        try frontend.down(interface, on: host).orThrow()
      }
    }
  }

  private func show(_ host: Host, _ interface: String) throws -> String {
    try host.run(frontend.tool(), "show", interface).output
  }

  // MARK: Routing daemons

  private func start(_ routing: (Int) -> String) throws -> [Program] {
    try hosts.indices.map { place in
      let files = "\(lab.directory)/hosts/\(hosts[place].name)/bird"
      try Files.write(
        """
        router id 10.9.0.\(place + 1);
        log stderr all;
        protocol device { scan time 2; }
        protocol kernel { ipv6 { import none; export where source != RTS_STATIC; }; scan time 5; }
        protocol static { ipv6; route \(Self.network(place)) unreachable; }
        \(routing(place))

        """, to: files + ".conf")
      return try hosts[place].start(["bird", "-f", "-c", files + ".conf", "-s", files + ".ctl", "-P", files + ".pid"])
    }
  }

  /// What Babel has learned, a line each.
  private func routes(of host: Host) throws -> [String] {
    try host.run("birdc", "-s", "\(lab.directory)/hosts/\(host.name)/bird.ctl", "show", "babel", "routes").lines
  }

  private func stop(_ routers: [Program]) {
    for router in routers { router.stop() }
  }

  /// - Parameter interfaces: each with seconds between hellos and a cost.
  private func babel(_ interfaces: [(name: String, hello: Int, cost: Int)]) -> String {
    let lines = interfaces.map {
      "interface \"\($0.name)\" { type wired; rxcost \($0.cost); hello interval \($0.hello) s; update interval 4 s; };"
    }
    return """
      protocol babel {
        ipv6 { import all; export where source ~ [RTS_STATIC, RTS_BABEL]; };
        \(lines.joined(separator: "\n  "))
      }
      """
  }

  private func ripng(_ interfaces: String, _ times: String) -> String {
    """
    protocol rip ng {
      ipv6 { import all; export where source ~ [RTS_STATIC, RTS_RIP]; };
      interface "\(interfaces)" { \(times) };
    }
    """
  }

  /// Waits until each router has a route to the others' networks by the shortest way, and pings go.
  private func awaitRoutes(through interface: String) throws {
    try waitUntil("all routers have the others' routes", within: 30) {
      try hosts.indices.allSatisfy { place in
        try hosts.indices.allSatisfy { other in
          try place == other
            || hosts[place].ip("-6", "route", "show", Self.network(other))
              .contains("via \(Self.gateway(other)) dev \(interface)")
        }
      }
    }
    try awaitPing()
  }

  private func awaitPing(_ pairs: [(Int, Int)] = [(0, 1), (1, 2), (2, 0)]) throws {
    for (from, to) in pairs {
      try waitUntil("\(hosts[from].name) reaches \(hosts[to].name)'s network", within: 15) {
        try hosts[from].attempt(
          ["ping", "-q", "-n", "-c", "1", "-W", "0.5", "-I", Self.inner(from), Self.inner(to)], within: 10
        ).succeeded
      }
    }
  }

  // MARK: The cut

  /// Cuts the link between the first two routers under pings, and returns the longest time between two answers, in seconds.
  /// The link stays cut.
  private func outage(seconds: Double) throws -> Double {
    let quiet = 2.0
    let count = Int((quiet + seconds) / Self.interval)
    let ping = try hosts[0].start(
      ["ping", "-D", "-n", "-i", "\(Self.interval)", "-c", "\(count)", "-W", "1", "-I", Self.inner(0), Self.inner(1)])
    Thread.sleep(forTimeInterval: quiet)
    // Both ways in the same moment: each end's time to notice counts.
    try hosts[0].run(
      ["nft", "-f", "-"],
      input: """
        table ip cut {
          chain in {
            type filter hook input priority -300
            ip saddr \(Self.outer(1)) drop
          }
          chain out {
            type filter hook output priority -300
            ip daddr \(Self.outer(1)) drop
          }
        }

        """)
    let answers = try ping.wait(within: quiet + seconds + 20).answerTimes
    guard let last = answers.last, let first = answers.first, last - first > seconds else {
      throw Disproved(claim: "traffic goes on after the cut", detail: "\(answers.count) answers of \(count)")
    }
    return zip(answers, answers.dropFirst()).map { $1 - $0 }.max() ?? 0
  }

  private func endCut() throws {
    try hosts[0].run("nft", "delete", "table", "ip", "cut")
  }
}

extension String {
  /// What a status says of one peer.
  fileprivate func section(of keys: KeyPair) -> String {
    components(separatedBy: "peer: ").first { $0.hasPrefix(keys.publicKey) } ?? ""
  }
}

extension Double {
  /// With one digit behind the point.
  fileprivate var rounded: String { String(format: "%.1f", self) }
}
