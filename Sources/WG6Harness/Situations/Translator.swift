import Foundation

extension Scenario {
  /// Situation 7.
  static let translator = Scenario(
    "translator", "a client with nothing but IPv6 reaches an IPv4-only server through the tunnel and tayga",
    needs: [
      .commandLine, .program("tayga", package: "tayga"), .program("nft", package: "nftables"),
      .program("conntrack", package: "conntrack"), .program("busybox", package: "busybox-static"),
      .program("curl", package: "curl"), .program("socat", package: "socat"),
    ]
  ) { lab in
    lab.say(
      """
      client ════════ IPv6 ═══════ gate ────────── IPv4 ─────────── web
      2001:db8:1::2                2001:db8:1::1, 192.31.196.1      192.31.196.80
      64:ff9b::/96 through wgnet   tayga: 64:ff9b::a.b.c.d is a.b.c.d
      """)
    let client = try lab.host("client"), gate = try lab.host("gate"), web = try lab.host("web")
    try lab.cable(client.port("wan", "2001:db8:1::2/64"), gate.port("wan", "2001:db8:1::1/64"))
    try lab.cable(gate.port("net4", "\(outside)/24"), web.port("eth0", "\(server)/24"))
    try web.sysctl(["net.ipv6.conf.eth0.disable_ipv6": "1"])
    try gate.masquerade(out: "net4")
    try client.reach("2001:db8:1::1")
    try gate.reach(server)
    try startTayga(on: gate, lab)
    try web.serve(["index.html": "web"])
    let echo = try web.start(["socat", "UDP4-LISTEN:7,fork", "EXEC:cat"])
    defer { echo.stop() }

    let situation = try Situation("translator", of: [gate, client], foreign: "gate", in: lab)
    try situation.up(gate, client)
    let four = try client.ip("-4", "route", "show", "default")
    try lab.require(four.trimmed.isEmpty, "the client has no way to anything of IPv4")
    let seen = try web.capture(on: "eth0")
    let uplink = try client.capture(on: "wan")

    let ping = try client.show("ping", "-n", "-c", "3", "-i", "0.2", "-W", "3", mapped)
    try lab.require(ping.contains("3 received"), "ICMP: three of three pings are answered by an IPv4-only machine")
    lab.say("\nclient$ curl http://[\(mapped)]/")
    let page = try client.fetch("http://[\(mapped)]/")
    try lab.require(page == "web", "TCP: the page comes", page ?? "none")
    let said = try client.attempt(
      ["socat", "-t", "3", "-", "UDP6:[\(mapped)]:7"], input: "hello\n", within: 15)
    try lab.require(said.output.trimmed == "hello", "UDP: a datagram's echo comes back", said.output + said.complaints)
    for capture in [seen, uplink] { capture.stop() }
    let sources = Set(try seen.packets().filter { $0.destination == server }.map(\.source))
    try lab.require(sources == [outside], "the server sees the gate's IPv4 address alone", "\(sources)")
    let others = try uplink.packets().filter {
      // Neighbours' talk on the link, ICMPv6 behind a hop-by-hop header in parts.
      $0.transport != 58 && !$0.destination.hasPrefix("ff02:") && $0.messageType == nil
    }
    try lab.require(others.isEmpty, "the client's uplink has the tunnel's datagrams alone", "\(others)")
    lab.measured("translated", "ICMP, TCP and UDP to \(mapped)")
    try situation.down(gate, client)
  }

  private static let outside = "192.31.196.1"
  private static let server = "192.31.196.80"
  /// The server's address under RFC 6052's well-known prefix.
  private static let mapped = "64:ff9b::c01f:c450"

  private static func startTayga(on gate: Host, _ lab: Lab) throws {
    let file = "\(lab.directory)/hosts/gate/tayga.conf"
    let example = try Examples.text("translator/gate/tayga.conf")
    try Files.makeDirectory("\(lab.directory)/hosts/gate/tayga")
    try Files.write(
      example.replacingOccurrences(of: "/var/spool/tayga", with: "\(lab.directory)/hosts/gate/tayga"), to: file)
    try gate.run("tayga", "-c", file, "--mktun")
    try gate.ip("link", "set", "nat64", "up")
    try gate.ip("route", "add", "192.168.255.0/24", "dev", "nat64")
    for network in ["64:ff9b::/96", "2001:db8:64::64/128"] {
      try gate.ip("-6", "route", "add", network, "dev", "nat64")
    }
    _ = try gate.start(["tayga", "-c", file, "-n"])
  }
}
