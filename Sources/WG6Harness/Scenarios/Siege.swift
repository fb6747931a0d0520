import Foundation

/// A server with a peer that has a session, a visitor that has none yet, and an attacker, each on a cable of its own. The
/// attacker knows the server's public key and may send from any address.
final class Siege {
  let lab: Lab
  let tunnel: Tunnel
  let visitor: Host
  let visitorNode: Node
  let attacker: Host
  let v4: SocketAddress
  let v6: SocketAddress
  var random: SeededGenerator

  /// The server's addresses on the attacker's cable, and on the visitor's.
  static let front = (v4: "203.0.113.1", v6: "2001:db8:200::1")
  static let side = "192.0.2.1"
  static let attackerAddress = (v4: "203.0.113.2", v6: "2001:db8:200::2")
  static let visitorInner = "10.66.0.3"
  /// Where the attacker's made-up addresses are; the server's answers to them go to the attacker.
  static let madeUp = (v4: "10.77.0.0", v6: "2001:db8:7700::", v6One: "2001:db8:7700:1::")

  init(in lab: Lab) throws {
    self.lab = lab
    random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it)")
    tunnel = try Tunnel(in: lab)
    visitor = try lab.host("visitor")
    attacker = try lab.host("attacker")
    let server = tunnel.server
    try lab.cable(
      server.port("front", Siege.front.v4 + "/24", Siege.front.v6 + "/64"),
      attacker.port("wan", Siege.attackerAddress.v4 + "/24", Siege.attackerAddress.v6 + "/64"))
    try lab.cable(server.port("side", Siege.side + "/24"), visitor.port("wan", "192.0.2.2/24"))
    try server.sysctl(["net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.front.rp_filter": "0"])
    try server.route("10.77.0.0/16", via: Siege.attackerAddress.v4)
    try server.route("2001:db8:7700::/40", via: Siege.attackerAddress.v6)
    v4 = try SocketAddress(Siege.front.v4, Tunnel.port)
    v6 = try SocketAddress(Siege.front.v6, Tunnel.port)

    visitorNode = try Node(on: visitor, lab.implementation, interface: "wg0")
    try visitorNode.configure(peers: [])
    try visitorNode.up([Siege.visitorInner + "/24"])
    try tunnel.serverNode.set("peer", visitorNode.keys.publicKey, "allowed-ips", Siege.visitorInner + "/32")
    try visitor.reach(Siege.side)
    try attacker.reach(Siege.front.v4)
    try attacker.reach(Siege.front.v6)
    try tunnel.establish()
  }

  var daemon: Program { tunnel.serverNode.daemon! }

  /// Sends `datagrams` from the attacker.
  func flood(
    _ datagrams: [[UInt8]], to target: SocketAddress? = nil, sources: Flood.Sources = .one, rate: Int, limit: Int = 0
  ) throws -> Flood {
    try Flood(
      from: attacker, to: target ?? v4, datagrams, sources: sources, rate: rate, limit: limit, random: &random)
  }

  /// The visitor knows nothing of the server any more, least of all a cookie.
  func makeVisitorFresh() throws {
    try visitorNode.set("peer", tunnel.serverKey, "remove")
    try visitorNode.set(
      "peer", tunnel.serverKey, "endpoint", "\(Siege.side):\(Tunnel.port)", "allowed-ips",
      Tunnel.serverInner.v4 + "/32")
  }

  /// The visitor has no session any more, and keeps its cookie.
  func endVisitorsSession() throws {
    try visitor.ip("link", "set", "wg0", "down")
    try visitor.ip("link", "set", "wg0", "up")
  }

  /// What the wire showed of one handshake of the visitor's; seconds between two messages.
  struct Handshake {
    /// From the first initiation to the answer.
    let total: Double
    /// From the first initiation that a cookie was enclosed in; nil where none was.
    let withCookie: Double?
    let initiations: Int
    let wasAskedForCookie: Bool
  }

  /// Has the visitor send something, and watches its handshake.
  func handshake(within seconds: Double = 20) throws -> Handshake {
    let capture = try visitor.capture(on: "wan", "udp and host \(Siege.side)", packets: 1000)
    defer { capture.stop() }
    _ = try visitor.start(["ping", "-q", "-n", "-c", "1", "-W", "1", Tunnel.serverInner.v4])
    var packets: [CapturedPacket] = []
    try waitUntil("the visitor has a session", within: seconds, every: 0.1) {
      packets = try capture.packets()
      return packets.contains { $0.messageType == 2 }
    }
    let initiations = packets.filter { $0.messageType == 1 }
    guard let first = initiations.first, let answer = packets.first(where: { $0.messageType == 2 }) else {
      throw Disproved(claim: "an answer follows an initiation", detail: "")
    }
    // mac2 is the last 16 bytes of 148.
    let enclosed = initiations.first { $0.payload[132..<148].contains { $0 != 0 } }
    return Handshake(
      total: answer.time - first.time, withCookie: enclosed.map { answer.time - $0.time },
      initiations: initiations.count, wasAskedForCookie: packets.contains { $0.messageType == 3 })
  }

  /// Bytes that have come to the attacker's port, and gone out of it, Ethernet headers and all.
  func attackersBytes() throws -> (received: Int, sent: Int) {
    let path = "/sys/class/net/wan/statistics"
    let numbers = try attacker.run("cat", "\(path)/rx_bytes", "\(path)/tx_bytes").lines.compactMap { Int($0) }
    return (numbers[0], numbers[1])
  }
}
