import Foundation

extension Scenario {
  /// Every byte on the wire is in the counters, and nothing else is.
  static let counters = Scenario(
    "counters", "the transfer counters of both sides, to the byte, for packets of many lengths"
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    let ledger = try Ledger(tunnel)
    try waitUntil("the cable carries packets", within: 15) {
      try tunnel.answers(from: tunnel.client, Tunnel.serverOuter.v4)
    }
    // `ping` waits but two round trips for its last answer, which may be too short; the counters tell whether it came.
    _ = try tunnel.client.floodPing(Tunnel.serverInner.v4, count: 10)
    // 84 bytes of packet, padded to 96, and 32 of header and tag; the initiation's 148 and the response's 92.
    try ledger.require(
      lab, toServer: 148 + 10 * (96 + 32), toClient: 92 + 10 * (96 + 32),
      "ten pings and a handshake: 1,428 bytes to the server and 1,372 back, padding and tags included")
    let now = Int(Date().timeIntervalSince1970)
    for (node, peer) in [(tunnel.clientNode, tunnel.serverKey), (tunnel.serverNode, tunnel.clientKey)] {
      let age = now - (try node.latestHandshake(with: peer))
      try lab.require((-1...15).contains(age), "\(node.machine.name) shows a handshake \(age) s ago")
    }

    var (toServer, toClient) = (148 + 1280, 92 + 1280)
    for (address, header) in [(Tunnel.serverInner.v4, 28), (Tunnel.serverInner.v6, 48)] {
      // From the smallest ping to the largest packet, with every rest modulo 16 and both sides of the last multiple.
      let payloads = [0, 1, 7, 100, 1000] + (1400...1420).map { $0 - header }
      for payload in payloads {
        _ = try tunnel.client.floodPing(address, count: 3, "-s", "\(payload)", "-M", "do")
        let padded = min((payload + header + 15) / 16 * 16, 1420)
        toServer += 3 * (padded + 32)
        toClient += 3 * (padded + 32)
      }
      try ledger.require(
        lab, toServer: toServer, toClient: toClient,
        "\(payloads.count) lengths up to 1,420 to \(address): exactly the padded lengths and 32 each")
    }
    try ledger.requireCapture(lab)
  }
}

/// What the counters of both sides should say.
private struct Ledger {
  let tunnel: Tunnel
  let capture: Capture

  init(_ tunnel: Tunnel) throws {
    self.tunnel = tunnel
    // Whole, for messages that were sent as one are captured as one.
    capture = try tunnel.client.capture(on: "wan", "udp port \(Tunnel.port)", bytes: 65_535)
  }

  /// Fails unless both sides' counters say `toServer` and `toClient`, and as much more as keepalives were captured: on a
  /// slow machine ten seconds may pass, and then one is due.
  func require(_ lab: Lab, toServer: Int, toClient: Int, _ claim: String) throws {
    var seen = ""
    // The last datagram may still be on its way into a counter or the capture.
    try? waitUntil("the counters agree", within: 3) {
      let packets = try capture.packets()
      let keepalives = { (isToServer: Bool) in
        packets.filter { ($0.source == Tunnel.clientOuter.v4) == isToServer && $0.payload.count == 32 }.count * 32
      }
      let expected = (toServer + keepalives(true), toClient + keepalives(false))
      let client = try tunnel.clientNode.transfer(with: tunnel.serverKey)
      let server = try tunnel.serverNode.transfer(with: tunnel.clientKey)
      seen =
        "expected \(expected), the client says \((client.sent, client.received)), the server "
        + "\((server.received, server.sent))"
      if (client.sent, client.received) == expected && (server.received, server.sent) == expected { seen = "" }
      return seen.isEmpty
    }
    try lab.require(seen.isEmpty, claim, seen)
  }

  /// The same by another witness.
  func requireCapture(_ lab: Lab) throws {
    var seen = ""
    try? waitUntil("the capture agrees", within: 3) {
      let packets = try capture.packets()
      let sum = { (isToServer: Bool) in
        packets.filter { ($0.source == Tunnel.clientOuter.v4) == isToServer }.reduce(0) { $0 + $1.payload.count }
      }
      let counted = try tunnel.clientNode.transfer(with: tunnel.serverKey)
      seen = "captured \(sum(true)) and \(sum(false)), counted \(counted.sent) and \(counted.received)"
      return sum(true) == counted.sent && sum(false) == counted.received
    }
    let counted = try tunnel.clientNode.transfer(with: tunnel.serverKey)
    try lab.require(
      seen == "captured \(counted.sent) and \(counted.received), counted \(counted.sent) and \(counted.received)",
      "a capture on the cable saw the same number of bytes, \(counted.sent) there and \(counted.received) back", seen)
  }
}
