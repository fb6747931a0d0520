import Foundation

extension Scenario {
  /// A neighbour on the uplink who writes as if it were the peer, or somebody behind it.
  static let forgedPackets = Scenario(
    "forged-packets",
    "a neighbour's packets from inside addresses, and to them, reach no program, whatever the tunnel routes",
    needs: [.commandLine, .program("nft", package: "nftables")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6's own up") }
    let stage = try ForgeryStage(in: lab)
    for filter in [0, 2] {
      lab.say("rp_filter = \(filter)")
      try stage.host.sysctl(["net.ipv4.conf.all.rp_filter": "\(filter)", "net.ipv4.conf.wan.rp_filter": "\(filter)"])
      for table in ["auto", "off", "77"] {
        lab.say("prefixes, Table = \(table)")
        try stage.play(allowedIPs: ForgeryStage.prefixes, "Table = \(table)")
      }
      lab.say("default routes, and prefixes beside them")
      try stage.play(allowedIPs: "0.0.0.0/0, ::/0, " + ForgeryStage.prefixes)
    }
    try stage.playOpen()
    try stage.playShared()
    try stage.playLater()
    try stage.playNeighbour()
  }
}

/// A host on an uplink with its peer and a neighbour, and a LAN behind it.
private struct ForgeryStage {
  let lab: Lab
  let host: Host
  let server: Host
  let neighbour: Host
  let laptop: Host
  let keys: KeyPair
  let node: Node

  /// What is behind the peer; 10.77.9.0/24 and fd77:9::/64 of it are excluded.
  static let prefixes = "10.66.0.0/24, fd66::/64, 10.77.0.0/16, fd77::/32"
  static let (port, count) = (7000, 20)

  /// One of each family.
  private typealias Pair = (v4: String, v6: String)
  private static let inner: Pair = ("10.66.0.2", "fd66::2"), peer: Pair = ("10.66.0.1", "fd66::1")
  private static let behind: Pair = ("10.77.0.9", "fd77::9"), excluded: Pair = ("10.77.9.9", "fd77:9::9")
  private static let outer: Pair = ("198.51.100.2", "2001:db8:100::2")
  private static let other: Pair = ("198.51.100.3", "2001:db8:100::3")
  private static let lan: Pair = ("192.168.7.2", "fd07::2")

  init(in lab: Lab) throws {
    self.lab = lab
    host = try lab.host("host")
    server = try lab.host("server")
    neighbour = try lab.host("neighbour")
    laptop = try lab.host("laptop")
    try lab.plug(
      [
        host.port("wan", Self.outer.v4 + "/24", Self.outer.v6 + "/64"),
        server.port("wan", "198.51.100.1/24", "2001:db8:100::1/64"),
        neighbour.port("wan", Self.other.v4 + "/24", Self.other.v6 + "/64"),
      ], into: "switch")
    try lab.cable(
      host.port("lan", "192.168.7.1/24", "fd07::1/64"), laptop.port("lan", Self.lan.v4 + "/24", Self.lan.v6 + "/64"))
    try host.forward()
    // Without a way to them, a loose filter takes nothing from excluded addresses.
    for gateway in ["198.51.100.1", "2001:db8:100::1"] { try host.route(via: gateway) }
    for gateway in ["192.168.7.1", "fd07::1"] { try laptop.route(via: gateway) }
    keys = try KeyPair.fresh(lab)
    node = try Node(on: server, .wg6, interface: "wg0")
    try node.configure(
      listenPort: 51820,
      peers: [PeerSettings(keys.publicKey, allowedIPs: [Self.inner.v4 + "/32", Self.inner.v6 + "/128"])])
    try node.up([Self.peer.v4 + "/24", Self.peer.v6 + "/64"])
    for address in [Self.behind.v4 + "/32", Self.behind.v6 + "/128"] {
      try server.ip("addr", "add", address, "dev", "lo")
    }
    // Any address is the neighbour's that it says it has.
    for pair in [Self.peer, Self.behind, Self.excluded, Self.inner] {
      try neighbour.ip("addr", "add", pair.v4 + "/32", "dev", "lo")
      try neighbour.ip("addr", "add", pair.v6 + "/128", "dev", "lo", "nodad")
    }
    for pair in [Self.lan] {
      try neighbour.route(pair.v4, via: Self.outer.v4)
      try neighbour.route(pair.v6, via: Self.outer.v6)
    }
    // Its own address is local to it: what it forges to that one must leave nevertheless.
    for family in ["-4", "-6"] {
      try neighbour.ip(family, "rule", "add", "pref", "100", "lookup", "local")
      try neighbour.ip(family, "rule", "del", "pref", "0")
      try neighbour.ip(family, "rule", "add", "pref", "10", "fwmark", "1", "lookup", "10")
      try neighbour.ip(
        family, "route", "add", family == "-4" ? Self.inner.v4 : Self.inner.v6, "via",
        family == "-4" ? Self.outer.v4 : Self.outer.v6, "table", "10")
    }
    for address in [Self.outer.v4, Self.outer.v6] { try neighbour.reach(address) }
    for address in ["192.168.7.1", "fd07::1"] { try laptop.reach(address) }
    for address in ["198.51.100.1", "2001:db8:100::1"] { try host.reach(address) }
  }

