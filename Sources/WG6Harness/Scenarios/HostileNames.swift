import Foundation

extension Scenario {
  /// A name server that answers with the address of a host inside, as `ServerIP` of TunnelCrack has it.
  static let hostileNames = Scenario(
    "hostile-names",
    "an endpoint's name leads to an address inside the tunnel: at up, at reload, later; nothing to that address leaves it",
    needs: [.commandLine]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("wg-quick leads nothing past its routes") }
    for isIPv6 in [false, true] {
      let victim = try Misled(in: lab, isIPv6: isIPv6)
      for form in Misled.Form.allCases {
        lab.say("IPv\(isIPv6 ? 6 : 4), \(form.rawValue)")
        for moment in Misled.Moment.allCases { try victim.play(form, moment) }
      }
    }
  }
}

/// A machine whose name server belongs to the network outside, and that network, which plays a host inside and hands the
/// tunnel's datagrams on to the real server.
private struct Misled {
  enum Form: String, CaseIterable {
    case split = "a split tunnel"
    case host = "a split tunnel with a prefix of that host alone"
    case halves = "two halves of everything"
    case whole = "a default route, and a further prefix"
    case closed = "a split tunnel with a kill switch"
    case beyondLAN = "a split tunnel with lan excluded"
    case numbered = "Table = 77, and a rule of the file's own"
  }

  enum Moment: String, CaseIterable {
    case up, reload, later
  }

  static let inside = (v4: "10.8.0.5", v6: "fd08::5"), honest = (v4: "198.51.100.1", v6: "2001:db8:100::1")

  let lab: Lab
  let home: Host
  let net: Host
  let server: Node
  let keys: KeyPair
  let isIPv6: Bool

  init(in lab: Lab, isIPv6: Bool) throws {
    self.lab = lab
    self.isIPv6 = isIPv6
    keys = try KeyPair.fresh(lab)
    home = try lab.host("home\(isIPv6 ? 6 : 4)")
    net = try lab.host("net\(isIPv6 ? 6 : 4)")
    try lab.cable(
      home.port("wan", "198.51.100.2/24", "2001:db8:100::2/64"),
      net.port("wan", "198.51.100.1/24", "2001:db8:100::1/64"))
    for gateway in [Self.honest.v4, Self.honest.v6] {
      try home.route(via: gateway)
      try home.reach(gateway)
    }
    server = try Node(on: net, .wg6, interface: "wg0")
    try server.configure(
      listenPort: 51820, peers: [PeerSettings(keys.publicKey, allowedIPs: ["10.66.0.2/32", "fd66::2/128"])])
    try server.up(["10.66.0.1/24", "fd66::1/64"])
    try net.ip("addr", "add", Self.inside.v4 + "/32", "dev", "lo")
    try net.ip("addr", "add", Self.inside.v6 + "/128", "dev", "lo", "nodad")
    try Files.write("", to: place("resolv.conf"))
  }

  private var target: String { isIPv6 ? Self.inside.v6 : Self.inside.v4 }
  private var family: String { isIPv6 ? "-6" : "-4" }

  private func place(_ file: String) -> String { home.privateDirectory("/etc/wireguard") + "/" + file }

  /// What the name server says: an address, or that there is none.
  private func answer(_ address: String?) throws {
    // In place: it is mounted where programs run that ask.
    let line = address.map { "\($0) vpn.example\n" } ?? ""
    try home.run(["sh", "-c", "printf %s \"$1\" > \"$2\"", "sh", line, place("hosts")])
  }

