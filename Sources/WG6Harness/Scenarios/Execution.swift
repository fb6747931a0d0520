import Foundation

extension Scenario {
  /// Programs that can use nothing but the tunnel, and programs that bypass it.
  static let execution = Scenario(
    "exec", "wg6 exec: a program inside the tunnel and nowhere else, one outside it, for IPv4, IPv6 and DNS",
    needs: [.commandLine, .program("nft", package: "nftables"), .program("bash", package: "bash")]
  ) { lab in
    let scene = try Execution(lab)
    lab.say("the tunnel has the routes to one network of each family")
    try scene.insideAlone()
    try scene.outsideAlone()
    lab.say("the tunnel has the default routes")
    try scene.takeDefaultRoutes()
    try scene.insideAlone()
    try scene.outsideAlone()
    lab.say("strict reverse path filters, several programs at once")
    try scene.client.sysctl(["net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.wan.rp_filter": "1"])
    try scene.atOnce()
    try scene.passesKillSwitch()
    try scene.identity()
    try scene.tunnelGoes()
  }
}

/// A client and a server, and beyond the server two networks that a tunnel and the uplink both lead to. What crosses the
/// uplink in the clear and what crosses the tunnel is captured.
private final class Execution {
  let lab: Lab
  let tunnel: Tunnel
  let client: Host
  private let wg6: String

  /// A host in either network, which answers pings and refuses connections; and a DNS server's address there.
  static let beyond = ["192.0.2.7", "2001:db8:99::7"]
  static let resolvers = ["192.0.2.53", "2001:db8:99::53"]
  static let networks = "net 192.0.2.0/24 or net 2001:db8:99::/64"

  init(_ lab: Lab) throws {
    self.lab = lab
    wg6 = try Binaries.path(of: "wg6")
    tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    client = tunnel.client
    for address in Self.beyond + Self.resolvers {
      let isIPv6 = address.contains(":")
      try tunnel.server.ip("addr", "add", address + (isIPv6 ? "/128" : "/32"), "dev", "lo")
    }
    try client.route(via: Tunnel.serverOuter.v4)
    try client.route(via: Tunnel.serverOuter.v6)
    try tunnel.clientNode.set("fwmark", "51820", "peer", tunnel.serverKey, "allowed-ips", "0.0.0.0/0,::/0")
    try client.ip("route", "add", "192.0.2.0/24", "dev", "wg0")
    try client.ip("-6", "route", "add", "2001:db8:99::/64", "dev", "wg0")
  }

  /// What wg-quick does for default routes, in the place of routes to two networks.
  func takeDefaultRoutes() throws {
    try client.ip("route", "del", "192.0.2.0/24", "dev", "wg0")
    try client.ip("-6", "route", "del", "2001:db8:99::/64", "dev", "wg0")
    for family in ["-4", "-6"] {
      try client.ip(family, "route", "add", "default", "dev", "wg0", "table", "51820")
      try client.ip(family, "rule", "add", "not", "fwmark", "51820", "table", "51820")
      try client.ip(family, "rule", "add", "table", "main", "suppress_prefixlength", "0")
    }
    try client.sysctl(["net.ipv4.conf.all.src_valid_mark": "1"])
  }

  func insideAlone() throws {
    let (uplink, inner) = try captures()
    try ask(["exec"] + dnsOptions)
    // Bound to the uplink, handed a mark that leads there, or asking this machine's own resolver: nothing comes of it.
    for address in Self.beyond {
      _ = try client.attempt([wg6, "exec", "wg0", "--", "ping", "-q", "-c1", "-W0.3", "-I", "wan", address])
      _ = try client.attempt([wg6, "exec", "wg0", "--", "ping", "-q", "-c1", "-W0.3", "-m", "51820", address])
    }
    let (clear, tunnelled) = try stop(uplink, inner)
    try lab.require(clear.isEmpty, "of a program inside, nothing is seen on the uplink", clear.joined(separator: "\n"))
    for (number, address) in Self.beyond.enumerated() {
      let source = number == 0 ? Tunnel.clientInner.v4 : Tunnel.clientInner.v6
      try lab.require(
        tunnelled.contains { $0.contains("\(source) > \(address): ICMP") },
        "its pings to \(address) are in the tunnel, from \(source)", tunnelled.joined(separator: "\n"))
      try lab.require(
        tunnelled.contains { $0.contains("\(source).") && $0.contains("> \(address).81: Flags [S]") },
        "and its connection")
      try lab.require(
        tunnelled.contains { $0.contains("\(source).") && $0.contains("> \(Self.resolvers[number]).53: ") },
        "and its questions to the tunnel's DNS server \(Self.resolvers[number])")
    }
    try stub()
  }

