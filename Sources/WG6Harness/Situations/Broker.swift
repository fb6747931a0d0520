import Foundation

extension Scenario {
  /// Situation 3.
  static let broker = Scenario(
    "broker", "a server gives a machine one address and a router a /56, by their keys; their IPv4 addresses change",
    needs: [.commandLine]
  ) { lab in
    let stage = try BrokerStage(in: lab)
    try stage.play()
  }
}

/// A server with a prefix, a machine and a router that have IPv4 alone, and a stranger.
private struct BrokerStage {
  let lab: Lab
  let web: Host
  let server: Host
  let guest: Host
  let site: Host
  let desk: Host
  let situation: Situation

  private static let webAddress = "2001:db8:cafe::80"
  private static let guestAddress = "2001:db8:ebbd:1::10"
  private static let deskAddress = "2001:db8:ebbd:9901::7"

  init(in lab: Lab) throws {
    self.lab = lab
    lab.say(
      """
      guest ──────────────────┐
      198.51.100.10           ├── IPv4 ══════ server ────────── IPv6: web 2001:db8:cafe::80
      desk ────── site ───────┘               203.0.113.2
      :9901::7    198.51.100.20               2001:db8:ebbd::/48
      """)
    web = try lab.host("web")
    server = try lab.host("server")
    guest = try lab.host("guest")
    site = try lab.host("site")
    desk = try lab.host("desk")
    let provider = try lab.host("provider")
    try lab.plug(
      [
        provider.port("lan", "198.51.100.1/24"), guest.port("wan", "198.51.100.10/24"),
        site.port("wan", "198.51.100.20/24"),
      ], into: "access")
    try lab.cable(provider.port("wan", "203.0.113.1/24"), server.port("wan", "203.0.113.2/24"))
    try lab.cable(server.port("net6", "2001:db8:cafe::1/64"), web.port("eth0", "\(Self.webAddress)/64"))
    try lab.cable(site.port("lan", "2001:db8:ebbd:9901::1/64"), desk.port("eth0", "\(Self.deskAddress)/64"))
    for router in [provider, server, site] { try router.forward() }
    for host in [guest, site] {
      try host.sysctl(["net.ipv6.conf.wan.disable_ipv6": "1"])
      try host.route(via: "198.51.100.1")
    }
    try server.route(via: "203.0.113.1")
    try web.route(via: "2001:db8:cafe::1")
    try desk.route(via: "2001:db8:ebbd:9901::1")
    try guest.reach("203.0.113.2")
    try site.reach("203.0.113.2")
    try desk.reach("2001:db8:ebbd:9901::1")
    try server.reach(Self.webAddress)
    situation = try Situation("broker", of: [server, guest, site], foreign: "server", in: lab)
  }

  func play() throws {
    try situation.up(server, site)
    let steps = try guest.show(try Binaries.path(of: "wg6"), "up", "-v", "wgnet")
    try lab.require(
      steps.contains("handshake message sent to 203.0.113.2:51820") && steps.contains("tunnel is up: "),
      "'wg6 up -v' tells each step, up to: \(steps.trimmed.split(separator: "\n").last ?? "")", steps)

    let seen = try web.capture(on: "eth0", "icmp6 and ip6[40] = 128")
    let before = [guest, desk].map { try? $0.attempt(ping(count: 5), within: 20).orThrow().output }
    try lab.require(
      before.allSatisfy { $0?.contains(" 5 received") == true }, "the machine and one behind the router reach the web",
      before.map { $0 ?? "no answer" }.joined())
    let mtu = try guest.attempt(["ping", "-6", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1372", Self.webAddress])
    try lab.require(
      mtu.output.contains("1 received"), "a packet of 1420 bytes, the tunnel's MTU, goes whole", mtu.output)

    lab.say("\nboth get other IPv4 addresses, under traffic")
    let outages = [try renumber(guest, guest, to: "198.51.100.110"), try renumber(site, desk, to: "198.51.100.120")]
    lab.measured(
      "without traffic while IPv4 changes", String(format: "%.2f s (machine), %.2f s (router)", outages[0], outages[1]))
    let endpoints = try server.run("wg", "show", "wgnet", "endpoints").output
    try lab.require(
      endpoints.contains("198.51.100.110:") && endpoints.contains("198.51.100.120:"),
      "the server has found both at their new addresses", endpoints)

    try strangers()
    seen.stop()
    let sources = Set(try seen.packets().map(\.source))
    try lab.require(
      sources.subtracting(["2001:db8:cafe::1"]) == [Self.guestAddress, Self.deskAddress],
      "the web has seen two addresses all the time: \(Self.guestAddress) and \(Self.deskAddress)", "\(sources)")
    try situation.down(guest, site, server)
  }

  private func ping(count: Int) -> [String] {
    ["ping", "-n", "-q", "-c", "\(count)", "-i", "0.1", "-W", "3", Self.webAddress]
  }

  /// Gives `router` another address while `machine` pings. Returns the seconds that were lost.
  private func renumber(_ router: Host, _ machine: Host, to address: String) throws -> Double {
    let interval = 0.02
    let pings = try machine.startPing(Self.webAddress, count: 200, every: interval)
    try router.port("wan").replaceV4(by: "\(address)/24")
    try router.route(via: "198.51.100.1")
    let result = try pings.result(within: 30)
    try lab.require(result.lost < 100, "\(machine.name) keeps its address and loses \(result.lost) of 200 pings")
    return Double(result.lost) * interval
  }

  /// What the server gives to nobody else.
  private func strangers() throws {
    let foreign = "2001:db8:ebbd:9900::66"
    try guest.ip("address", "add", foreign + "/128", "dev", "wgnet")
    let taken = try guest.attempt([
      "ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", "-I", foreign, Self.webAddress,
    ])
    try guest.ip("address", "del", foreign + "/128", "dev", "wgnet")
    try lab.require(!taken.succeeded, "from an address of the other's, the server lets nothing through", taken.output)
  }
}