  private func write(_ form: Form) throws {
    let prefix =
      switch form {
      case .split, .closed, .beyondLAN, .numbered: "10.8.0.0/16, fd08::/32"
      case .host: "10.8.0.5/32, fd08::5/128"
      case .halves: "0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1"
      case .whole: "0.0.0.0/0, ::/0, 10.8.0.0/16, fd08::/32"
      }
    let lines =
      switch form {
      case .closed: "KillSwitch = yes"
      case .beyondLAN: "ExcludedIPs = lan"
      case .numbered:
        // A rule that all of the LAN's and this machine's packets meet, but for the tunnel's own.
        """
        Table = 77
        FwMark = 0x77
        PostUp = ip -4 rule add not fwmark 0x77 lookup 77; ip -6 rule add not fwmark 0x77 lookup 77
        PostDown = ip -4 rule del lookup 77; ip -6 rule del lookup 77
        """
      default: ""
      }
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      Address = 10.66.0.2/32, fd66::2/128
      MTU = 1400
      \(lines)

      [Peer]
      PublicKey = \(server.keys.publicKey)
      Endpoint = vpn.example:51820
      AllowedIPs = 10.66.0.1/32, fd66::1/128, \(prefix)

      """, to: place("home.conf"), mode: 0o600)
  }

  /// `wg6` with the names that the name server tells.
  private func wg6(_ words: String...) throws -> Outcome {
    let directory = home.privateDirectory("/etc/wireguard")
    let script = "for f in hosts resolv.conf; do mount --bind \(directory)/$f /etc/$f || exit 9; done; exec \"$@\""
    return try home.attempt(["sh", "-c", script, "sh", Binaries.path(of: "wg6")] + words)
  }

  func play(_ form: Form, _ moment: Moment) throws {
    // Behind a kill switch nothing is resolved later.
    if form == .closed, moment == .later { return }
    // Strict, as many distributions have it; but with rules of one's own, the marks of answers are one's own affair as well.
    let filter = form == .numbered ? "0" : "1"
    try home.sysctl(["net.ipv4.conf.all.rp_filter": filter, "net.ipv4.conf.wan.rp_filter": filter])
    try write(form)
    let before = try state()
    switch moment {
    case .up: try answer(target)
    case .reload: try answer(isIPv6 ? Self.honest.v6 : Self.honest.v4)
    case .later: try answer(nil)
    }
    try wg6("up", "home").orThrow()
    let uplink = try LeakWatch(on: "wan", of: home, allowed: ["udp and dst port 51820"])
    let talk = try home.startPing(target, count: 100_000, every: 0.005, "-W", "1")
    switch moment {
    case .up: break
    case .reload:
      try home.reach(target)
      try answer(target)
      // The server may answer from its other address, and have the peer move back.
      let dry = try wg6("reload", "--dry-run", "home").orThrow().output
      try lab.require(dry.contains(target), "a reload would tell the daemon", dry)
      try wg6("reload", "home").orThrow()
    case .later:
      try answer(target)
      try waitUntil("the daemon was told the address", within: 30) {
        try home.run("wg", "show", "home", "endpoints").output.contains(target)
      }
    }
    // The network lets the tunnel work, to see what it can get.
    try home.reach(target)
    let received = try server.transfer(with: keys.publicKey).received
    try home.run(["ping", "-q", "-n", "-c", "100", "-i", "0.005", "-W", "1", target])
    let isTunnelled = try server.transfer(with: keys.publicKey).received > received + 5000
    talk.program.stop(SIGINT)
    uplink.capture.stop()
    let leaks = try uplink.leaks()
    try lab.require(
      leaks.isEmpty && isTunnelled,
      "\(moment.rawValue): \(leaks.count) packets to \(target) left in the clear, and all went through the tunnel",
      try leaks.prefix(3).map { "\($0.source) → \($0.destination)" }.joined(separator: ", ") + "\n" + state())
    // After a reload the server may have had the peer move back, into another prefix.
    if form != .numbered, moment != .reload {
      let dry = try wg6("reload", "--dry-run", "home")
      try lab.require(
        dry.output == "nothing to change\n", "and a reload has nothing to change", dry.output + dry.complaints)
    }
    try wg6("down", "home").orThrow()
    let after = try state()
    try lab.require(after == before, "after down nothing is left", after)
  }

  private func state() throws -> String {
    try home.shell(
      """
      ip -4 rule; ip -6 rule; ip -4 route show table all proto 108; ip -6 route show table all proto 108
      nft list tables; sysctl net.ipv4.conf.all.src_valid_mark
      """
    ).output
  }
}
