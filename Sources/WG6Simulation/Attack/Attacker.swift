import WG6Crypto
import WG6Protocol

/// Somebody who reads everything on the wire, and puts onto it what he likes. Knows the public keys, and no other.
public final class Attacker {
  /// What he can do.
  public enum Arm: CaseIterable, Sendable {
    /// Sends something of the last while again: as it was, from elsewhere, or to somebody else.
    case replay
    /// Sends something back to who sent it.
    case reflect
    /// Noise, some of it with a type and a length as they should be.
    case junk
    /// Something recorded with one bit changed.
    case flip
    /// Data for an index that is in use, or for one that may be, with any counter.
    case data
    /// An initiation or a response whose first mac is right, and nothing else.
    case mac1
    /// A cookie reply to the last initiation: noise, or sealed as only who knows the public key can.
    case cookie
    /// An initiation by somebody whom nobody knows.
    case stranger
  }

  /// Where he sends from when he does not spoof.
  public let endpoint: Endpoint
  public private(set) var sent = 0

  private let arms: [Arm]
  private unowned let world: World
  private var random: SeededRandom
  private let mallory: Device
  private var targets: [Host]
  /// His own datagrams are quick.
  private let link: Link

  public init(in world: World, targets: [Host], arms: [Arm] = Arm.allCases) {
    self.world = world
    self.targets = targets
    self.arms = arms
    random = SeededRandom(seed: world.random.next())
    endpoint = Endpoint(address: .v4(0xC633_6400 + UInt32(random.below(250))), port: 4444)
    var link = Link()
    link.delay = Limits.millisecond
    self.link = link
    mallory = Device(using: SeededRandom(seed: random.next()))
    var update = DeviceUpdate()
    update.privateKey = .set(PrivateKey(using: &random))
    update.peers = targets.map { target in
      var peer = PeerUpdate(target.publicKey)
      peer.endpoint = target.endpoint
      return peer
    }
    mallory.apply(update, now: world.now)
  }

  /// Strikes at random, about once in `interval`, until `end`.
  public func strike(every interval: Nanoseconds, until end: Nanoseconds) {
    guard world.now.monotonic < end else { return }
    world.after(random.duration(interval / 2, interval * 3 / 2)) { [self] world in
      strike()
      strike(every: interval, until: end)
    }
  }

  /// Does one thing, to one target.
  public func strike() {
    let target = random.pick(targets)
    switch random.pick(arms) {
    case .replay: replay(target)
    case .reflect:
      guard let recorded = recorded() else { return }
      send(recorded.bytes, to: recorded.source, from: source(for: recorded))
    case .junk: junk(target)
    case .flip:
      guard var recorded = recorded() else { return }
      let bit = random.below(8 * recorded.bytes.count)
      recorded.bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      send(recorded.bytes, to: recorded.destination, from: source(for: recorded))
    case .data: data(target)
    case .mac1: send(forgedHandshake(for: target.publicKey), to: target.endpoint, from: anySource())
    case .cookie: forgeCookie()
    case .stranger:
      if let message = initiation(to: target) { send(message, to: target.endpoint, from: anySource()) }
    }
  }

  /// Sends all that was ever recorded again, one datagram in `interval`, from where it came and from elsewhere.
  public func replayEverything(every interval: Nanoseconds) {
    for (place, recorded) in world.wire.enumerated() {
      let source = place.isMultiple(of: 2) ? recorded.source : endpoint
      world.after(UInt64(place + 1) * interval) { [self] _ in
        send(recorded.bytes, to: recorded.destination, from: source)
      }
    }
  }

  /// Sends somebody's datagram on from here, before it gets there by itself.
  public func overtake(_ datagram: Datagram) {
    send(datagram.bytes, to: datagram.destination, from: endpoint)
  }

  /// Sends `message` from an address of stranger number `number`.
  public func knock(_ message: [UInt8], at target: Host, asStranger number: Int) {
    send(message, to: target.endpoint, from: Endpoint(address: .v4(0x6440_0000 + UInt32(number)), port: 1234))
  }

  /// Where what he sends may seem to come from, unless it is from a host of ours.
  var sources: [Endpoint] { [endpoint] + (0..<200).map(Attacker.spoofed) }

  /// A genuine initiation by a key that `target` does not know; valid in every respect but that. `nil` on the way.
  public func initiation(to target: Host) -> [UInt8]? {
    // A retry is asked for by the timer; taking the peer out and in again asks at once.
    var update = DeviceUpdate()
    var peer = PeerUpdate(target.publicKey)
    peer.removes = true
    update.peers = [peer]
    peer.removes = false
    peer.endpoint = target.endpoint
    peer.persistentKeepalive = 1
    update.peers.append(peer)
    mallory.comeUp(now: world.now)
    mallory.apply(update, now: world.now)
    for case .send(let message, _, _) in mallory.takeActions() {
      return unsafe message.withUnsafeBytes { unsafe Array($0) }
    }
    return nil
  }

