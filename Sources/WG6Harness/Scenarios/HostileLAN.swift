import Foundation

extension Scenario {
  /// The two attacks of TunnelCrack's LocalNet kind and TunnelVision, on every form of a tunnel that leaves the local
  /// network outside.
  static let hostileLAN = Scenario(
    "hostile-lan",
    "a network that claims the internet for itself by DHCP or router advertisements: what goes past a tunnel with lan?",
    needs: [.commandLine, .program("nft", package: "nftables")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 knows lan") }
    let forms = HostileLAN.forms.filter { Scenario.isLong || !$0.isLong }
    var total = 0
    var problems: [String] = []
    for (number, form) in forms.enumerated() {
      lab.say("\(form.name)")
      let lan = try HostileLAN(in: lab, form, number)
      let bytes = try lan.play()
      lab.say("  in all: \(bytes) bytes in the clear")
      total += bytes
      problems += lan.problems
    }
    try lab.require(total == 0, "in all forms \(total) bytes have left in the clear")
    try lab.require(
      problems.isEmpty,
      "check reports what is not believed, the kill switch follows to another network, and all goes "
        + "through the tunnel instead", problems.joined(separator: "\n"))
  }
}

/// A machine in somebody else's network, and a tunnel that leaves that network outside.
private final class HostileLAN {
  struct Form {
    let name: String
    let settings: String
    var allowedIPs = "0.0.0.0/0, ::/0"
    var hasKillSwitch: Bool { settings.contains("KillSwitch") }
    var isLong = false
  }

  static let forms = [
    Form(name: "ExcludedIPs = lan", settings: "ExcludedIPs = lan"),
    Form(name: "KillSwitch = lan", settings: "KillSwitch = lan"),
    Form(
      name: "ExcludedIPs = lan, KillSwitch = yes", settings: "ExcludedIPs = lan\nKillSwitch = yes", isLong: true),
    Form(
      name: "ExcludedIPs = lan, KillSwitch = lan", settings: "ExcludedIPs = lan\nKillSwitch = lan", isLong: true),
    Form(
      name: "ExcludedIPs = lan, and no default route", settings: "ExcludedIPs = lan",
      allowedIPs: "0.0.0.0/2, 128.0.0.0/1, 2000::/3"),
  ]

  /// What a network can tell a host: the words of `ip address` or `ip route`, as a DHCP client or the kernel puts them.
  struct Claim {
    let name: String
    let commands: [String]
  }

  /// One kind of claim at a time, IPv4 and IPv6.
  static let claims = [
    Claim(
      name: "addresses in 8.0.0.0/5, 192.0.0.0/5 and 2000::/3",
      commands: [
        "address add 8.0.0.2/5 dev wan", "address add 192.0.0.2/5 dev wan", "address add 2000::2/3 dev wan nodad",
      ]),
    Claim(
      name: "0/1, 128/1, ::/1 and 8000::/1 on-link",
      commands: [
        "route add 0.0.0.0/1 dev wan", "route add 128.0.0.0/1 dev wan", "-6 route add ::/1 dev wan",
        "-6 route add 8000::/1 dev wan",
      ]),
    Claim(
      name: "routes through a router: DHCP option 121, RFC 4191",
      commands: [
        "route add 8.8.8.0/24 via 192.168.1.1 dev wan", "route add 192.0.2.0/24 via 192.168.1.1 dev wan",
        "-6 route add 2001:db8:99::/48 via fd01::1 dev wan", "-6 route add 2600::/16 via fd01::1 dev wan",
      ]),
    Claim(
      name: "an address's own networks, as long as the tunnel's or longer",
      commands: [
        "address add 8.8.8.2/24 dev wan", "address add 192.0.2.2/24 dev wan",
        "address add 2001:db8:99::2/64 dev wan nodad", "address add 2600::2/16 dev wan nodad",
      ]),
    Claim(
      name: "the tunnel's own network",
      commands: ["address add 10.66.0.9/25 dev wan", "address add fd66::9/65 dev wan nodad"]),
  ]

