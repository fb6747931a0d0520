import Foundation

extension Scenario {
  /// Other programs delete what keeps traffic in a tunnel.
  static let deletedRules = Scenario(
    "deleted-rules",
    "a ruleset that is flushed, rules and routes that a network manager deletes: nothing leaks, or for less than 100 ms",
    needs: [
      .commandLine, .faultPoints, .program("nft", package: "nftables"),
      .program("wireguard-go", package: "wireguard-go"),
    ]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 watches over its rules") }
    let machine = try Bereft(in: lab)
    for endpoint in ["198.51.100.1:51820", "[2001:db8:100::1]:51820"] {
      lab.say("endpoint \(endpoint)")
      try machine.flushes(endpoint, owned: true)
      try machine.flushes(endpoint, owned: false)
      try machine.deletesRules(endpoint)
    }
  }
}

/// A machine with a tunnel to wireguard-go that takes everything.
private struct Bereft {
  static let far = ["192.0.2.7", "2001:db8:99::7"]
  static let inner = ["10.66.0.2", "fd66::2"]
  /// What is restored must be back in this time, in seconds.
  static let limit = 0.1

  let lab: Lab
  let home: Host
  let net: Host
  let server: Node
  let keys: KeyPair

  init(in lab: Lab) throws {
    self.lab = lab
    keys = try KeyPair.fresh(lab)
    home = try lab.host("home")
    net = try lab.host("net")
    try lab.cable(
      home.port("wan", "198.51.100.2/24", "2001:db8:100::2/64"),
      net.port("wan", "198.51.100.1/24", "2001:db8:100::1/64"))
    for gateway in ["198.51.100.1", "2001:db8:100::1"] { try home.route(via: gateway) }
    server = try Node(on: net, .wireguardGo, interface: "wg0")
    try server.configure(
      listenPort: 51820, peers: [PeerSettings(keys.publicKey, allowedIPs: ["10.66.0.2/32", "fd66::2/128"])])
    try server.up(["10.66.0.1/24", "fd66::1/64"])
    try net.ip("addr", "add", Self.far[0] + "/32", "dev", "lo")
    try net.ip("addr", "add", Self.far[1] + "/128", "dev", "lo", "nodad")
    for gateway in ["198.51.100.1", "2001:db8:100::1"] { try home.reach(gateway) }
  }

