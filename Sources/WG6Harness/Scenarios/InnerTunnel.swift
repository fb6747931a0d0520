/// A second tunnel between the same two hosts, inside the first.
///
/// To the first one it is a program that sends many datagrams of one size at once: what it makes are super-packets of UDP.
struct InnerTunnel {
  let clientNode: Node
  let serverNode: Node

  static let client = (v4: "10.67.0.2", v6: "fd67::2")
  static let server = (v4: "10.67.0.1", v6: "fd67::1")
  /// What fits into the first tunnel's 1420 bytes.
  static let mtu = 1340

  /// `overV4` says which of the first tunnel's families carries it.
  init(_ lab: Lab, _ tunnel: Tunnel, overV4: Bool = false, environment: [String: String] = [:]) throws {
    clientNode = try Node(on: tunnel.client, lab.implementation, interface: "wg1", environment: environment)
    serverNode = try Node(on: tunnel.server, lab.implementation, interface: "wg1", environment: environment)
    try serverNode.configure(
      listenPort: 51_821,
      peers: [PeerSettings(clientNode.keys.publicKey, allowedIPs: [Self.client.v4 + "/32", Self.client.v6 + "/128"])])
    try clientNode.configure(
      listenPort: 51_821,
      peers: [
        PeerSettings(
          serverNode.keys.publicKey,
          endpoint: (overV4 ? Tunnel.serverInner.v4 : "[\(Tunnel.serverInner.v6)]") + ":51821",
          allowedIPs: [Self.server.v4 + "/32", Self.server.v6 + "/128"])
      ])
    try serverNode.up([Self.server.v4 + "/24", Self.server.v6 + "/64"], mtu: Self.mtu)
    try clientNode.up([Self.client.v4 + "/24", Self.client.v6 + "/64"], mtu: Self.mtu)
  }
}