  /// An initiation or a response of noise, whose first mac is right.
  public func forgedHandshake(for key: PublicKey, isInitiation: Bool? = nil) -> [UInt8] {
    let isInitiation = isInitiation ?? random.happens(0.7)
    let length = isInitiation ? 148 : 92
    var message: [UInt8] = [isInitiation ? 1 : 2, 0, 0, 0] + random.bytes(length - 4 - 32)
    message += Attacker.hash(
      keyed: Attacker.hash(Array("mac1----".utf8) + Attacker.bytes(of: key)), message, outputLength: 16)
    return message + [UInt8](repeating: 0, count: 16)
  }

  // MARK: Arms

  private func replay(_ target: Host) {
    guard let recorded = recorded() else { return }
    let destination = random.happens(0.2) ? target.endpoint : recorded.destination
    send(recorded.bytes, to: destination, from: source(for: recorded))
  }

  private func junk(_ target: Host) {
    var bytes = random.bytes(random.pick([0, 1, 4, 31, 32, 64, 92, 148, 149, 1 + random.below(1500)]))
    if bytes.count >= 4, random.happens(0.8) {
      bytes.replaceSubrange(0..<4, with: [UInt8(1 + random.below(5)), 0, 0, 0])
    }
    send(bytes, to: target.endpoint, from: anySource())
  }

  private func data(_ target: Host) {
    var bytes: [UInt8] = [4, 0, 0, 0] + random.bytes(12 + 16 * random.below(8) + 16)
    if random.happens(0.7), let known = recorded(), known.counter != nil {
      bytes.replaceSubrange(4..<8, with: known.bytes[4..<8])
      if random.happens(0.5) { bytes.replaceSubrange(8..<16, with: known.bytes[8..<16]) }
    }
    send(bytes, to: target.endpoint, from: anySource())
  }

  private func forgeCookie() {
    guard let initiation = world.wire.suffix(50).last(where: { $0.type == 1 && $0.bytes.count == 148 }) else { return }
    var reply: [UInt8] = [3, 0, 0, 0] + initiation.bytes[4..<8] + random.bytes(24)
    // Whoever sees the first mac and knows the public key can seal a cookie reply; the cookie itself is noise.
    guard random.happens(0.5), let peer = world.hosts.first(where: { $0.endpoint == initiation.destination }) else {
      return send(reply + random.bytes(32), to: initiation.source, from: anySource())
    }
    let key = Attacker.hash(Array("cookie--".utf8) + Attacker.bytes(of: peer.publicKey))
    var box = [UInt8](repeating: 0, count: 32)
    let cookie = random.bytes(16), nonce = Array(reply[8..<32]), mac1 = Array(initiation.bytes[116..<132])
    unsafe box.withUnsafeMutableBytes { out in
      unsafe XChaCha20Poly1305.seal(
        cookie.span.bytes, into: out.baseAddress!, nonce: nonce.span.bytes, key: key.span.bytes,
        authenticating: mac1.span.bytes)
    }
    reply += box
    send(reply, to: initiation.source, from: random.happens(0.5) ? initiation.destination : anySource())
  }

  // MARK: Sending

  private func send(_ bytes: [UInt8], to destination: Endpoint, from source: Endpoint) {
    sent += 1
    world.inject(
      Datagram(sentAt: world.now.monotonic, source: source, destination: destination, bytes: bytes), through: link)
  }

  private func recorded() -> Datagram? {
    guard !world.wire.isEmpty else { return nil }
    // Mostly something fresh.
    let recent = world.wire.suffix(random.happens(0.7) ? 50 : world.wire.count)
    let datagram = recent[recent.startIndex + random.below(recent.count)]
    return datagram.bytes.isEmpty ? nil : datagram
  }

  private func source(for recorded: Datagram) -> Endpoint {
    random.happens(0.5) ? recorded.source : anySource()
  }

  private func anySource() -> Endpoint {
    random.happens(0.3) ? Attacker.spoofed(random.below(200)) : endpoint
  }

  private static func spoofed(_ number: Int) -> Endpoint {
    Endpoint(address: .v4(0xCB00_7100 + UInt32(number)), port: 999)
  }

  private static func hash(keyed key: [UInt8] = [], _ bytes: [UInt8], outputLength: Int = 32) -> [UInt8] {
    var hash =
      unsafe key.isEmpty
      ? BLAKE2s(outputLength: outputLength) : BLAKE2s(key: key.span.bytes, outputLength: outputLength)
    unsafe hash.update(bytes.span.bytes)
    let digest = hash.digest()
    return (0..<outputLength).map { digest[$0] }
  }

  private static func bytes(of key: PublicKey) -> [UInt8] { key.bytes.indices.map { key.bytes[$0] } }
}
