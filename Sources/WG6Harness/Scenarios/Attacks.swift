import Foundation

/// One way to flood a server.
struct Attack {
  let name: String
  let datagrams: [[UInt8]]
  let target: SocketAddress
  var sources = Flood.Sources.one
  var rate = Attack.rate
  /// Whether these are messages that a stranger's handshake could begin with, so that cookies are to be expected.
  var isHandshake = false

  /// Datagrams a second, where the size allows it.
  static let rate = 50_000

  /// Every attack by one who knows the server's public key and has recorded a conversation.
  static func all(on siege: Siege, recording: Recording) throws -> [Attack] {
    try handshakes(siege, recording) + data(siege, recording) + junk(siege)
  }

  /// Messages with a genuine mac1. `count` of them are made beforehand, and sent over and over.
  static func handshakes(_ siege: Siege, _ recording: Recording, count: Int = 2000) throws -> [Attack] {
    let strangers = try Stranger(knowing: siege.tunnel.serverKey).initiations(count)
    return [
      Attack(name: "initiations from one source", datagrams: strangers, target: siege.v4, isHandshake: true),
      Attack(
        name: "initiations from 4,096 IPv4 addresses", datagrams: strangers, target: siege.v4,
        sources: .many(under: Siege.madeUp.v4, prefixBytes: 2, count: 4096), isHandshake: true),
      Attack(
        name: "initiations from 4,096 addresses of one /64", datagrams: strangers, target: siege.v6,
        sources: .many(under: Siege.madeUp.v6One, prefixBytes: 8, count: 4096), isHandshake: true),
      Attack(
        name: "initiations from 65,536 IPv6 networks", datagrams: strangers, target: siege.v6,
        sources: .many(under: Siege.madeUp.v6, prefixBytes: 5, count: 65_536), isHandshake: true),
      Attack(
        name: "a peer's recorded initiations again", datagrams: recording.initiations, target: siege.v4,
        isHandshake: true),
    ]
  }

  /// One who takes the cookie, and floods from the address that it was made for: what is left then is a limit for each
  /// source.
  static func withCookie(_ siege: Siege) throws -> Attack {
    let socket = try DatagramSocket(on: siege.attacker, address: Siege.attackerAddress.v4, port: 5353)
    let stranger = try Stranger(knowing: siege.tunnel.serverKey)
    let flood = try siege.flood(try stranger.initiations(100), rate: rate)
    defer { _ = flood.stop() }
    try waitUntil("the attacker gets a cookie", within: 10) {
      socket.send(stranger.initiation(), to: siege.v4)
      guard let (reply, _) = socket.receive(within: 0.2), reply.first == 3 else { return false }
      stranger.take(cookieReply: reply)
      return stranger.initiation().suffix(16).contains { $0 != 0 }
    }
    return Attack(
      name: "initiations with a genuine cookie", datagrams: try stranger.initiations(1000), target: siege.v4,
      sources: .socket(socket))
  }

  /// Data messages, and cookie replies that nobody asked for.
  private static func data(_ siege: Siege, _ recording: Recording) -> [Attack] {
    var random = siege.random
    let lengths = [32, 48, 112, 576, 1452]
    func data(_ index: [UInt8]?) -> [[UInt8]] {
      (0..<500).map { _ in
        let index = index ?? random.bytes(4)
        return [4, 0, 0, 0] + index + random.bytes(lengths.randomElement(using: &random)! - 8)
      }
    }
    func cookies(_ index: [UInt8]?) -> [[UInt8]] {
      (0..<500).map { _ in [3, 0, 0, 0] + (index ?? random.bytes(4)) + random.bytes(56) }
    }
    return [
      Attack(name: "data under unknown indices", datagrams: data(nil), target: siege.v4),
      Attack(name: "data under an index seen on the wire", datagrams: data(recording.index), target: siege.v4),
      Attack(name: "a recorded conversation again", datagrams: recording.data, target: siege.v4),
      Attack(
        name: "forged cookie replies", datagrams: cookies(nil) + cookies(recording.index), target: siege.v4),
    ]
  }

  /// Noise of every size, half of it with the beginning of a message.
  private static func junk(_ siege: Siege) -> [Attack] {
    var random = siege.random
    func noise(_ length: Int) -> [UInt8] {
      let bytes = random.bytes(length)
      return Bool.random(using: &random)
        ? [UInt8.random(in: 0...5, using: &random), 0, 0, 0] + bytes.dropFirst(4) : bytes
    }
    return [
      Attack(name: "junk of 0 to 1,472 bytes", datagrams: (0...1472).map(noise), target: siege.v4),
      Attack(
        name: "junk of up to 65,507 bytes", datagrams: (0..<64).map { noise(65_507 - $0 * 1000) }, target: siege.v4,
        rate: 2000),
    ]
  }
}

/// What somebody on the path has kept of a conversation with the server.
struct Recording {
  let initiations: [[UInt8]]
  let data: [[UInt8]]

  /// Records a handshake and some traffic of the tunnel's client.
  init(_ siege: Siege) throws {
    let client = siege.tunnel.client
    let capture = try client.capture(
      on: "wan", "udp and dst host \(Tunnel.serverOuter.v4)", packets: 2000, bytes: 2000)
    try client.ip("link", "set", "wg0", "down")
    try client.ip("link", "set", "wg0", "up")
    try client.reach(Tunnel.serverInner.v4)
    _ = try client.floodPing(Tunnel.serverInner.v4, count: 500)
    capture.stop()
    let payloads = try capture.packets().map(\.payload)
    initiations = payloads.filter { $0.first == 1 }
    data = payloads.filter { $0.first == 4 }
    guard !initiations.isEmpty, data.count >= 500 else {
      throw Disproved(claim: "a conversation was recorded", detail: "\(payloads.count) datagrams")
    }
  }

  /// The server's receiver index of that session.
  var index: [UInt8] { Array(data[data.count - 1][4..<8]) }
}

extension SeededGenerator {
  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
  }
}