  static let far = ["192.0.2.7", "8.8.8.8", "2001:db8:99::7", "2600::7"]
  /// The other end of the tunnel, in the network of the tunnel's own addresses.
  static let inner = ["10.66.0.1", "fd66::1"]
  static let printer = ["192.168.1.9", "fd01::9"]
  static let movedPrinter = ["10.9.0.9", "fd09::9"]

  let lab: Lab
  let form: Form
  let home: Host
  let net: Host
  let server: Node
  let keys: KeyPair
  let frontend: Frontend
  var problems: [String] = []

  init(in lab: Lab, _ form: Form, _ number: Int) throws {
    self.lab = lab
    self.form = form
    frontend = Frontend(implementation: lab.implementation)
    keys = try KeyPair.fresh(lab)
    home = try lab.host("home\(number)")
    net = try lab.host("net\(number)")
    try lab.cable(home.port("wan", "192.168.1.2/24", "fd01::2/64"), net.port("wan", "192.168.1.1/24", "fd01::1/64"))
    // The network answers for every address there is, as an attacker would.
    for address in Self.far + Self.printer {
      try net.port("wan").add(address + (address.contains(":") ? "/128" : "/32"))
    }
    try net.ip("addr", "add", "198.51.100.1/32", "dev", "lo")
    // It answers to the addresses that it gives away, too.
    for address in ["8.0.0.2/32", "192.0.0.2/32"] { try net.ip("route", "add", address, "dev", "wan") }
    for gateway in ["192.168.1.1", "fd01::1"] { try home.route(via: gateway) }
    server = try Node(on: net, lab.implementation, interface: "wg0")
    try server.configure(
      listenPort: 51820, peers: [PeerSettings(keys.publicKey, allowedIPs: ["10.66.0.2/32", "fd66::2/128"])])
    try server.up(["10.66.0.1/24", "fd66::1/64"])
    for gateway in ["192.168.1.1", "fd01::1"] { try home.reach(gateway) }
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      Address = 10.66.0.2/24, fd66::2/64
      \(form.settings)

      [Peer]
      PublicKey = \(server.keys.publicKey)
      Endpoint = 198.51.100.1:51820
      AllowedIPs = \(form.allowedIPs), 10.66.0.0/24, fd66::/64

      """, to: home.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
  }

  /// Returns the bytes that left in the clear.
  func play() throws -> Int {
    var total = 0
    for claim in Self.claims {
      for isFirst in [true, false] {
        if isFirst { try make(claim) }
        try frontend.up("home", on: home).orThrow()
        if !isFirst { try make(claim) }
        let when = isFirst ? "before up" : "while it is up"
        total += try talk("\(claim.name), \(when)")
        if isFirst { try reports(claim) }
        try home.run([frontend.tool(), "reload", "home"])
        total += try talk("\(claim.name), \(when), after reload")
        try frontend.down("home", on: home).orThrow()
        try withdraw(claim)
      }
    }
    return try total + moves()
  }

  private func make(_ claim: Claim) throws {
    for command in claim.commands { try home.run(["ip"] + command.split(separator: " ").map(String.init)) }
  }

  private func withdraw(_ claim: Claim) throws {
    for command in claim.commands.reversed() {
      let words = command.replacingOccurrences(of: " add ", with: " delete ")
        .replacingOccurrences(of: " nodad", with: "")
      _ = try home.attempt(["ip"] + words.split(separator: " ").map(String.init))
    }
  }

  /// A machine that talks to the world and to its printer; the bytes of it that leave bare.
  private func talk(_ when: String) throws -> Int {
    let watch = try LeakWatch(
      on: "wan", of: home,
      allowed: [
        "udp and port 51820 and host 198.51.100.1", "dst net 192.168.1.0/24", "dst net fd01::/64", "dst net fe80::/10",
      ])
    for address in Self.printer { try home.reach(address, within: 5) }
    var pings: [Ping] = []
    // Programs that choose the uplink themselves are for a kill switch alone to keep in.
    let targets = Self.far + Self.inner
    for address in targets {
      pings.append(try home.startPing(address, count: 5, every: 0.05, "-W", "1"))
      if form.hasKillSwitch { pings.append(try home.startPing(address, count: 5, every: 0.05, "-W", "1", "-I", "wan")) }
    }
    for (number, ping) in pings.enumerated() {
      let isAnswered = try ping.program.wait(within: 20).succeeded
      // A kill switch alone changes no route: what these lead past the tunnel is stopped.
      if !isAnswered, !form.hasKillSwitch {
        problems.append("\(form.name), \(when): no answer from \(targets[number])")
      }
    }
    watch.capture.stop()
    let leaks = try watch.leaks()
    let bytes = leaks.reduce(0) { $0 + $1.length }
    lab.say("  \(bytes == 0 ? "✓" : "✗") \(when): \(bytes) bytes in the clear")
    return bytes
  }

  /// What is not believed is said.
  private func reports(_ claim: Claim) throws {
    let check = try home.attempt([frontend.tool(), "check", "home"])
    let isRouted = claim.name.hasPrefix("routes through")
    // A kill switch alone takes no route away.
    if isRouted, !form.settings.contains("ExcludedIPs") { return }
    let isInner = claim.name.hasPrefix("the tunnel's own")
    let report =
      isRouted
      ? "way to 8.8.8.0/24, 192.0.2.0/24"
      : isInner ? "this machine is in 10.66.0.0/25, fd66::/65" : "lan does not stand for"
    if !check.output.contains(report) || check.status != 2 {
      problems.append("\(form.name): check does not report \(claim.name): \(check.output)\(check.complaints)")
    }
  }

  /// Into another network, with the tunnel up: the old network's addresses are nobody's there.
  private func moves() throws -> Int {
    try frontend.up("home", on: home).orThrow()
    for address in Self.printer { try home.reach(address, within: 5) }
    for address in Self.movedPrinter + ["10.9.0.1", "fd09::1"] {
      try net.port("wan").add(address + (address.contains(":") ? "/64" : "/24"))
    }
    for address in ["192.168.1.2/24", "fd01::2/64"] { try home.port("wan").remove(address) }
    for address in ["10.9.0.2/24", "fd09::2/64"] { try home.port("wan").add(address) }
    for gateway in ["10.9.0.1", "fd09::1"] { try home.route(via: gateway) }
    let start = Clock.wallSeconds
    if form.hasKillSwitch {
      do {
        try waitUntil("the kill switch follows", within: 5, every: 0.01) {
          let table = try home.run("nft", "list", "table", "inet", "wg6-home").output
          return table.contains("10.9.0.0/24") && !table.contains("192.168.1.0/24")
        }
        lab.say("  the kill switch followed to the other network within \(Int((Clock.wallSeconds - start) * 1000)) ms")
      } catch {
        problems.append("\(form.name): the kill switch does not follow to another network")
      }
    }
    for address in Self.movedPrinter {
      do {
        try home.reach(address, within: 5)
        lab.say("  ✓ in another network \(address) is reached")
      } catch {
        problems.append("\(form.name): \(address) is not reached in the other network")
      }
    }
    let watch = try LeakWatch(
      on: "wan", of: home,
      allowed: [
        "udp and port 51820 and host 198.51.100.1", "dst net 10.9.0.0/24", "dst net fd09::/64", "dst net fe80::/10",
      ])
    // The new network says that it knows the old addresses.
    var pings: [Ping] = []
    for address in Self.printer + Self.far + Self.inner {
      pings.append(try home.startPing(address, count: 5, every: 0.05, "-W", "1"))
      if form.hasKillSwitch { pings.append(try home.startPing(address, count: 5, every: 0.05, "-W", "1", "-I", "wan")) }
    }
    for ping in pings { _ = try ping.program.wait(within: 20) }
    watch.capture.stop()
    // Without lan in ExcludedIPs the old network was never excluded, nor is it where the tunnel does not take it.
    let leaks = try watch.leaks().filter { packet in
      !Self.printer.contains(packet.destination) || form.allowedIPs.contains("/0")
    }
    let bytes = leaks.reduce(0) { $0 + $1.length }
    lab.say("  \(bytes == 0 ? "✓" : "✗") in another network: \(bytes) bytes in the clear")
    try frontend.down("home", on: home).orThrow()
    let rules = try home.ip("-4", "rule") + home.ip("-6", "rule") + home.run("nft", "list", "tables").output
    try lab.require(!rules.contains("proto 108") && !rules.contains("wg6-"), "down leaves no rule", rules)
    return bytes
  }
}
