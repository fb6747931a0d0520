import Foundation

extension Scenario {
  /// Whether anything gets past a kill switch while everything happens to the tunnel that does.
  static let leaks = Scenario(
    "leaks", "programs, a LAN and strangers all talk while a tunnel with a kill switch comes, breaks, changes and goes",
    needs: [.commandLine, .program("nft", package: "nftables")]
  ) { lab in
    for setting in ["no", "yes", "lan"] {
      lab.say("KillSwitch = \(setting)")
      let hunt = try LeakHunt(in: lab, killSwitch: setting)
      try hunt.play()
      let counts = try hunt.leaks()
      lab.say("  packets that left and should not:")
      let total = counts.reduce(0) { $0 + $1.packets }
      for (phase, packets) in counts { lab.say("    \(phase): \(packets)") }
      if setting == "no" {
        try lab.require(total > 0, "without the kill switch \(total) packets leave, and are seen")
      } else {
        try lab.require(total == 0, "no packet has left, of \(hunt.attempts) tries", try hunt.examples())
      }
    }
  }
}

/// A host with two ways outside and a LAN behind it, and its tunnel, which takes everything.
private final class LeakHunt {
  private static let far = (v4: "192.0.2.7", v6: "2001:db8:99::7")
  private static let gateways = ["198.51.100.1", "2001:db8:100::1", "203.0.113.1", "2001:db8:200::1"]
  private static let uplinks = [("wan", "198.51.100", "2001:db8:100"), ("lte", "203.0.113", "2001:db8:200")]

  private let lab: Lab
  private let home: Host
  private let net: Host
  private let laptop: Host
  private let server: Node
  private let ownKeys: KeyPair
  private let killSwitch: String
  private let frontend: Frontend
  private var watches: [LeakWatch] = []
  private var chatters: [Chatter] = []
  private var pings: [Ping] = []
  private var listeners: [Int32] = []
  private var phases: [(name: String, start: Double)] = []

  init(in lab: Lab, killSwitch: String) throws {
    self.lab = lab
    self.killSwitch = killSwitch
    frontend = Frontend(implementation: lab.implementation)
    ownKeys = try KeyPair.fresh(lab)
    home = try lab.host("home-\(killSwitch)")
    net = try lab.host("net-\(killSwitch)")
    laptop = try lab.host("laptop-\(killSwitch)")
    for (port, v4, v6) in Self.uplinks {
      try lab.cable(home.port(port, "\(v4).2/24", "\(v6)::2/64"), net.port(port, "\(v4).1/24", "\(v6)::1/64"))
    }
    try lab.cable(
      home.port("lan", "192.168.7.1/24", "fd07::1/64"), laptop.port("lan", "192.168.7.2/24", "fd07::2/64"))
    for host in [home, net] { try host.forward() }
    try net.ip("addr", "add", Self.far.v4 + "/32", "dev", "lo")
    try net.ip("addr", "add", Self.far.v6 + "/128", "dev", "lo", "nodad")
    for gateway in ["192.168.7.1", "fd07::1"] { try laptop.route(via: gateway) }
    server = try Node(on: net, lab.implementation, interface: "wg0")
    try server.configure(
      listenPort: 51820,
      peers: [
        PeerSettings(ownKeys.publicKey, allowedIPs: ["10.66.0.2/32", "fd66::2/128", "192.168.7.0/24", "fd07::/64"])
      ])
    try server.up(["10.66.0.1/24", "fd66::1/64"])
    for prefix in ["192.168.7.0/24", "fd07::/64"] { try net.ip("route", "add", prefix, "dev", "wg0") }
    try routeOutside()
    for gateway in Self.gateways { try home.reach(gateway) }
    for gateway in ["192.168.7.1", "fd07::1"] { try laptop.reach(gateway) }
  }

  deinit { for listener in listeners { close(listener) } }

  /// How often somebody tried to say something.
  var attempts: Int { chatters.reduce(0) { $0 + $1.attempts } }