  /// A resolver on this machine would send the questions on by ways of its own.
  private func stub() throws {
    let capture = try client.capture(on: "lo", "port 53")
    for address in ["127.0.0.53", "::1"] {
      let outcome = try client.attempt(
        [wg6, "exec", "wg0", "--", "bash", "-c", "echo question > /dev/udp/\(address)/53"], within: 10)
      try lab.require(!outcome.succeeded, "a resolver at \(address) can't be asked from inside", outcome.complaints)
    }
    capture.stop()
    try lab.require(capture.digest().trimmed.isEmpty, "no question reaches the loopback interface", capture.digest())
    let local = try client.attempt([wg6, "exec", "wg0", "--", "ping", "-q", "-c1", "-W1", "127.0.0.1"])
    try lab.require(local.succeeded, "but programs on this machine talk with each other", local.complaints)
  }

  func outsideAlone() throws {
    let (uplink, inner) = try captures()
    try ask(["exec", "--outside"] + dnsOptions)
    let (clear, tunnelled) = try stop(uplink, inner)
    try lab.require(
      tunnelled.isEmpty, "of a program outside, nothing is seen in the tunnel", tunnelled.joined(separator: "\n"))
    for (number, address) in Self.beyond.enumerated() {
      let source = number == 0 ? Tunnel.clientOuter.v4 : Tunnel.clientOuter.v6
      try lab.require(
        clear.contains { $0.contains("\(source) > \(address): ICMP") }, "its pings to \(address) are on the uplink",
        clear.joined(separator: "\n"))
      try lab.require(
        clear.contains { $0.contains("\(source).") && $0.contains("> \(address).81: Flags [S]") }, "and its connection")
      try lab.require(
        clear.contains { $0.contains("\(source).") && $0.contains("> \(Self.resolvers[number]).53: ") },
        "and its questions to \(Self.resolvers[number])")
    }
  }

  func atOnce() throws {
    let programs = try (0..<6).map { number in
      let way = number % 2 == 0 ? ["exec"] : ["exec", "--outside"]
      return try client.start(
        [wg6] + way + ["wg0", "--", "ping", "-q", "-n", "-c", "3", "-i", "0.2", "-W", "2", Self.beyond[number / 2 % 2]])
    }
    for program in programs { try program.wait(within: 20).orThrow() }
    try lab.require(true, "six programs at once, three of each kind, all have their answers")
  }

  /// What a kill switch lets by is told by its mark alone, also where the packet leaves.
  func passesKillSwitch() throws {
    let words = try client.ip("rule", "show").split(whereSeparator: \.isWhitespace).map(String.init)
    // Marks of programs outside are odd, and beyond the numbers that people choose.
    let mark = words.first {
      $0.hasPrefix("0x") && (UInt32($0.dropFirst(2), radix: 16) ?? 0) & 0x8000_0001 == 0x8000_0001
    }
    guard let mark else { throw Disproved(claim: "there is a rule for programs outside", detail: "\(words)") }
    let chains = ["output", "postrouting"].map { hook in
      """
      chain \(hook) {
        type filter hook \(hook) priority 300;
        oifname "wan" ip daddr 192.0.2.0/24 meta mark != \(mark) drop
        oifname "wan" ip6 daddr 2001:db8:99::/64 meta mark != \(mark) drop
      }
      """
    }
    try client.nft("table inet switch {\n\(chains.joined(separator: "\n"))\n}\n")
    for address in Self.beyond {
      let bound = try client.attempt(["ping", "-q", "-n", "-c1", "-W0.3", "-I", "wan", address])
      try lab.require(!bound.succeeded, "a kill switch stops what is bound to the uplink", bound.output)
    }
    try ask(["exec", "--outside"] + dnsOptions)
    try client.run("nft", "delete", "table", "inet", "switch")
  }

  /// What the program is to whoever started it.
  func identity() throws {
    for status in [0, 7] {
      let outcome = try client.attempt([wg6, "exec", "wg0", "--", "sh", "-c", "exit \(status)"])
      try lab.require(outcome.status == Int32(status), "its exit status is the program's: \(status)")
    }
    let killed = try client.attempt([wg6, "exec", "wg0", "--", "sh", "-c", "kill -TERM $$"])
    try lab.require(killed.status == 128 + SIGTERM, "a signal that ends it ends the program", "\(killed.status)")
    let absent = try client.attempt([wg6, "exec", "wg0", "--", "/no/such/program"])
    try lab.require(absent.status == 127, "a program that does not exist is told, with status 127", "\(absent)")
    let who = try client.run([wg6, "exec", "--user", "nobody", "wg0", "--", "id", "-un"]).output.trimmed
    try lab.require(who == "nobody", "--user makes the program somebody else's", who)
    let limits = "ulimit -c; cat /proc/self/status | grep -E '^(SigBlk|SigIgn|CapEff)'"
    let inside = try client.shell("\(wg6) exec wg0 -- sh -c \"\(limits)\"").output
    try lab.require(inside == (try client.shell(limits).output), "limits, signals and rights are as without", inside)
  }

