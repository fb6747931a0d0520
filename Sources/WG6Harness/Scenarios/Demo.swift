import Foundation

extension Scenario {
  /// The main job, told from the beginning: what `make demo` shows.
  static let demo = Scenario(
    "demo", "a laptop in a café with IPv4 only and NAT reaches an IPv6 host behind a server at home",
    needs: Prerequisite.nat + [.commandLine]
  ) { lab in
    let frontend = Frontend(implementation: lab.implementation)
    let tool = try frontend.tool()
    let typed = (tool as NSString).lastPathComponent

    lab.say(
      """
      The network:

        cafe ─────────── router ══════ switch ═══════ home ─────────── printer
        192.168.1.2      NAT           │              203.0.113.2      2001:db8:ebbd:1::80
        no IPv6          203.0.113.1   │              2001:db8:ebbd::/48
                                       web 203.0.113.80

      """)
    let cafe = try lab.host("cafe")
    let router = try lab.host("router")
    let home = try lab.host("home")
    let printer = try lab.host("printer")
    let web = try lab.host("web")
    try lab.cable(cafe.port("wlan0", "192.168.1.2/24"), router.port("lan", "192.168.1.1/24"))
    try lab.plug(
      [router.port("wan", "203.0.113.1/24"), home.port("wan", "203.0.113.2/24"), web.port("wan", "203.0.113.80/24")],
      into: "switch")
    try lab.cable(home.port("lan", "2001:db8:ebbd:1::1/64"), printer.port("lan", "2001:db8:ebbd:1::80/64"))
    try router.masquerade(out: "wan")
    try home.forward()
    try cafe.sysctl(["net.ipv6.conf.wlan0.disable_ipv6": "1"])
    try cafe.route(via: "192.168.1.1")
    try printer.route(via: "2001:db8:ebbd:1::1")
    try home.reach("2001:db8:ebbd:1::80")
    try cafe.reach("203.0.113.2")

    let before = try cafe.attempt(["ping", "-n", "-c", "1", "-W", "1", "2001:db8:ebbd:1::80"])
    try lab.require(!before.succeeded, "without a tunnel, cafe cannot reach printer: \(before.complaints.trimmed)")

    var keys: [String: KeyPair] = [:]
    for host in [cafe, home] {
      lab.say("\n\(host.name)$ \(typed) genkey | tee private.key | \(typed) pubkey")
      let place = host.privateDirectory("/etc/wireguard")
      let publicKey = try host.shell(
        "umask 077; cd /etc/wireguard; '\(tool)' genkey | tee private.key | '\(tool)' pubkey"
      ).line
      lab.say(publicKey)
      keys[host.name] = KeyPair(privateKey: Files.text(place + "/private.key").trimmed, publicKey: publicKey)
    }

    for (host, other) in [(home, "cafe"), (cafe, "home")] {
      let example = try Examples.text("\(host.name)/wgnet.conf")
      lab.say("\n\(host.name)$ cat wgnet.conf          (Examples/\(host.name)/wgnet.conf, with the keys filled in)")
      lab.say(example.trimmed)
      let filled =
        example
        .replacingOccurrences(of: "PRIVATE-KEY-OF-\(host.name.uppercased())", with: keys[host.name]!.privateKey)
        .replacingOccurrences(of: "PUBLIC-KEY-OF-\(other.uppercased())", with: keys[other]!.publicKey)
      try Files.write(filled, to: host.privateDirectory("/etc/wireguard") + "/wgnet.conf", mode: 0o600)
    }

    let uplink = try router.capture(on: "wan")
    for host in [home, cafe] {
      lab.say("\n\(host.name)$ \(frontend.name) up wgnet.conf")
      let outcome = try frontend.up("/etc/wireguard/wgnet.conf", on: host).orThrow()
      let said = (outcome.output + outcome.complaints).trimmed
      if !said.isEmpty { lab.say(said) }
    }

    lab.say("\ncafe$ ping -c 3 2001:db8:ebbd:1::80")
    let ping = try cafe.run("ping", "-n", "-c", "3", "-i", "0.3", "-W", "3", "2001:db8:ebbd:1::80")
    lab.say(ping.output.trimmed)

    lab.say("\ncafe$ ip route get 203.0.113.80")
    let route = try cafe.ip("route", "get", "203.0.113.80")
    lab.say(route.trimmed)
    lab.say("\ncafe$ ping -c 3 203.0.113.80")
    let plain = try cafe.run("ping", "-n", "-c", "3", "-i", "0.3", "-W", "3", "203.0.113.80")
    lab.say(plain.output.trimmed)

    lab.say("\ncafe$ \(typed) show")
    let shown = try cafe.run(tool, "show").output
    lab.say(shown.trimmed)

    lab.say("")
    try lab.require(ping.output.contains("3 received"), "IPv6 through the tunnel: three of three pings answered")
    try lab.require(route.contains("via 192.168.1.1"), "IPv4 still goes the plain way, over the café's router")
    try waitUntil("the capture has the pings") { try uplink.packets().filter { $0.transport == 1 }.count >= 6 }
    uplink.stop()
    let packets = try uplink.packets()
    try lab.require(
      packets.contains { $0.transport == 1 && $0.source == "203.0.113.1" && $0.destination == "203.0.113.80" },
      "on the router's uplink: IPv4 pings to web, in the open")
    try lab.require(
      packets.contains { $0.transport == 17 && $0.destinationPort == 51820 && $0.messageType == 4 }
        && !packets.contains { $0.transport == 58 && $0.destination == "2001:db8:ebbd:1::80" },
      "on the router's uplink: the IPv6 pings only as WireGuard's type 4 messages")
    try lab.require(shown.contains("latest handshake"), "`\(typed) show` prints a handshake")
    if lab.stays { return }

    for host in [cafe, home] {
      try frontend.down("/etc/wireguard/wgnet.conf", on: host).orThrow()
      try waitUntil("nothing stays on \(host.name)") { try host.remains(of: "wgnet", lab.implementation).isEmpty }
    }
    try lab.require(true, "`\(frontend.name) down wgnet.conf` on both: nothing stays")
  }
}

/// The files that stand ready to copy.
enum Examples {
  static func text(_ path: String) throws -> String {
    let root =
      ProcessInfo.processInfo.environment["WG6_EXAMPLES"] ?? FileManager.default.currentDirectoryPath + "/Examples"
    let text = Files.text("\(root)/\(path)")
    guard !text.isEmpty else { throw Missing(path: "\(root)/\(path)") }
    return text
  }

  struct Missing: Error, CustomStringConvertible {
    let path: String
    var description: String { "no file \(path): run this from the top of the project" }
  }
}