  /// Everything that befalls a tunnel.
  func play() throws {
    try talk()
    try write(endpoint: "198.51.100.1:51820")
    try switchesOn()
    try works("a tunnel that is up")
    try chat()

    begin("reload, with another endpoint")
    try write(endpoint: "[2001:db8:200::1]:51820")
    try home.run([frontend.tool(), "reload", "home"])
    try works("after a reload with an endpoint of the other family, on the other uplink")
    try chat()

    begin("another endpoint while it runs")
    try home.run("wg", "set", "home", "peer", server.keys.publicKey, "endpoint", "203.0.113.1:51820")
    try works("after the peer moved")
    try chat()

    begin("link down")
    for (port, _, _) in Self.uplinks { try home.ip("link", "set", port, "down") }
    try chat()
    begin("link up")
    for (port, _, v6) in Self.uplinks {
      try home.ip("link", "set", port, "up")
      try home.ip("-6", "addr", "replace", "\(v6)::2/64", "dev", port, "nodad")
    }
    try routeOutside()
    try works("after both uplinks were down")
    try chat()

    for (signal, name) in [(SIGKILL, "kill -9 of the daemon"), (SIGTERM, "the daemon ended by SIGTERM")] {
      begin(name)
      for pid in home.daemons(of: lab.implementation) { kill(pid, signal) }
      try waitUntil("the interface goes with the daemon") { !home.has(interface: "home") }
      try chat()
      for target in ["192.168.7.2", "fd07::2"] {
        let answers = try home.attempt(["ping", "-q", "-n", "-c", "1", "-W", "1", target]).succeeded
        try lab.require(
          answers == (killSwitch != "yes"),
          "without a daemon \(target) on the LAN is reached: \(answers ? "yes" : "no")")
      }
      if signal == SIGTERM { try upIsKilled() }
      begin("up again")
      try frontend.up("home", on: home).orThrow()
      try works("up again after \(name)")
      try chat()
    }
    try switchesOff()
    for chatter in chatters { chatter.stop() }
    for ping in pings { ping.program.stop() }
    for watch in watches { watch.capture.stop() }
    try lab.require(watches.allSatisfy { $0.capture.missedCount == 0 }, "the captures have missed nothing")
  }

  /// An `up` that is killed as soon as there is an interface.
  private func upIsKilled() throws {
    begin("up killed half-way")
    let up = try home.start([frontend.tool(), "up", "home"])
    try waitUntil("there is an interface", every: 0.001) { isInterfaceThere(up.pid) }
    let wasInTime = up.stop(SIGKILL) == 128 + SIGKILL
    lab.say("  up was killed " + (wasInTime ? "half-way" : "too late: it had finished"))
    try chat()
  }

  /// Whether a program sees the interface; asked without a program, to be in time.
  private func isInterfaceThere(_ pid: pid_t) -> Bool {
    Files.text("/proc/\(pid)/net/dev").contains("home:")
  }

  /// What left in each phase, all links together.
  func leaks() throws -> [(phase: String, packets: Int)] {
    let packets = try watches.map { try $0.leaks() }
    return phases.indices.dropLast().map { index in
      let (start, end) = (phases[index].start, phases[index + 1].start)
      return (phases[index].name, packets.joined().count { $0.time >= start && $0.time < end })
    }
  }

  /// Some of what left, for the reader of a failure.
  func examples() throws -> String {
    guard let start = phases.first?.start, let end = phases.last?.start else { return "" }
    return try watches.flatMap { watch in
      try watch.leaks().filter { $0.time >= start && $0.time < end }.prefix(10).map { packet in
        let phase = phases.last { $0.start <= packet.time }?.name ?? ""
        return
          "\(watch.capture.interface), \(phase): \(packet.source) → \(packet.destination), transport \(packet.transport)"
      }
    }.joined(separator: "\n")
  }
}

