/// A LAN behind a host that tunnels for it: 192.168.7.0/24 and fd07::/64, with a laptop in it.
struct RoutedLAN {
  static let gateways = ["192.168.7.1", "fd07::1"]
  static let prefixes = ["192.168.7.0/24", "fd07::/64"]
  static let laptop = ["192.168.7.2", "fd07::2"]

  let laptop: Host

  init(behind home: Host, _ laptop: Host, in lab: Lab) throws {
    self.laptop = laptop
    try lab.cable(
      home.port("lan", "192.168.7.1/24", "fd07::1/64"), laptop.port("lan", "192.168.7.2/24", "fd07::2/64"))
    for gateway in Self.gateways { try laptop.route(via: gateway) }
  }

  func reachesItsGateways() throws {
    for gateway in Self.gateways { try laptop.reach(gateway) }
  }

  /// The far end of the LAN's tunnel, whose near end is 10.66.0.2 and fd66::2, and has `keys`; `destinations` lie behind it.
  func server(
    on net: Host, for keys: KeyPair, leadingTo destinations: (v4: String, v6: String), in lab: Lab
  ) throws -> Node {
    let server = try Node(on: net, lab.implementation, interface: "wg0")
    try server.configure(
      listenPort: 51820,
      peers: [PeerSettings(keys.publicKey, allowedIPs: ["10.66.0.2/32", "fd66::2/128"] + Self.prefixes)])
    try server.up(["10.66.0.1/24", "fd66::1/64"])
    for prefix in Self.prefixes { try net.ip("route", "add", prefix, "dev", "wg0") }
    try net.ip("addr", "add", destinations.v4 + "/32", "dev", "lo")
    try net.ip("addr", "add", destinations.v6 + "/128", "dev", "lo", "nodad")
    return server
  }
}
