import Foundation

extension Scenario {
  /// A peer that changes its address and port while it talks.
  static let roaming = Scenario(
    "roaming", "the client's address and port change ten times under traffic, IPv4 to IPv6 and back"
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let capture = try tunnel.server.capture(on: "wan", "udp", packets: 200_000, bytes: 80)
    lab.say("the client pings a hundred times a second and moves ten times")
    let ping = try tunnel.client.startPing(Tunnel.serverInner.v6, count: 100_000, every: 0.01)

    var here = Place(address: Tunnel.clientOuter.v4, port: Tunnel.port)
    let v6 = [false, false, true, true, false, true, false, false, true, false]
    var moves: [(from: Place, to: Place)] = []
    for (step, isV6) in v6.enumerated() {
      let next = Place(
        address: isV6 ? "2001:db8:100::\(step + 20)" : "198.51.100.\(step + 20)", port: 40_000 + 7 * step)
      try tunnel.move(from: here, to: next)
      try waitUntil("the server answers at \(next)", within: 10) {
        try tunnel.serverNode.endpoint(of: tunnel.clientKey) == next.description
          && capture.packets().filter { next.isDestination(of: $0) }.count >= 20
      }
      moves.append((here, next))
      here = next
    }

    ping.program.send(SIGINT)
    let result = try ping.result(within: 20)
    capture.stop()
    let packets = try capture.packets()
    for move in moves {
      guard let arrival = packets.first(where: move.to.isSource)?.time,
        let answer = packets.first(where: { $0.time >= arrival && move.to.isDestination(of: $0) })?.time
      else { throw Disproved(claim: "the client was heard at \(move.to)", detail: "") }
      let delay = (answer - arrival) * 1000
      let late = packets.filter {
        $0.time > arrival + result.roundTrips.most / 1000 && $0.time < arrival + 0.1 && move.from.isDestination(of: $0)
      }
      try lab.require(
        delay <= result.roundTrips.most && late.isEmpty,
        String(format: "\(move.from) → \(move.to): answered there after %.3f ms", delay),
        "the longest round trip was \(result.roundTrips.most) ms, \(late.count) packets still went to the old place")
    }
    lab.say(
      "  round trips \(result.roundTrips.least)/\(result.roundTrips.mean)/\(result.roundTrips.most) ms, "
        + "\(result.lost) of \(result.sent) pings lost while the client was between two places")
  }

  /// The keepalive holds the door of a forgetful NAT box open.
  static let natKeepalive = Scenario(
    "nat-keepalive", "a NAT box that forgets after 2 seconds, a keepalive each second: the server still gets through",
    needs: Prerequisite.nat
  ) { lab in
    let tunnel = try Tunnel.behindNAT(in: lab, udpTimeout: 2, keepalive: 1)
    try tunnel.client.reach(Tunnel.serverInner.v4)
    try lab.require(
      tunnel.serverNode.endpoint(of: tunnel.clientKey).hasPrefix("203.0.113.1:"),
      "the server sees the NAT box's address")
    lab.say("ten silent seconds, with a keepalive each second")
    try pass(seconds: 10)
    try lab.require(
      tunnel.answers(from: tunnel.server, Tunnel.clientInner.v4), "the server reaches the client with its first ping")

    lab.say("the same without keepalives, to see that the door was the matter")
    try tunnel.clientNode.set("peer", tunnel.serverKey, "persistent-keepalive", "off")
    try pass(seconds: 6)
    try lab.require(
      !tunnel.answers(from: tunnel.server, Tunnel.clientInner.v4), "without keepalives the NAT box has shut the door")
    try lab.require(tunnel.answers(from: tunnel.client, Tunnel.serverInner.v4), "the client opens it again by talking")
  }

  /// The NAT box reboots and maps the client to another port.
  static let natRemap = Scenario(
    "nat-remap", "the NAT box loses its memory and maps the client to other ports, five times", needs: Prerequisite.nat
  ) { lab in
    let tunnel = try Tunnel.behindNAT(in: lab, udpTimeout: 30, keepalive: 1)
    try tunnel.client.reach(Tunnel.serverInner.v4)
    let router = lab.hosts.first { $0.name == "router" }!
    for step in 1...5 {
      let ports = 20_000 + 1000 * step...20_999 + 1000 * step
      try router.remap(out: "wan", to: ports)
      try waitUntil("the server follows to ports \(ports)", within: 10) {
        let port = try tunnel.serverNode.endpoint(of: tunnel.clientKey).split(separator: ":").last.flatMap { Int($0) }
        return port.map(ports.contains) ?? false
      }
      try lab.require(
        tunnel.answers(from: tunnel.server, Tunnel.clientInner.v6),
        "the server follows to \(tunnel.serverNode.endpoint(of: tunnel.clientKey))")
    }
  }
}

/// Where a client is: an address and a port.
private struct Place: CustomStringConvertible {
  let address: String
  let port: Int

  var description: String { address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)" }

  func isSource(of packet: CapturedPacket) -> Bool {
    packet.source == address && packet.sourcePort == port
  }

  func isDestination(of packet: CapturedPacket) -> Bool {
    packet.destination == address && packet.destinationPort == port
  }
}

extension Tunnel {
  /// Takes the client away from one place and to another, in one go.
  fileprivate func move(from: Place, to: Place) throws {
    let v6 = to.address.contains(":")
    let server = v6 ? "[\(Self.serverOuter.v6)]" : Self.serverOuter.v4
    let length = { (place: Place) in place.address.contains(":") ? "/64" : "/24" }
    try client.shell(
      """
      set -e
      ip addr del \(from.address)\(length(from)) dev wan
      ip addr add \(to.address)\(length(to)) dev wan \(v6 ? "nodad" : "")
      wg set wg0 listen-port \(to.port) peer \(serverKey) endpoint \(server):\(Self.port)
      """)
  }

  /// A client on a private network, a NAT box that hides it, a server on the public one.
  static func behindNAT(in lab: Lab, udpTimeout: Int, keepalive: Int) throws -> Tunnel {
    let tunnel = try Tunnel(in: lab, endpoint: "203.0.113.2:\(port)", keepalive: keepalive, cabled: false)
    let router = try lab.host("router")
    try lab.cable(tunnel.client.port("lan", "192.168.1.2/24"), router.port("lan", "192.168.1.1/24"))
    try lab.cable(router.port("wan", "203.0.113.1/24"), tunnel.server.port("wan", "203.0.113.2/24"))
    try router.masquerade(out: "wan", udpTimeout: udpTimeout)
    try tunnel.client.route(via: "192.168.1.1")
    return tunnel
  }
}