extension LeakHunt {
  /// Everybody begins to talk, and the captures see that they do.
  private func talk() throws {
    for family in [AF_INET, AF_INET6] { listeners.append(try listen(family)) }
    let near = ["198.51.100.1", "2001:db8:200::1", "192.168.7.2", "fd07::2"]
    var ways: [Chatter.Way] = []
    for target in [Self.far.v4, Self.far.v6] + near { ways += [.datagrams(target, port: 9), .raw(target)] }
    for target in [Self.far.v4, Self.far.v6] {
      ways += [
        .oldConnection(target, port: 81), .connections(target, port: 80), .connectedDatagrams(target, port: 9),
        .datagrams(target, port: 53), .datagrams(target, port: 53, through: "wan"),
        .datagrams(target, port: 53, through: "lte"),
      ]
    }
    ways += [
      .connectedDatagrams(Self.far.v4, port: 9, from: "203.0.113.2"),
      .connectedDatagrams(Self.far.v6, port: 9, from: "2001:db8:200::2"),
    ]
    for group in ["224.0.0.251", "239.255.255.250", "255.255.255.255", "198.51.100.255", "ff02::fb", "ff05::c"] {
      ways += ["wan", "lte", "lan"].map { .datagrams(group, port: 5353, through: $0) }
    }
    chatters.append(try Chatter(on: home, ways))
    chatters.append(
      try Chatter(
        on: laptop,
        [(Self.far.v4, "192.168.7.2"), (Self.far.v6, "fd07::2")].flatMap { (target, own) -> [Chatter.Way] in
          [
            .datagrams(target, port: 9), .connections(target, port: 80), .raw(target),
            // What a DHCP client may send from home, and nobody through it.
            .connectedDatagrams(target, port: 67, from: own, sourcePort: 68),
            .connectedDatagrams(target, port: 547, from: own, sourcePort: 546),
          ]
        }))
    // Strangers, whom the kernel itself answers: with resets, echo replies and ICMP errors.
    let own = ["198.51.100.2", "2001:db8:100::2", "203.0.113.2", "2001:db8:200::2"]
    chatters.append(
      try Chatter(
        on: net,
        own.flatMap { (target) -> [Chatter.Way] in
          [.datagrams(target, port: 7), .connections(target, port: 7), .raw(target)]
        } + [
          .connectedDatagrams("198.51.100.2", port: 7, from: Self.far.v4),
          .connectedDatagrams("2001:db8:100::2", port: 7, from: Self.far.v6),
        ]))
    for host in [home, laptop] {
      for target in [Self.far.v4, Self.far.v6] { pings.append(try host.startPing(target, count: 100_000, every: 0.05)) }
    }
    for target in own { pings.append(try net.startPing(target, count: 100_000, every: 0.05)) }

    let tunnelled = "udp and src port 51820 and dst port 51820 and (\(hosts("dst", Self.gateways)))"
    // What the tunnel brought for the LAN; also home's own, which the server sent back, and whose hop limit shows it: while
    // rules are being made, the tunnel takes what is for the LAN.
    let forwarded =
      hosts("src", [Self.far.v4, Self.far.v6]) + " or (src host 10.66.0.2 and ip[8] < 64)"
      + " or (src host fd66::2 and ip6[7] < 64)"
    let local = killSwitch == "yes" ? [] : Self.localNetworks
    for (port, _, _) in Self.uplinks { watches.append(try LeakWatch(on: port, of: home, allowed: [tunnelled] + local)) }
    watches.append(try LeakWatch(on: "lan", of: home, allowed: [forwarded] + local))
    for watch in watches {
      try waitUntil("the capture on \(watch.capture.interface) sees what leaves") { try watch.leaks().count > 50 }
    }
  }

