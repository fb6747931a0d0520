import Foundation

/// What befalls the tunnel, step by step.
extension LeakHunt {
  func write(endpoint: String) throws {
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

  func routeOutside() throws {
    for gateway in Self.gateways.prefix(2) { try home.route(via: gateway) }
  }

  func begin(_ phase: String) {
    phases.append((phase, Clock.wallSeconds))
  }

  /// Lets everybody talk for some fifty rounds.
  func chat() throws {
    let wanted = chatters.map { $0.attempts + 50 * $0.wayCount }
    try waitUntil("everybody has talked", within: 30) { zip(chatters, wanted).allSatisfy { $0.attempts >= $1 } }
  }

  func works(_ when: String) throws {
    for target in [Self.far.v4, Self.far.v6] {
      for host in [home, laptop] { try host.reach(target) }
    }
    let sent = try server.transfer(with: ownKeys.publicKey).received
    try lab.require(sent > 0, "the tunnel carries home's and the laptop's traffic: \(when)")
  }

  /// Brings the tunnel up. From when its table has the kill switch, nothing may leave; that is before there is an interface.
  /// A table that can have an owner is made first, and empty.
  func switchesOn() throws {
    let chain = killSwitch == "no" ? "spoof-guard" : "postrouting"
    let table = try home.start([
      "sh", "-c", "echo; until nft list chain inet wg6-home \(chain); do :; done >/dev/null 2>&1; date +%s.%N",
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

  /// Takes it down. What leaves once neither the interface nor the table is there is free to.
  func switchesOff() throws {
    begin("down")
    let last = try ["nft list table inet wg6-home", "ip link show dev home"].map { look in
      try home.start([
        "sh", "-c", "echo; while t=$(date +%s.%N); \(look) >/dev/null 2>&1; do last=$t; done; echo $last",
      ])
    }
    try waitUntil("somebody looks") { last.allSatisfy { !$0.output.isEmpty } }
    try frontend.down("home", on: home).orThrow()
    let times = try last.map { Double(try $0.wait(within: 20).orThrow().line) ?? .infinity }
    phases.append(("", times.max()!))
    if killSwitch != "no" {
      try lab.require(
        times[0] >= times[1], "the kill switch stands until the interface is gone",
        "the table was seen last at \(times[0]), the interface at \(times[1])")
    }
    let before = try watches[0].leaks().count
    try waitUntil("packets leave again after down") { try watches[0].leaks().count > before + 50 }
    try lab.require(true, "after down they may leave again, and do")
  }
}
