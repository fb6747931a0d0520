/// The smallest tunnel: a client and a server on one cable, a WireGuard interface on each, IPv4 and IPv6 inside.
///
/// Most scenarios begin with it and then do something to it. Addresses are the ones set aside for documentation.
final class Tunnel {
  let client: Host
  let server: Host
  let clientNode: Node
  let serverNode: Node

  static let clientOuter = (v4: "198.51.100.2", v6: "2001:db8:100::2")
  static let serverOuter = (v4: "198.51.100.1", v6: "2001:db8:100::1")
  static let clientInner = (v4: "10.66.0.2", v6: "fd66::2")
  static let serverInner = (v4: "10.66.0.1", v6: "fd66::1")
  static let port = 51820

  /// Cables the two, starts the daemons and configures them. Nothing has been sent yet.
  ///
  /// `implementation` is the lab's, unless several stand side by side. `suffix` tells the hosts of several tunnels in one
  /// lab apart. `prepare` is handed the server before its daemon starts. The server is of the client's implementation and
  /// has its `environment`, unless something else is said.
  init(
    in lab: Lab, _ implementation: Implementation? = nil, suffix: String = "", endpoint: String = "198.51.100.1:51820",
    keepalive: Int? = nil,
    environment: [String: String] = [:], serverEnvironment: [String: String]? = nil,
    serverImplementation: Implementation? = nil, cabled: Bool = true, v6Inside: Bool = true,
    prepare: (Host) throws -> Void = { _ in }
  ) throws {
    client = try lab.host("client" + suffix)
    server = try lab.host("server" + suffix)
    if cabled {
      try lab.cable(
        client.port("wan", Self.clientOuter.v4 + "/24", Self.clientOuter.v6 + "/64"),
        server.port("wan", Self.serverOuter.v4 + "/24", Self.serverOuter.v6 + "/64"))
    }
    try prepare(server)
    let implementation = implementation ?? lab.implementation
    clientNode = try Node(on: client, implementation, interface: "wg0", environment: environment)
    serverNode = try Node(
      on: server, serverImplementation ?? implementation, interface: "wg0",
      environment: serverEnvironment ?? environment)
    try serverNode.configure(
      listenPort: Self.port,
      peers: [PeerSettings(clientKey, allowedIPs: [Self.clientInner.v4 + "/32", Self.clientInner.v6 + "/128"])])
    try clientNode.configure(
      listenPort: Self.port,
      peers: [
        PeerSettings(
          serverKey, endpoint: endpoint, allowedIPs: [Self.serverInner.v4 + "/32", Self.serverInner.v6 + "/128"],
          keepalive: keepalive)
      ])
    try serverNode.up([Self.serverInner.v4 + "/24"] + (v6Inside ? [Self.serverInner.v6 + "/64"] : []))
    try clientNode.up([Self.clientInner.v4 + "/24"] + (v6Inside ? [Self.clientInner.v6 + "/64"] : []))
  }

  var clientKey: String { clientNode.keys.publicKey }
  var serverKey: String { serverNode.keys.publicKey }

  /// Waits until the client has an answer through the tunnel, on both families.
  func establish() throws {
    try client.reach(Self.serverInner.v4)
    try client.reach(Self.serverInner.v6)
  }

  /// Whether one ping in a direction is answered; `options` go to `ping`.
  func answers(from host: Host, _ target: String, _ options: String...) throws -> Bool {
    try host.attempt(["ping", "-q", "-n", "-c", "1", "-W", "2"] + options + [target], within: 10).succeeded
  }

  /// The same over a relay on a host between the two, which the client takes for the server.
  static func relayed(
    in lab: Lab, weather: Relay.Weather = Relay.Weather(), random: SeededGenerator = SeededGenerator(seed: 1)
  ) throws -> (tunnel: Tunnel, middle: Host, relay: Relay) {
    let address = "198.51.100.3"
    let tunnel = try Tunnel(in: lab, endpoint: "\(address):4000", cabled: false)
    let middle = try lab.host("middle")
    try lab.plug(
      [
        tunnel.client.port("wan", clientOuter.v4 + "/24"), middle.port("wan", address + "/24"),
        tunnel.server.port("wan", serverOuter.v4 + "/24"),
      ], into: "switch")
    try middle.reach(serverOuter.v4)
    let server = try SocketAddress(serverOuter.v4, port)
    let relay = try Relay(on: middle, address: address, port: 4000, server: server, weather: weather, random: random)
    return (tunnel, middle, relay)
  }
}