  private func up(allowedIPs: String, _ settings: String) throws {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      Address = \(Self.inner.v4)/24, \(Self.inner.v6)/64
      ExcludedIPs = 10.77.9.0/24, fd77:9::/64
      \(settings)

      [Peer]
      PublicKey = \(node.keys.publicKey)
      Endpoint = 198.51.100.1:51820
      AllowedIPs = \(allowedIPs)

      """, to: host.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
    try Frontend(implementation: .wg6).up("home", on: host).orThrow()
    for peer in [Self.peer.v4, Self.peer.v6] { try host.reach(peer) }
  }

  private func down() throws { try Frontend(implementation: .wg6).down("home", on: host).orThrow() }

  func play(allowedIPs: String, _ settings: String = "") throws {
    try up(allowedIPs: allowedIPs, settings)
    let routes = !settings.hasSuffix("off") && !settings.hasSuffix("77")
    for isIPv6 in [false, true] {
      func one(_ pair: Pair) -> String { isIPv6 ? pair.v6 : pair.v4 }
      func arrived(_ from: String, _ to: String, by sender: Host? = nil, at receiver: Host? = nil) throws -> Int {
        try received(from: from, to: to, by: sender ?? neighbour, at: receiver ?? host)
      }
      var forged = [
        ("the peer", one(Self.peer), one(Self.inner)), ("its own", one(Self.other), one(Self.inner)),
        ("the peer, to the outer address", one(Self.peer), one(Self.outer)),
      ]
      // IPv4 takes nothing from its own addresses in any case.
      if isIPv6 { forged.append(("ours", one(Self.inner), one(Self.inner))) }
      if routes { forged.append(("what is behind the peer, to the outer address", one(Self.behind), one(Self.outer))) }
      var counts: [String] = []
      for (name, from, to) in forged { counts.append("\(name): \(try arrived(from, to))") }
      if routes {
        counts.append("to the LAN: \(try arrived(one(Self.behind), one(Self.lan), at: laptop))")
      }
      try lab.require(
        counts.allSatisfy { $0.hasSuffix(": 0") },
        "IPv\(isIPv6 ? 6 : 4): of \(Self.count) from each source, none arrives",
        counts.joined(separator: "; "))
      let good = try [
        "through the tunnel": arrived(one(Self.peer), one(Self.inner), by: server),
        "from this machine": arrived(one(Self.inner), one(Self.inner), by: host),
        "a neighbour's own": arrived(one(Self.other), one(Self.outer)),
        "an excluded address": arrived(one(Self.excluded), one(Self.outer)),
        "the LAN's": arrived(one(Self.lan), one(Self.other), by: laptop, at: neighbour),
      ]
      try lab.require(
        good.values.allSatisfy { $0 == Self.count }, "IPv\(isIPv6 ? 6 : 4): what is genuine arrives, all of it",
        "\(good)")
    }
    try down()
  }

  /// The figures without the guard, which show that the packets are good.
  func playOpen() throws {
    lab.say("SpoofGuard = no")
    try up(allowedIPs: Self.prefixes, "SpoofGuard = no")
    for (from, to) in [(Self.peer.v4, Self.inner.v4), (Self.peer.v6, Self.inner.v6), (Self.inner.v6, Self.inner.v6)] {
      let count = try received(from: from, to: to, by: neighbour, at: host)
      try lab.require(count == Self.count, "\(count) of \(Self.count) from \(from) to \(to)", "\(count)")
    }
    lab.say("a file that has it again, and a program that deletes the table")
    let path = host.privateDirectory("/etc/wireguard") + "/home.conf"
    try Files.write(Files.text(path).replacing("SpoofGuard = no", with: ""), to: path, mode: 0o600)
    try host.run([Binaries.path(of: "wg6"), "reload", "home"])
    for _ in 0..<2 {
      let count = try received(from: Self.peer.v4, to: Self.inner.v4, by: neighbour, at: host)
      try lab.require(count == 0, "the guard is there", "\(count)")
      _ = try host.attempt(["nft", "flush", "ruleset"])
      try waitUntil("the table is there again", within: 2) {
        try host.attempt(["nft", "list", "chain", "inet", "wg6-home", "forged"]).succeeded
      }
    }
    try down()
  }

  /// A router whose tunnel has no address but the LAN's.
  func playShared() throws {
    lab.say("an address that the LAN's interface has too")
    try host.ip("addr", "add", Self.inner.v4 + "/32", "dev", "lan")
    try up(allowedIPs: Self.prefixes, "")
    let near = try received(from: Self.lan.v4, to: Self.inner.v4, by: laptop, at: host)
    try lab.require(near == Self.count, "the LAN reaches it", "\(near)")
    let far = try received(from: Self.other.v4, to: Self.inner.v4, by: neighbour, at: host)
    try lab.require(far == 0, "the uplink does not", "\(far)")
    try down()
    try host.ip("addr", "del", Self.inner.v4 + "/32", "dev", "lan")
  }

  /// What comes to the interfaces when the tunnel is up: addresses of its own, and the tunnel's on another one.
  func playLater() throws {
    lab.say("addresses that come later")
    let (own, groups): (Pair, Pair) = (("10.99.0.1", "fd99::1"), ("10.66.0.255", "fd66::"))
    try up(
      allowedIPs: Self.prefixes,
      "PostUp = ip address add \(own.v4)/24 dev %i; ip address add \(own.v6)/64 dev %i nodad")
    for address in [own.v4, own.v6, groups.v4, groups.v6] {
      try neighbour.route(address, via: address.contains(":") ? Self.outer.v6 : Self.outer.v4)
    }
    // To these no socket can be bound.
    for (from, to, bound) in [
      (Self.other.v4, own.v4, own.v4), (Self.other.v6, own.v6, own.v6), (Self.other.v4, groups.v4, "0.0.0.0"),
      (Self.other.v6, groups.v6, "::"),
    ] {
      let count = try received(from: from, to: to, by: neighbour, at: host, boundTo: bound)
      try lab.require(count == 0, "nothing arrives at \(to) by the uplink", "\(count)")
    }
    try host.ip("addr", "add", Self.inner.v4 + "/32", "dev", "wan")
    usleep(300_000)
    let taken = try received(from: Self.other.v4, to: Self.inner.v4, by: neighbour, at: host)
    try lab.require(taken == 0, "nor where a network gives the uplink the tunnel's address", "\(taken)")
    try host.ip("addr", "del", Self.inner.v4 + "/32", "dev", "wan")
    try down()
    for address in [own.v4, own.v6, groups.v4, groups.v6] {
      try neighbour.ip(address.contains(":") ? "-6" : "-4", "route", "del", address)
    }
  }

  /// A peer on the link whose address is among the allowed IPs, which speaks first, and then from another address.
  func playNeighbour() throws {
    lab.say("a peer on the link inside the allowed IPs, rp_filter = 1")
    try host.sysctl(["net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.wan.rp_filter": "1"])
    try up(allowedIPs: Self.prefixes + ", 198.51.100.0/29", "")
    for address in ["198.51.100.1", "198.51.100.7"] {
      if address.hasSuffix("7") {
        try server.ip("addr", "add", "198.51.100.7/24", "dev", "wan")
        try server.ip("addr", "del", "198.51.100.1/24", "dev", "wan")
        // With the first address of a network the kernel removes the others.
        if try !server.ip("-4", "addr", "show", "dev", "wan").contains("198.51.100.7") {
          try server.ip("addr", "add", "198.51.100.7/24", "dev", "wan")
        }
      }
      for machine in [host, server] { try machine.ip("neigh", "flush", "dev", "wan") }
      let outcome = try server.attempt(["ping", "-q", "-n", "-c", "3", "-i", "0.2", "-W", "2", Self.inner.v4])
      try lab.require(outcome.succeeded, "from \(address) the peer is answered", outcome.output)
    }
    try down()
  }

  /// How many of `count` datagrams a program bound to `to` gets.
  private func received(from: String, to: String, by sender: Host, at receiver: Host, boundTo own: String? = nil)
    throws -> Int
  {
    let program = try DatagramSocket(on: receiver, address: own ?? to, port: Self.port)
    let source = try DatagramSocket(on: sender, address: from, port: 0)
    if sender === neighbour {
      var mark: UInt32 = 1
      setsockopt(source.descriptor, SOL_SOCKET, SO_MARK, &mark, socklen_t(MemoryLayout<UInt32>.size))
    }
    let target = try SocketAddress(to, Self.port)
    for number in 0..<Self.count { source.send([UInt8(number)], to: target) }
    var numbers: Set<UInt8> = []
    while numbers.count < Self.count, let next = program.receive(within: 0.25) {
      if let number = next.bytes.first { numbers.insert(number) }
    }
    return numbers.count
  }
}
