import Foundation

extension Scenario {
  /// Datagrams of a real session, mistreated in every way, thrown back at both daemons by the thousand.
  static let wireAbuse = Scenario(
    "wire-abuse", "truncated, oversized, bit-flipped and replayed datagrams, from the peer's address and a stranger's"
  ) { lab in
    var random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it)")
    let tunnel = try Tunnel(in: lab, endpoint: "198.51.100.3:4000", cabled: false)
    let middle = try lab.host("middle")
    try lab.plug(
      [
        tunnel.client.port("wan", Tunnel.clientOuter.v4 + "/24"), middle.port("wan", "198.51.100.3/24"),
        tunnel.server.port("wan", Tunnel.serverOuter.v4 + "/24"),
      ], into: "switch")
    try middle.reach(Tunnel.serverOuter.v4)
    let server = try SocketAddress(Tunnel.serverOuter.v4, Tunnel.port)
    let relay = try Relay(on: middle, address: "198.51.100.3", port: 4000, server: server)
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

/// Numbered datagrams inside the tunnel, counted where they arrive.
private final class Delivery {
  private let client: DatagramSocket
  private let server: DatagramSocket
  private let toClient: SocketAddress
  private let toServer: SocketAddress
  private var next: UInt64 = 0
  private var arrivals: [UInt64: Int] = [:]

  init(_ tunnel: Tunnel) throws {
    client = try DatagramSocket(on: tunnel.client, address: Tunnel.clientInner.v4, port: 7000)
    server = try DatagramSocket(on: tunnel.server, address: Tunnel.serverInner.v4, port: 7000)
    toClient = try SocketAddress(Tunnel.clientInner.v4, 7000)
    toServer = try SocketAddress(Tunnel.serverInner.v4, 7000)
  }

  /// How many datagrams arrived more than once.
  var duplicates: Int {
    drain(patience: 0.2)
    return arrivals.values.reduce(0) { $0 + $1 - 1 }
  }

  /// Sends `count` datagrams each way, each after the one before has arrived.
  func exchange(count: Int) throws {
    for _ in 0..<count {
      try pass(from: client, to: toServer)
      try pass(from: server, to: toClient)
    }
  }

  /// A datagram may drown in a flood. The next attempt has the next number, so that twice the same is always a fault.
  private func pass(from sender: DatagramSocket, to target: SocketAddress) throws {
    try waitUntil("a datagram arrives", within: 20, every: 0) {
      next += 1
      sender.send((0..<8).map { UInt8(truncatingIfNeeded: next >> (8 * $0)) }, to: target)
      let end = Clock.seconds + 0.5
      while arrivals[next] == nil, Clock.seconds < end { drain(patience: 0.005) }
      return arrivals[next] != nil
    }
  }

  /// Takes in what has arrived, waiting up to `patience` for the first datagram.
  private func drain(patience: Double) {
    var questions = [server, client].map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    guard poll(&questions, 2, Int32(patience * 1000)) > 0 else { return }
    for socket in [server, client] {
      while let (bytes, _) = socket.receive(within: 0) {
        guard bytes.count == 8 else { continue }
        arrivals[bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }, default: 0] += 1
      }
    }
  }
}