  /// Fails closed when the tunnel goes, and when it is taken down; leaves nothing when the programs have ended.
  func tunnelGoes() throws {
    let programs = try Self.beyond.map { address in
      let line = "while :; do ping -q -n -c1 -W0.3 \(address) > /dev/null && echo answered || echo refused; done"
      return try client.start([wg6, "exec", "wg0", "--", "sh", "-c", line])
    }
    func wait(for word: String, times: Int) throws {
      let before = programs.map { $0.output.components(separatedBy: word).count }
      try waitUntil("both are \(word) \(times) times") {
        zip(programs, before).allSatisfy { $0.output.components(separatedBy: word).count >= $1 + times }
      }
    }
    try wait(for: "answered", times: 3)
    let uplink = try client.capture(on: "wan", Self.networks)
    for family in ["-4", "-6"] {
      try client.ip(family, "rule", "del", "not", "fwmark", "51820", "table", "51820")
      try client.ip(family, "rule", "del", "table", "main", "suppress_prefixlength", "0")
    }
    let down = try client.run([wg6, "down", "wg0"])
    try lab.require(
      down.complaints.contains("cut off"), "down tells of programs inside that still run", down.complaints)
    try wait(for: "refused", times: 20)
    try lab.require(programs.allSatisfy(\.isRunning), "the programs go on, without a way")
    uplink.stop()
    try lab.require(
      uplink.digest().trimmed.isEmpty, "the tunnel is taken down under them: nothing is seen on the uplink",
      uplink.digest())

    let again = try Node(on: client, lab.implementation, interface: "wg0")
    try tunnel.serverNode.set(
      "peer", again.keys.publicKey, "allowed-ips", "\(Tunnel.clientInner.v4)/32,\(Tunnel.clientInner.v6)/128")
    try again.configure(
      mark: 51820,
      peers: [
        PeerSettings(tunnel.serverKey, endpoint: "\(Tunnel.serverOuter.v4):51820", allowedIPs: ["0.0.0.0/0", "::/0"])
      ])
    try again.up(["\(Tunnel.clientInner.v4)/24", "\(Tunnel.clientInner.v6)/64"])
    try client.run([wg6, "exec", "wg0", "--", "true"])
    try wait(for: "answered", times: 3)
    try lab.require(true, "a new tunnel of the same name gives them their way back")
    for program in programs { program.stop(SIGTERM) }
    let group = "\(wg6) down wg0; nft list tables"
    try waitUntil("their last pings have ended") { try !client.shell(group).output.contains("wg6exec") }
    for family in ["-4", "-6"] {
      let rules = try client.ip(family, "rule", "show").split(separator: "\n")
      try lab.require(rules.count == (family == "-4" ? 3 : 2), "no rule is left (\(family))", "\(rules)")
      let routes = try client.ip(family, "route", "show", "table", "all")
      try lab.require(!routes.contains("unreachable"), "no route is left (\(family))", routes)
    }
    try lab.require(true, "no firewall table is left")
  }

  private var dnsOptions: [String] { Self.resolvers.flatMap { ["--dns", $0] } }

  /// Has programs ask for answers in every way: pings, connections, names.
  private func ask(_ words: [String]) throws {
    for address in Self.beyond {
      let ping = try client.attempt([wg6] + words + ["wg0", "--", "ping", "-q", "-n", "-c", "3", "-i", "0.1", address])
      try lab.require(
        ping.succeeded, "\(words.contains("--outside") ? "outside" : "inside"): \(address) answers", ping.complaints)
      let connection = try client.attempt(
        [wg6] + words + ["wg0", "--", "bash", "-c", "echo > /dev/tcp/\(address)/81"])
      try lab.require(connection.complaints.contains("refused"), "and refuses a connection", connection.complaints)
    }
    _ = try client.attempt([wg6] + words + ["wg0", "--", "getent", "ahosts", "name.example"], within: 60)
  }

  private func captures() throws -> (uplink: Capture, inner: Capture) {
    (try client.capture(on: "wan", Self.networks), try client.capture(on: "wg0", Self.networks))
  }

  /// What each has seen, as lines.
  private func stop(_ uplink: Capture, _ inner: Capture) throws -> (clear: [String], tunnelled: [String]) {
    let lines = [uplink, inner].map { capture in
      capture.stop()
      return capture.digest().split(separator: "\n").map(String.init)
    }
    return (lines[0], lines[1])
  }
}