  /// Brings the tunnel up in the foreground, so that what the watching process says can be read.
  private func up(_ endpoint: String, killSwitch: Bool, owned: Bool = true) throws -> Program {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      Address = \(Self.inner[0])/24, \(Self.inner[1])/64
      KillSwitch = \(killSwitch ? "yes" : "no")

      [Peer]
      PublicKey = \(server.keys.publicKey)
      Endpoint = \(endpoint)
      AllowedIPs = 0.0.0.0/0, ::/0

      """, to: home.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
    // A debug build can be told to play a kernel whose tables have no owner.
    let up = try home.start(
      [try Binaries.debugPath(of: "wg6"), "up", "-v", "--foreground", "home"],
      environment: owned ? [:] : ["WG6_PLAIN_TABLES": "1"])
    try waitUntil("the tunnel is up") { up.complaints.contains("serving until") }
    try works()
    return up
  }

  private func down(_ up: Program) throws {
    up.send(SIGTERM)
    try up.wait(within: 10).orThrow()
    let rules = try home.ip("-4", "rule") + home.ip("-6", "rule") + home.run("nft", "list", "tables").output
    try lab.require(!rules.contains("proto 108") && !rules.contains("wg6-"), "after down nothing is restored", rules)
  }

  private func works() throws {
    for address in Self.far { try home.reach(address, within: 3) }
    for address in Self.inner { try net.reach(address, within: 3) }
  }

  /// Programs that are bound to the uplink, as only the kill switch keeps in.
  private func talkPast() throws -> [Ping] {
    try Self.far.map { try home.startPing($0, count: 100_000, every: 0.005, "-I", "wan", "-W", "1") }
  }

  /// `nft flush ruleset`, as Debian's nftables.conf begins with it.
  func flushes(_ endpoint: String, owned: Bool) throws {
    let up = try up(endpoint, killSwitch: true, owned: owned)
    let uplink = try LeakWatch(on: "wan", of: home, allowed: ["udp and port 51820"])
    let talk = try talkPast()
    var flushes: [Double] = []
    for _ in 0..<3 {
      flushes.append(Clock.wallSeconds)
      try home.run("nft", "flush", "ruleset")
      try waitUntil("the kill switch is there", within: 2, every: 0.005) {
        try home.run("nft", "list", "tables").output.contains("wg6-home")
      }
      try works()
    }
    for ping in talk { ping.program.stop(SIGINT) }
    uplink.capture.stop()
    let leaks = try uplink.leaks()
    if owned {
      try lab.require(
        leaks.isEmpty, "three times flushed, an owned table stays: no packet has left", "\(leaks.prefix(3))")
    } else {
      let gap = Self.longestGap(leaks.map(\.time), after: flushes)
      try lab.require(
        gap < Self.limit,
        "where tables have no owner, packets left for \(Int(gap * 1000)) ms at most after a flush (\(leaks.count) of them)"
      )
      try lab.require(
        up.complaints.contains("the firewall table had been deleted or changed by another program; restored"),
        "and the log says so", up.complaints)
      try tells("restored \(flushes.count) times since 'up'", "the firewall table")
    }
    try down(up)
  }

  /// Whether `show` and `check` tell of it, in one line.
  private func tells(_ words: String, _ what: String) throws {
    let tool = try Binaries.debugPath(of: "wg6")
    func hasLine(_ text: String) -> Bool {
      text.split(separator: "\n").contains {
        $0.hasPrefix("home: warning: another program deleted") && $0.contains(words) && $0.hasSuffix(what)
      }
    }
    let show = try home.attempt([tool, "show", "home"]), check = try home.attempt([tool, "check", "home"])
    try lab.require(
      show.succeeded && hasLine(show.complaints) && hasLine(check.output), "and so do show and check: \(words)",
      show.complaints + check.output)
  }

  /// The longest time, in seconds, from the first to the last of the packets between two flushes.
  private static func longestGap(_ times: [Double], after flushes: [Double]) -> Double {
    zip(flushes, flushes.dropFirst() + [.infinity]).map { start, end in
      let own = times.filter { $0 >= start && $0 < end }
      return (own.max() ?? 0) - (own.min() ?? 0)
    }.max() ?? 0
  }

  /// As a network manager does that takes itself for the only one.
  func deletesRules(_ endpoint: String) throws {
    let up = try up(endpoint, killSwitch: false)
    let before = try policy()
    for family in ["-4", "-6"] {
      for (what, delete) in [
        ("rule", ["rule", "flush", "protocol", "108"]), ("route", ["route", "flush", "table", "51820"]),
      ] {
        let monitor = try home.start(["ip", "-ts", "-o", family, "monitor", what])
        // It says nothing before the first change.
        try waitUntil("ip monitor listens") { Files.text("/proc/\(monitor.pid)/comm").trimmed == "ip" }
        // A socket that has joined no group hears nothing.
        try waitUntil("ip monitor has joined its groups") {
          Files.text("/proc/\(monitor.pid)/net/netlink").split(separator: "\n").contains { line in
            let fields = line.split(separator: " ")
            return fields.count > 3 && fields[1] == "0" && fields[2] == "\(monitor.pid)" && fields[3] != "00000000"
          }
        }
        try home.run(["ip", family] + delete)
        try waitUntil("all is back", within: 2, every: 0.005) { try policy() == before }
        try waitUntil("ip monitor has seen it") { Self.gap(monitor.output) != nil }
        monitor.stop(SIGTERM)
        let gap = Self.gap(monitor.output) ?? .infinity
        try lab.require(
          gap < Self.limit, "the \(what)s of IPv\(family.dropFirst()) are back after \(Int(gap * 1000)) ms",
          monitor.output)
        try works()
      }
    }
    try lab.require(
      up.complaints.contains("home: the rule '"), "and the log says so", up.complaints)
    try tells("since 'up'", "")
    lab.say("  somebody who deletes a rule again and again")
    let start = Clock.seconds
    var rounds = 0
    while Clock.seconds - start < 4 {
      try home.ip("-4", "rule", "delete", "table", "51820")
      try waitUntil("it is back", within: 2, every: 0.005) { try policy() == before }
      rounds += 1
    }
    try lab.require(
      rounds < 20 && up.complaints.contains("once a second at the slowest"),
      "in four seconds it was restored \(rounds) times, and the log says that it is slower", up.complaints)
    try down(up)
  }

  private func policy() throws -> String {
    try ["-4", "-6"].map { family in
      try home.ip(family, "rule") + home.ip(family, "route", "show", "table", "51820")
    }.joined()
  }

  /// The time, in seconds, from the first deletion to the last addition, in lines like
  /// `[2026-11-28T21:10:40.123456] Deleted 32765: …`.
  private static func gap(_ text: String) -> Double? {
    let events = text.split(separator: "\n").compactMap { line -> (time: Double, isDeleted: Bool)? in
      guard line.hasPrefix("["), let end = line.firstIndex(of: "]") else { return nil }
      let clock = line[..<end].split(separator: "T").last?.split(separator: ":").compactMap { Double($0) } ?? []
      guard clock.count == 3 else { return nil }
      return (clock[0] * 3600 + clock[1] * 60 + clock[2], line.contains("Deleted"))
    }
    let deleted = events.filter(\.isDeleted), added = events.filter { !$0.isDeleted }
    guard let first = deleted.first, let last = added.last, added.count >= deleted.count else { return nil }
    return last.time - first.time
  }
}
