import Foundation

extension Scenario {
  /// Datagrams of a real session, mistreated in every way, thrown back at both daemons by the thousand.
  static let wireAbuse = Scenario(
    "wire-abuse", "truncated, oversized, bit-flipped and replayed datagrams, from the peer's address and a stranger's"
  ) { lab in
    var random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it)")
    let (tunnel, middle, relay) = try Tunnel.relayed(in: lab)
    let server = try SocketAddress(Tunnel.serverOuter.v4, Tunnel.port)
    defer { relay.stop() }
    try tunnel.establish()

    // What is inside: numbered datagrams both ways, each to arrive once.
    let inside = try Delivery(tunnel)
    try inside.exchange(count: 1000)
    try lab.require(inside.duplicates == 0, "2,000 numbered datagrams went through a relay, each arrived once")
    let recorded = relay.recorded
    lab.say("recorded \(recorded.count) datagrams of the session")

    let stranger = try DatagramSocket(on: middle, address: "198.51.100.3", port: 0)
    let endpoint = try tunnel.serverNode.endpoint(of: tunnel.clientKey)
    var thrown: [Mistreatment: Int] = [:]
    for round in 0..<8_000 {
      let victim = recorded.randomElement(using: &random)!
      let kind = Mistreatment.allCases[round % Mistreatment.allCases.count]
      let bytes = kind.applied(to: victim.bytes, &random)
      thrown[kind, default: 0] += 1
      if round % 3 == 0 { stranger.send(bytes, to: server) } else { relay.inject(bytes, victim.direction) }
      // The flood is not the point here: let the receivers keep up.
      if round % 64 == 63 { try inside.exchange(count: 1) }
    }
    // Every recorded datagram again, in order, as a whole.
    for datagram in recorded { relay.inject(datagram.bytes, datagram.direction) }
    for datagram in recorded where datagram.direction == .toServer { stranger.send(datagram.bytes, to: server) }
    lab.say(
      "thrown: " + thrown.map { "\($0.value) \($0.key.rawValue)" }.sorted().joined(separator: ", ")
        + ", and the whole recording twice")

    try inside.exchange(count: 500)
    try lab.require(
      tunnel.clientNode.daemon!.isRunning && tunnel.serverNode.daemon!.isRunning, "both daemons are alive")
    try lab.require(inside.duplicates == 0, "nothing was delivered twice", "\(inside.duplicates) were")
    try lab.require(
      tunnel.serverNode.endpoint(of: tunnel.clientKey) == endpoint, "no replay from a stranger moved the peer",
      try tunnel.serverNode.endpoint(of: tunnel.clientKey))
    let flood = try tunnel.client.floodPing(Tunnel.serverInner.v6, count: 1000)
    try lab.require(flood.lost == 0, "the tunnel goes on: 1,000 pings, none lost", "\(flood.lost) lost")
  }
}

/// What one may do to a datagram.
private enum Mistreatment: String, CaseIterable {
  case truncated, oversized
  case flipped = "bit-flipped"
  case replayed
  case retyped = "of another type"
  case noise = "of noise"

  func applied(to bytes: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    switch self {
    case .truncated:
      return Array(bytes.prefix(Int.random(in: 0..<max(1, bytes.count), using: &random)))
    case .oversized:
      let extra = [1, 15, 16, 1500, 65_507 - bytes.count].randomElement(using: &random)!
      return bytes + (0..<max(1, extra)).map { _ in UInt8.random(in: 0...255, using: &random) }
    case .flipped:
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
      }
      return bytes
    case .replayed:
      return bytes
    case .retyped:
      bytes[0] = UInt8.random(in: 0...255, using: &random)
      return bytes
    case .noise:
      let count = Int.random(in: 0...200, using: &random)
      var noise = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      // Half of it at least looks like a message.
      if count > 4, Bool.random(using: &random) {
        noise.replaceSubrange(0..<4, with: [UInt8.random(in: 1...4, using: &random), 0, 0, 0])
      }
      return noise
    }
  }
}
