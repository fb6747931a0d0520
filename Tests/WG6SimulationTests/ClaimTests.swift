import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Simulation

/// Each claim is shown something that must not be, and complains.
@Suite struct `A claim complains` {
  private let world: World
  private let home: Host
  private let cafe: Host

  init() {
    world = World(seed: 1)
    (home, cafe) = world.addPair()
    world.packetCount = 10
  }

  private var now: Nanoseconds { world.now.monotonic }
  private let stranger = Endpoint(address: .v4(0xC633_6401), port: 9)

  /// A message with these words behind its type, filled up to `length`.
  private func message(
    _ type: UInt8, _ words: [UInt32] = [], length: Int, to destination: Endpoint? = nil, fill: UInt8 = 0
  )
    -> Datagram
  {
    var bytes: [UInt8] = [type, 0, 0, 0]
    for word in words {
      for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(shift))) }
    }
    bytes += [UInt8](repeating: fill, count: length - bytes.count)
    return Datagram(
      sentAt: now, source: home.endpoint, destination: destination ?? cafe.endpoint, bytes: bytes)
  }

  private func data(_ index: UInt32, counter: UInt32 = 0, fill: UInt8 = 0) -> Datagram {
    message(4, [index, counter, 0], length: 64, fill: fill)
  }

  private func fromHome(_ datagram: Datagram) -> Cause { Cause(datagram, from: .host(0, sentAt: datagram.sentAt)) }

  @Test func `of a packet that comes twice, late, changed, from a stranger, or to somebody else`() {
    var claim = AuthenticDelivery()
    let packet = Packet.make(3, from: 0, to: 1, size: 200)
    let cause = fromHome(data(1))
    #expect(claim.observe(.accepted(packet, at: 1, cause), in: world) == nil)
    #expect(claim.observe(.accepted(packet, at: 1, cause), in: world) != nil)
    let fresh = Packet.make(4, from: 0, to: 1, size: 200)
    for byte in [41, 50, 199] {
      var changed = fresh
      changed[byte] ^= 1
      #expect(claim.observe(.accepted(changed, at: 1, cause), in: world) != nil)
    }
    #expect(claim.observe(.accepted(fresh, at: 0, cause), in: world) != nil)
    #expect(claim.observe(.accepted(fresh, at: 1, Cause(data(1), from: .stranger)), in: world) != nil)
    world.run(for: 180 * Limits.second)
    #expect(claim.observe(.accepted(fresh, at: 1, cause), in: world) != nil)
    #expect(claim.observe(.accepted(fresh, at: 1, fromHome(data(1))), in: world) == nil)
  }

  @Test func `of data under no key, an old key, a key of nobody yet, and of a counter that comes again`() {
    var claim = KeyLifetimes()
    #expect(claim.observe(.sent(data(7), by: 0), in: world) != nil)
    // Home answers: it is 8, the other one 7.
    #expect(claim.observe(.sent(message(2, [8, 7], length: 92), by: 0), in: world) == nil)
    #expect(claim.observe(.sent(data(7), by: 0), in: world) != nil)
    _ = claim.observe(.arrived(Cause(data(8), from: .host(1, sentAt: now)), at: 0), in: world)
    #expect(claim.observe(.sent(data(7, counter: 1), by: 0), in: world) == nil)
    #expect(claim.observe(.sent(data(7, counter: 1), by: 0), in: world) != nil)
    world.run(for: 180 * Limits.second - 1)
    #expect(claim.observe(.sent(data(7, counter: 2), by: 0), in: world) == nil)
    world.run(for: 1)
    #expect(claim.observe(.sent(data(7, counter: 3), by: 0), in: world) != nil)
    let packet = Packet.make(1, from: 1, to: 0, size: 64)
    #expect(claim.observe(.accepted(packet, at: 0, Cause(data(8), from: .host(1, sentAt: now))), in: world) != nil)
    #expect(claim.observe(.accepted(packet, at: 0, Cause(data(9), from: .host(1, sentAt: now))), in: world) != nil)
  }

  @Test func `of plaintext, of lengths that are no message's, and of what is not padded`() {
    var claim = NothingInTheClear()
    #expect(claim.observe(.sent(data(1, fill: 7), by: 0), in: world) == nil)
    var showing = data(1)
    showing.bytes.replaceSubrange(30..<46, with: Packet.marker)
    #expect(claim.observe(.sent(showing, by: 0), in: world) != nil)
    for (type, length) in [(0, 64), (1, 147), (2, 148), (3, 92), (4, 65), (4, 32 + 1421), (5, 64)] as [(UInt8, Int)] {
      #expect(claim.observe(.sent(message(type, length: length), by: 0), in: world) != nil, "\(type), \(length)")
    }
  }

  @Test func `of initiations in a hurry, of a nineteenth try, and of one that is kept secret`() {
    let sent = Observation.reported(.initiationSent(cafe.publicKey, attempt: 1), by: 0, nil)
    let initiation = Observation.sent(message(1, length: 148), by: 0)
    var claim = NoStorm()
    func once() -> String? { claim.observe(initiation, in: world) ?? claim.observe(sent, in: world) }
    #expect(once() == nil)
    world.run(for: 5 * Limits.second - 1)
    #expect(once() != nil)
    for _ in 3...18 {
      world.run(for: 5 * Limits.second)
      #expect(once() == nil)
    }
    world.run(for: 5 * Limits.second)
    #expect(once() != nil)
    _ = claim.observe(.pushed(1, by: 0, to: 1), in: world)
    world.run(for: 5 * Limits.second)
    #expect(once() == nil)
    #expect(claim.observe(initiation, in: world) == nil)
    #expect(claim.observe(initiation, in: world) != nil)
  }

  @Test func `of a word after long silence`() {
    var claim = SilenceWhenIdle()
    _ = claim.observe(.pushed(1, by: 0, to: 1), in: world)
    world.run(for: SilenceWhenIdle.bound)
    #expect(claim.observe(.sent(data(1), by: 0), in: world) == nil)
    world.run(for: 1)
    #expect(claim.observe(.sent(data(1), by: 0), in: world) != nil)
  }

  @Test func `of whatever a stranger gets but cookie replies, of too many of those, and of any for a scanner`() {
    var claim = NothingForStrangers()
    var knock = message(1, length: 148)
    knock.source = stranger
    func answer(_ type: UInt8, _ length: Int) -> String? {
      claim.observe(.sent(message(type, length: length, to: stranger), by: 0), in: world)
    }
    #expect(answer(3, 64) != nil)
    _ = claim.observe(.arrived(Cause(knock, from: .stranger), at: 0), in: world)
    #expect(answer(3, 64) == nil)
    #expect(answer(2, 20) != nil)
    #expect(answer(3, 64) != nil)
    claim.expectSilence(towards: stranger)
    for _ in 0..<5 { _ = claim.observe(.arrived(Cause(knock, from: .stranger), at: 0), in: world) }
    #expect(answer(3, 64) != nil)
  }

  @Test func `of an endpoint that moves by itself, by a stranger's message, or twice by one`() {
    var claim = AuthenticEffects()
    let cause = fromHome(data(1))
    func move(_ cause: Cause?) -> String? {
      claim.observe(.reported(.endpointMoved(home.publicKey, home.endpoint), by: 1, cause), in: world)
    }
    #expect(move(nil) != nil)
    #expect(move(Cause(data(1), from: .stranger)) != nil)
    #expect(move(cause) == nil)
    #expect(move(cause) != nil)
    #expect(
      claim.observe(.reported(.responseSent(home.publicKey), by: 1, Cause(data(2), from: .stranger)), in: world) != nil)
  }

  @Test func `of peers that don't find together in time`() {
    var claim = Promises()
    claim.expect(from: 0, to: 1, by: now + Limits.second, in: world)
    let early = Packet.make(9, from: 0, to: 1, size: 64), packet = Packet.make(10, from: 0, to: 1, size: 64)
    _ = claim.observe(.accepted(early, at: 1, fromHome(data(1))), in: world)
    #expect(claim.end(in: world) != nil)
    var late = claim
    _ = claim.observe(.accepted(packet, at: 1, fromHome(data(1))), in: world)
    #expect(claim.end(in: world) == nil)
    world.run(for: 2 * Limits.second)
    _ = late.observe(.accepted(packet, at: 1, fromHome(data(1))), in: world)
    #expect(late.end(in: world) != nil)
  }

  @Test func `of packets that were delivered and not let in, let in the wrong order, or never delivered`() {
    var claim = NothingLost(networkIsPerfect: true)
    _ = claim.observe(.arrived(fromHome(data(1)), at: 1), in: world)
    #expect(claim.observe(.arrived(fromHome(data(1, counter: 1)), at: 1), in: world) != nil)
    let first = Packet.make(1, from: 0, to: 1, size: 64), second = Packet.make(2, from: 0, to: 1, size: 64)
    #expect(claim.observe(.accepted(second, at: 1, fromHome(data(1))), in: world) == nil)
    #expect(claim.observe(.accepted(first, at: 1, fromHome(data(1))), in: world) != nil)
    #expect(claim.end(in: world) != nil)
  }

  @Test func `of two ends in two sessions`() {
    var claim = OneSession()
    _ = claim.observe(.sent(message(2, [1, 2], length: 92), by: 0), in: world)
    _ = claim.observe(.sent(message(2, [3, 4], length: 92), by: 1), in: world)
    _ = claim.observe(.sent(data(2), by: 0), in: world)
    _ = claim.observe(.sent(data(1), by: 1), in: world)
    #expect(claim.end(in: world) == nil)
    _ = claim.observe(.sent(data(3), by: 0), in: world)
    #expect(claim.end(in: world) != nil)
  }

  @Test func `of a device that remembers handshakes with more peers than there are`() {
    let alone = World(seed: 2)
    let host = alone.addHost("alone", at: .v4(1))
    var claim = BoundedState()
    let arrival = Observation.arrived(Cause(data(1), from: .stranger), at: 0)
    #expect(claim.observe(arrival, in: alone) == nil)
    host.add(home, allowedIPs: [Packet.prefix(of: 1)])
    host.send(Packet.make(0, from: 0, to: 1, size: 64))
    #expect(claim.observe(arrival, in: alone) != nil)
  }

  @Test func `of sessions that outlive their time`() {
    var claim = ZeroedKeys()
    cafe.send(to: home)
    world.run(for: Limits.second)
    #expect(claim.end(in: world) == nil)
    claim.beginSilence()
    #expect(claim.end(in: world) != nil)
    world.run(for: 545 * Limits.second)
    #expect(claim.end(in: world) == nil)
  }

  /// In a process of its own, for memory is the process's.
  @Test func `of a key that somebody has kept`() async {
    await #expect(processExitsWith: .success) { keepAKey() }
  }

  @Test func `and the whole observer tells which claim it was, when, and the story`() {
    let observer = Observer()
    world.observer = observer
    world.run(for: Limits.second)
    world.observe(.sent(message(1, length: 147), by: 0))
    #expect(observer.violations.count == 1)
    #expect(observer.violations[0].claim == NothingInTheClear.sentence)
    #expect(observer.violations[0].at == Limits.second)
    #expect(world.trace.lines(since: world.startedAt).last?.contains("AGAINST THE CLAIM") == true)
  }
}

/// Plays a world in which somebody keeps a copy of a session's key, and dies unless that is noticed.
private func keepAKey() {
  let world = World(seed: 3)
  let (home, cafe) = world.addPair()
  let observer = Observer(ownsProcess: true)
  world.observer = observer
  cafe.send(to: home)
  world.run(for: Limits.second)
  var copy = Secret()
  home.device.withSessionKeys { copy = Secret(copying: $0) }
  world.fallSilent()
  observer.end(in: world)
  precondition(observer.violations.map(\.complaint) == ["a key of a session that is gone still stands in memory"])
  precondition(!copy.isZero)
}