  private static let localNetworks = [
    "198.51.100.0/24", "203.0.113.0/24", "192.168.7.0/24", "224.0.0.0/24", "255.255.255.255/32", "2001:db8:100::/64",
    "2001:db8:200::/64", "fd07::/64", "fe80::/10", "ff02::/16",
  ].map { "\($0.contains(":") ? "ip6" : "ip") and dst net \($0)" }

  private func hosts(_ side: String, _ addresses: [String]) -> String {
    addresses.map { "\(side) host \($0)" }.joined(separator: " or ")
  }

  /// A listener that never looks at who comes: its kernel completes connections.
  private func listen(_ family: Int32) throws -> Int32 {
    let socket = try net.socket(family: family, type: SOCK_STREAM)
    let address = try SocketAddress(family == AF_INET ? Self.far.v4 : Self.far.v6, 81)
    guard address.withPointer({ bind(socket, $0, $1) }) == 0, Glibc.listen(socket, 16) == 0 else {
      throw SystemFailure("listen on \(net.name)")
    }
    return socket
  }

  private func write(endpoint: String) throws {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(ownKeys.privateKey)
      ListenPort = 51820
      Address = 10.66.0.2/24, fd66::2/64
      KillSwitch = \(killSwitch)

      [Peer]
      PublicKey = \(server.keys.publicKey)
      Endpoint = \(endpoint)
      AllowedIPs = 0.0.0.0/0, ::/0
      PersistentKeepalive = 1

      """, to: home.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
  }

  private func routeOutside() throws {
    for gateway in Self.gateways.prefix(2) { try home.route(via: gateway) }
  }

  private func begin(_ phase: String) {
    phases.append((phase, Clock.wallSeconds))
  }

  /// Lets everybody talk for some fifty rounds.
  private func chat() throws {
    let wanted = chatters.map { $0.attempts + 50 * $0.wayCount }
    try waitUntil("everybody has talked", within: 30) { zip(chatters, wanted).allSatisfy { $0.attempts >= $1 } }
  }

  private func works(_ when: String) throws {
    for target in [Self.far.v4, Self.far.v6] {
      for host in [home, laptop] { try host.reach(target) }
    }
    let sent = try server.transfer(with: ownKeys.publicKey).received
    try lab.require(sent > 0, "the tunnel carries home's and the laptop's traffic: \(when)")
  }

  /// Brings the tunnel up. From when its table stands, nothing may leave; that is before there is an interface.
  private func switchesOn() throws {
    let table = try home.start([
      "sh", "-c", "echo; until nft list table inet wg6-home; do :; done >/dev/null 2>&1; date +%s.%N",
    ])
    let interface = try home.start([
      "sh", "-c", "echo; until ip link show dev home; do :; done >/dev/null 2>&1; nft list table inet wg6-home",
    ])
    try waitUntil("somebody looks") { !table.output.isEmpty && !interface.output.isEmpty }
    try frontend.up("home", on: home).orThrow()
    let line = try table.wait(within: 20).orThrow().line
    phases.append(("up", Double(line) ?? .infinity))
    if killSwitch != "no" {
      let listing = try interface.wait(within: 20)
      try lab.require(
        listing.output.contains("chain postrouting"), "the kill switch is on by the time that there is an interface",
        listing.output + listing.complaints)
    }
  }

  /// Takes it down. What leaves from when the table was seen last is free to.
  private func switchesOff() throws {
    begin("down")
    let table = try home.start([
      "sh", "-c",
      "echo; while t=$(date +%s.%N); nft list table inet wg6-home >/dev/null 2>&1; do last=$t; done; echo $last",
    ])
    try waitUntil("somebody looks") { !table.output.isEmpty }
    try frontend.down("home", on: home).orThrow()
    let line = try table.wait(within: 20).orThrow().line
    phases.append(("", Double(line) ?? Clock.wallSeconds))
    let before = try watches[0].leaks().count
    try waitUntil("packets leave again after down") { try watches[0].leaks().count > before + 50 }
    try lab.require(true, "after down they may leave again, and do")
  }
}
