import Foundation

/// Two hosts, a cable, and a contender's tunnel over it: what one measurement runs on.
final class Testbed {
  /// The version of IP that packets are of.
  enum Family: String { case v4, v6 }

  /// How the cable treats the large packets that the kernel hands it.
  enum Cable: String, CaseIterable, Codable, Sendable {
    /// They cross it whole, as no real cable lets them.
    case whole
    /// The kernel cuts them to the MTU before, as for a network card that can't.
    case segmented
  }

  let contender: Contender
  let client: Host
  let server: Host
  private let tunnel: Tunnel?
  private var lans: (near: Host, far: Host)?

  /// What a packet may measure in the tunnel, and without one just so that segments are of one size for all.
  private static let innerMTU = 1420

  init(_ contender: Contender, in lab: Lab) throws {
    self.contender = contender
    let suffix = "-" + contender.rawValue
    if let implementation = contender.implementation {
      let tunnel = try Tunnel(in: lab, implementation, suffix: suffix, environment: contender.environment)
      (client, server) = (tunnel.client, tunnel.server)
      self.tunnel = tunnel
    } else {
      (client, server) = (try lab.host("client" + suffix), try lab.host("server" + suffix))
      try lab.cable(
        client.port("wan", Tunnel.clientInner.v4 + "/24", Tunnel.clientInner.v6 + "/64"),
        server.port("wan", Tunnel.serverInner.v4 + "/24", Tunnel.serverInner.v6 + "/64"), mtu: Self.innerMTU)
      tunnel = nil
    }
    try client.reach(address(.v4))
    try client.reach(address(.v6))
    try Throughput.serve(on: server)
  }

  /// The server's address at the far end of the tunnel.
  func address(_ family: Family) -> String { family == .v4 ? Tunnel.serverInner.v4 : Tunnel.serverInner.v6 }

  /// The daemons, the client's first; none without a tunnel.
  var daemons: [Program] { tunnel.map { [$0.clientNode, $0.serverNode].compactMap(\.daemon) } ?? [] }

  /// Has the tunnel's own packets go over this family, and waits until they do so both ways.
  func goOver(_ outer: Family) throws {
    guard let tunnel else { return }
    let address = outer == .v4 ? Tunnel.serverOuter.v4 : "[\(Tunnel.serverOuter.v6)]"
    try client.reach(outer == .v4 ? Tunnel.serverOuter.v4 : Tunnel.serverOuter.v6)
    try waitUntil("\(contender.rawValue) goes over IP\(outer.rawValue)", within: 20) {
      // Again and again: an answer that is still under way the old way moves the client's endpoint back.
      try tunnel.clientNode.set("peer", tunnel.serverKey, "endpoint", "\(address):\(Tunnel.port)")
      try client.reach(self.address(.v4))
      return try tunnel.serverNode.endpoint(of: tunnel.clientKey).hasPrefix("[") == (outer == .v6)
    }
  }

  /// The host that the LAN behind the server consists of.
  static let farAddress = "192.168.2.2"

  /// A host on a LAN behind the client, and one behind the server, with the two as routers; made when first asked for.
  func networks() throws -> (near: Host, far: Host) {
    if let lans { return lans }
    let suffix = "-" + contender.rawValue
    let (near, far) = (try client.lab.host("near" + suffix), try client.lab.host("far" + suffix))
    try client.lab.cable(near.port("lan", "192.168.1.2/24"), client.port("lan", "192.168.1.1/24"))
    try client.lab.cable(far.port("lan", Self.farAddress + "/24"), server.port("lan", "192.168.2.1/24"))
    try near.route(via: "192.168.1.1")
    try far.route(via: "192.168.2.1")
    try client.route("192.168.2.0/24", via: Tunnel.serverInner.v4)
    try server.route("192.168.1.0/24", via: Tunnel.clientInner.v4)
    for router in [client, server] { try router.sysctl(["net.ipv4.ip_forward": "1"]) }
    if let tunnel {
      let (client, server) = (Tunnel.clientInner, Tunnel.serverInner)
      try tunnel.clientNode.set(
        "peer", tunnel.serverKey, "allowed-ips", "\(server.v4)/32,\(server.v6)/128,192.168.2.0/24")
      try tunnel.serverNode.set(
        "peer", tunnel.clientKey, "allowed-ips", "\(client.v4)/32,\(client.v6)/128,192.168.1.0/24")
    }
    try near.reach(Self.farAddress)
    lans = (near, far)
    return (near, far)
  }

  /// Has the cable take large packets whole, as a fresh one does, or not.
  func set(_ cable: Cable) throws {
    let state = cable == .whole ? "on" : "off"
    for host in [client, server] {
      let features = ["tso", "gso", "tx-udp-segmentation"].flatMap { [$0, state] }
      // Nothing puts segments together behind it either; nor does it from the start, and to switch that on is to switch
      // to another way of receiving, with a short queue.
      try host.run(["ethtool", "-K", "wan", "gro", "off"] + features)
    }
  }
}
