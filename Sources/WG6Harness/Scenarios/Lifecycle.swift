import Foundation

extension Scenario {
  /// The three ways in which a daemon's life ends.
  static let daemonEnds = Scenario(
    "daemon-ends", "SIGTERM, the interface deleted from outside, kill -9: what stays behind, and starting again"
  ) { lab in
    let host = try lab.host("server")
    let other = try KeyPair.fresh(lab)
    let settings = PeerSettings(other.publicKey, endpoint: "198.51.100.9:9", allowedIPs: ["10.66.0.0/24", "fd66::/64"])

    func start() throws -> Node {
      let node = try Node(on: host, lab.implementation, interface: "wg0")
      try node.configure(listenPort: Tunnel.port, peers: [settings])
      try node.up(["10.66.0.1/24", "fd66::1/64"])
      return node
    }
    func gone(after what: String) throws {
      try waitUntil("nothing stays after \(what)", within: 10) {
        try host.remains(of: "wg0", lab.implementation).isEmpty
      }
      try lab.require(true, "after \(what): no interface, socket, route or process")
    }

    try start().daemon!.send(SIGTERM)
    try gone(after: "SIGTERM")

    _ = try start()
    try host.ip("link", "del", "wg0")
    try gone(after: "the interface was deleted from outside")

    let killed = try start()
    killed.daemon!.stop(SIGKILL)
    try waitUntil("the interface goes with the process", within: 10) { !host.has(interface: "wg0") }
    let remains = try host.remains(of: "wg0", lab.implementation)
    lab.say("  after kill -9 there stays: \(remains.isEmpty ? "nothing" : remains.joined(separator: ", "))")
    let again = try start()
    try lab.require(again.daemon!.isRunning, "after kill -9 the next start clears that and works")
    again.daemon!.send(SIGTERM)
    try gone(after: "kill -9, a new start and SIGTERM")
  }

  /// The same with the command line in front.
  static let upAndDown = Scenario(
    "up-down", "up, down, and up again after the daemon was killed or the interface deleted",
    needs: [.commandLine, .program("wg-quick", package: "wireguard-tools")]
  ) { lab in
    let frontend = Frontend(implementation: lab.implementation)
    let host = try lab.host("server")
    let far = try lab.host("far")
    try lab.cable(
      host.port("wan", "198.51.100.1/24", "2001:db8:100::1/64"),
      far.port("wan", "198.51.100.2/24", "2001:db8:100::2/64"))
    let keys = (near: try KeyPair.fresh(lab), far: try KeyPair.fresh(lab))
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.near.privateKey)
      ListenPort = 51820
      Address = 10.66.0.1/24, fd66::1/64

      [Peer]
      PublicKey = \(keys.far.publicKey)
      Endpoint = 198.51.100.2:51820
      AllowedIPs = 10.66.0.0/24, fd66::/64, 2001:db8:77::/48

      """, to: host.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)

    func up(_ why: String) throws {
      let outcome = try frontend.up("home", on: host).orThrow()
      try lab.require(
        host.has(interface: "home") && host.daemons(of: lab.implementation).count == 1, "\(frontend.name) up \(why)",
        outcome.complaints)
      try lab.require(
        host.ip("-6", "route", "get", "2001:db8:77::5").contains("dev home"), "its prefixes are routed into the tunnel")
    }
    func gone(after what: String) throws {
      try waitUntil("nothing stays after \(what)", within: 10) {
        try host.remains(of: "home", lab.implementation).isEmpty
      }
      try lab.require(true, "after \(what): no interface, socket, route or process")
    }

    try waitUntil("no address is tentative any more") { try !host.shell("ip -6 addr").output.contains("tentative") }
    let before = try host.shell("ip addr; ip -4 route show table all; ip -6 route show table all; ip rule").output
    try up("works")
    try frontend.down("home", on: host).orThrow()
    try gone(after: "\(frontend.name) down")
    let after = try host.shell("ip addr; ip -4 route show table all; ip -6 route show table all; ip rule").output
    try lab.require(withoutLifetimes(before) == withoutLifetimes(after), "addresses, routes and rules are as before")

    try up("works a second time")
    for pid in host.daemons(of: lab.implementation) { kill(pid, SIGKILL) }
    try waitUntil("the daemon is dead", within: 5) { host.daemons(of: lab.implementation).isEmpty }
    try up("after kill -9 of the daemon works")

    try host.ip("link", "del", "home")
    try waitUntil("the daemon ends with its interface", within: 10) { host.daemons(of: lab.implementation).isEmpty }
    try up("after the interface was deleted works")

    let second = try frontend.up("home", on: host)
    try lab.require(!second.succeeded, "a second up is refused", second.complaints.trimmed)
    try lab.require(host.daemons(of: lab.implementation).count == 1, "and leaves the first one alone")
    try frontend.down("home", on: host).orThrow()
    try gone(after: "the last down")
    let idle = try frontend.down("home", on: host)
    try lab.require(!idle.succeeded, "down of what is not up is refused")
  }

  /// Interface counters aside, `ip addr` also shows time.
  private static func withoutLifetimes(_ text: String) -> [Substring] {
    text.split(separator: "\n").filter { !$0.contains("valid_lft") }
  }
}
