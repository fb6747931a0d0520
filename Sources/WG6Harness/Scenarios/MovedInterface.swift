import Foundation

extension Scenario {
  /// An interface that is not where `up` left it, as containers are given one.
  static let moved = Scenario(
    "moved",
    "the interface moved to another namespace, renamed, or its namespace deleted: it works there, and down ends all",
    needs: [
      .commandLine, .program("wireguard-go", package: "wireguard-go"), .program("unshare", package: "util-linux"),
      .program("nft", package: "nftables"),
    ]
  ) { lab in
    let ends: [(near: Implementation, far: Implementation, isIPv6: Bool)] = [
      (.wg6, .wireguardGo, false), (.wg6, .wireguardGo, true), (.wg6, .wg6, true), (.wireguardGo, .wg6, false),
    ]
    for (number, ends) in ends.enumerated() {
      lab.say(
        "\(ends.near.rawValue) here, \(ends.far.rawValue) at the other end, over IPv\(ends.isIPv6 ? 6 : 4)")
      let round = try MovedRound(in: lab, number: number, near: ends.near, far: ends.far, isIPv6: ends.isIPv6)
      for fate in MovedRound.Fate.allCases { try round.play(fate, in: lab) }
    }
  }
}

/// A tunnel between two hosts, brought up and taken down by `wg6`.
private struct MovedRound {
  enum Fate: String, CaseIterable {
    case moved = "moved to another namespace"
    case renamed = "renamed"
    case deleted = "moved to a namespace that ends"
  }

  let host: Host
  let far: Host
  let near: Implementation
  let keys: KeyPair
  let farKey: String
  let endpoint: String
  let far4 = "10.66.0.2", far6 = "fd66::2"

  init(in lab: Lab, number: Int, near: Implementation, far implementation: Implementation, isIPv6: Bool) throws {
    let (host, far) = (try lab.host("home\(number)"), try lab.host("far\(number)"))
    self.host = host
    self.far = far
    self.near = near
    try lab.cable(
      host.port("wan", "198.51.100.1/24", "2001:db8:100::1/64"),
      far.port("wan", "198.51.100.2/24", "2001:db8:100::2/64"))
    endpoint = isIPv6 ? "[2001:db8:100::2]:51820" : "198.51.100.2:51820"
    keys = try KeyPair.fresh(lab)
    let node = try Node(on: far, implementation, interface: "wg0")
    farKey = node.keys.publicKey
    try node.configure(
      listenPort: 51820,
      peers: [
        PeerSettings(
          keys.publicKey, endpoint: isIPv6 ? "[2001:db8:100::1]:51820" : "198.51.100.1:51820",
          allowedIPs: ["10.66.0.1/32", "fd66::1/128"])
      ])
    try node.up(["\(far4)/24", "\(far6)/64"])
    for address in ["198.51.100.2", "2001:db8:100::2"] { try host.reach(address) }
    try waitUntil("no address is tentative any longer") { try !host.shell("ip -6 addr").output.contains("tentative") }
  }

  func play(_ fate: Fate, in lab: Lab) throws {
    // What is renamed is nothing to rules and filters that know the name.
    let allowedIPs = fate == .renamed ? "10.66.0.0/24, fd66::/64" : "0.0.0.0/0, ::/0"
    try Files.write(
      """
      [Interface]
      PrivateKey = \(keys.privateKey)
      ListenPort = 51820
      Address = 10.66.0.1/24, fd66::1/64

      [Peer]
      PublicKey = \(farKey)
      Endpoint = \(endpoint)
      AllowedIPs = \(allowedIPs)

      """, to: host.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
    let before = try state()
    _ = try host.run([wg6(), "up", "home"], environment: near == .wg6 ? [:] : ["WG6D": try near.daemon()])
    for (from, to) in [(host, [far4, far6]), (far, ["10.66.0.1", "fd66::1"])] {
      for address in to { try from.reach(address) }
    }

    switch fate {
    case .moved:
      let container = try lab.host("\(host.name)c")
      try host.ip("link", "set", "home", "netns", container.namespace)
      try dress("home") { try container.run(["ip"] + $0) }
      try lab.require(
        answers { try container.attempt($0, within: 10) }, "\(fate.rawValue), it still carries both families")
      let again = try host.attempt([wg6(), "up", "home"])
      try lab.require(
        !again.succeeded && again.complaints.contains("moved"), "up says where it is", again.complaints.trimmed)
      try lab.require(answers { try container.attempt($0, within: 10) }, "and leaves it alone")
    case .renamed:
      for words in [["home", "down"], ["home", "name", "other"]] { try host.run(["ip", "link", "set"] + words) }
      try dress("other") { try host.run(["ip"] + $0) }
      try lab.require(answers { try host.attempt($0, within: 10) }, "\(fate.rawValue), it still carries both families")
    case .deleted:
      let container = try host.start(["unshare", "--net", "sleep", "600"])
      let process = "\(container.pid)"
      let nsenter = ["nsenter", "--net=/proc/\(process)/ns/net"]
      try waitUntil("the container has its namespace", within: 10) {
        try host.run(["readlink", "/proc/\(process)/ns/net"]).line != host.run(["readlink", "/proc/self/ns/net"]).line
      }
      try host.ip("link", "set", "home", "netns", process)
      try dress("home") { try host.run(nsenter + ["ip"] + $0) }
      try lab.require(
        answers { try host.attempt(nsenter + $0, within: 10) }, "\(fate.rawValue), it carries both families until then")
      container.stop(SIGKILL)
    }

    let start = DispatchTime.now()
    let down = try host.attempt([wg6(), "down", "home"])
    let took = Double(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds) / 1e6
    try lab.require(
      down.succeeded && took < 1000, "\(fate.rawValue), down takes \(Int(took)) ms", down.complaints.trimmed)
    try lab.require(host.remains(of: "home", near).isEmpty, "no daemon, socket or route stays")
    let places = try [host, far].map { try $0.shell("ip -o link").output }.joined()
    try lab.require(
      !places.contains("other:") && state() == before, "addresses, rules, routes and filters are as before")
  }

  private func wg6() throws -> String { try Binaries.path(of: "wg6") }

  /// Gives the interface the addresses that it lost on its way.
  private func dress(_ interface: String, _ ip: ([String]) throws -> Void) throws {
    try ip(["link", "set", interface, "up"])
    try ip(["address", "replace", "10.66.0.1/24", "dev", interface])
    try ip(["address", "replace", "fd66::1/64", "dev", interface, "nodad"])
  }

  private func answers(_ attempt: ([String]) throws -> Outcome) throws -> Bool {
    try [far4, far6].allSatisfy {
      try attempt(["ping", "-q", "-n", "-c", "3", "-i", "0.2", "-W", "2", $0]).succeeded
    }
  }

  private func state() throws -> [Substring] {
    try host.shell(
      "ip addr; ip -4 route show table all; ip -6 route show table all; ip rule; ip -6 rule; nft list tables"
    ).output.split(separator: "\n").filter { !$0.contains("valid_lft") }
  }
}
