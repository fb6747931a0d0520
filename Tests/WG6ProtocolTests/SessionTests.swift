import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// One-sentence claims about two hosts, mostly as an eavesdropper sees them.
@Suite struct `Two hosts` {
  private func types(_ world: World) -> [UInt8] { world.wire.map(\.type) }

  @Test func `a packet starts a handshake, waits for it, and arrives unharmed`() {
    let pair = Pair(seed: 1)
    pair.alice.send(pair.toBob(7))
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received == [pair.toBob(7)])
    #expect(types(pair.world) == [1, 2, 4])
    #expect(pair.world.wire.map(\.bytes.count) == [148, 92, 32 + 64])
  }

  @Test func `a handshake over a path of 2.4 s each way is completed`() {
    let pair = Pair(seed: 31)
    pair.world.course = { [World.Delivery($0, after: 2400 * Limits.millisecond)] }
    pair.alice.send(pair.toBob(7))
    pair.world.run(for: 8 * Limits.second)
    #expect(pair.bob.received == [pair.toBob(7)])
    #expect(types(pair.world) == [1, 2, 4])
  }

  @Test func `packets flow both ways, in order`() {
    let pair = Pair(seed: 2)
    for number in 0..<100 {
      pair.alice.send(pair.toBob(number))
      pair.bob.send(pair.toAlice(number))
      pair.world.run(for: 20 * Limits.millisecond)
    }
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received == (0..<100).map { pair.toBob($0) })
    #expect(pair.alice.received == (0..<100).map { pair.toAlice($0) })
  }

  @Test func `a responder without the initiator's endpoint learns it`() {
    let pair = Pair(seed: 3, bobKnowsAlice: false)
    pair.bob.send(pair.toAlice())
    pair.world.run(for: Limits.second)
    #expect(pair.world.wire.isEmpty)
    #expect(pair.bob.device.plane.dropCount(.noEndpoint) == 1)
    pair.alice.send(pair.toBob())
    pair.world.run(for: Limits.second)
    pair.bob.send(pair.toAlice(1))
    pair.world.run(for: Limits.second)
    #expect(pair.alice.received == [pair.toAlice(1)])
  }

  @Test func `different preshared keys keep two hosts apart`() {
    var random = SeededRandom(seed: 4)
    let world = World(seed: 4)
    let alice = world.addHost("alice", at: .v4(1)), bob = world.addHost("bob", at: .v4(2))
    alice.add(bob, allowedIPs: [Pair.prefix(2)], presharedKey: PresharedKey(using: &random))
    bob.add(alice, allowedIPs: [Pair.prefix(1)], presharedKey: PresharedKey(using: &random))
    alice.send(ipv6Packet(from: 1, to: 2, number: 0))
    world.run(for: 4 * Limits.second)
    #expect(types(world) == [1, 2])
    #expect(alice.device.plane.dropCount(.unauthenticatedHandshake) == 1)
    #expect(bob.received.isEmpty)
  }

  @Test func `an unanswered initiation is repeated every 5 s and a little, 18 times in all`() {
    let pair = Pair(seed: 5)
    pair.world.link = .cut
    pair.alice.send(pair.toBob())
    pair.world.run(for: 200 * Limits.second)
    let sent = pair.world.wire.map(\.sentAt)
    #expect(types(pair.world) == Array(repeating: 1, count: 18))
    for (earlier, later) in zip(sent, sent.dropFirst()) {
      #expect((5000...5333).contains((later - earlier) / Limits.millisecond))
    }
    #expect(Set(zip(sent, sent.dropFirst()).map { $1 - $0 }).count > 10, "there is jitter")
    #expect(pair.alice.reports.last == .handshakeGivenUp(pair.bob.publicKey))
    #expect(pair.alice.device.plane.dropCount(.handshakeGivenUp) == 1)
  }

  @Test func `data under an old key that is not answered is tried for 18 times, not counted anew after 15 s`() {
    let pair = Pair(seed: 17)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 130 * Limits.second)
    pair.world.link = .cut
    let before = pair.world.wire.count
    // The key's age asks for a handshake at once, the silence asks again 15 s later.
    pair.alice.send(pair.toBob())
    pair.world.run(for: 200 * Limits.second)
    #expect(Array(types(pair.world)[before...]) == [4] + Array(repeating: UInt8(1), count: 18))
  }

  @Test func `data that is not answered is acknowledged by a keepalive after 10 s`() throws {
    let pair = Pair(seed: 6)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 60 * Limits.second)
    #expect(types(pair.world) == [1, 2, 4, 4])
    let keepalive = try #require(pair.world.wire.last)
    #expect(keepalive.bytes.count == 32)
    #expect(keepalive.source == pair.bob.endpoint)
    // Sent at 20 ms (a round trip for the handshake), arrived 10 ms later.
    #expect(keepalive.sentAt == pair.world.wire[2].sentAt + 10 * Limits.millisecond + 10 * Limits.second)
  }

  @Test func `an idle tunnel is silent`() {
    let pair = Pair(seed: 7)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 30 * Limits.second)
    let before = pair.world.wire.count
    pair.world.run(for: 3600 * Limits.second)
    #expect(pair.world.wire.count == before)
  }

  @Test func `a persistent keepalive keeps its interval, and asks for its own session`() {
    let pair = Pair(seed: 8, keepalive: 25)
    pair.world.run(for: 110 * Limits.second)
    let keepalives = pair.world.wire.filter { $0.type == 4 && $0.source == pair.alice.endpoint }.map(\.sentAt)
    #expect(types(pair.world).prefix(2) == [1, 2])
    #expect(keepalives.count == 5)
    for (earlier, later) in zip(keepalives, keepalives.dropFirst()) {
      #expect(later - earlier == 25 * Limits.second)
    }
  }

  // An interval longer than the 5 s between two tries, and a shorter one, which comes round while they are under way.
  @Test(arguments: [25, 3])
  func `a persistent keepalive goes on trying, but keeps nothing that waits for longer than 18 tries`(interval: UInt16)
  {
    let pair = Pair(seed: 32, keepalive: interval)
    pair.world.link = .cut
    pair.alice.send(pair.toBob(1))
    pair.world.run(for: 600 * Limits.second)
    #expect(pair.alice.device.plane.dropCount(.handshakeGivenUp) == 1)
    let initiations = pair.world.wire.filter { $0.type == 1 }.map(\.sentAt)
    #expect(initiations.count > 80)
    #expect(initiations.last.map { pair.world.now.monotonic - $0 < 30 * Limits.second } == true)
    pair.world.link = Link()
    pair.world.run(for: 60 * Limits.second)
    #expect(pair.bob.received.isEmpty, "ten minutes old, it is not wanted any more")
    pair.alice.send(pair.toBob(2))
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received == [pair.toBob(2)])
  }

  @Test func `the initiator renews a session after 120 s of use, and no packet is lost`() {
    let pair = Pair(seed: 9)
    for number in 0..<4000 {
      pair.alice.send(pair.toBob(number))
      pair.world.run(for: 100 * Limits.millisecond)
      pair.bob.send(pair.toAlice(number))
    }
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received.count == 4000)
    #expect(pair.alice.received.count == 4000)
    let initiations = pair.world.wire.filter { $0.type == 1 }
    #expect(initiations.count == 4)
    #expect(initiations.allSatisfy { $0.source == pair.alice.endpoint })
  }

  @Test func `data without an answer leads to a new handshake after 15 s`() throws {
    let pair = Pair(seed: 10)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 30 * Limits.second)
    pair.world.link = .cut
    pair.alice.send(pair.toBob())
    let sentAt = pair.world.now.monotonic
    pair.world.run(for: 16 * Limits.second)
    let initiation = try #require(pair.world.wire.last)
    #expect(initiation.type == 1)
    #expect((15_000...15_333).contains((initiation.sentAt - sentAt) / Limits.millisecond))
  }

  @Test func `nothing is left of the keys after 540 s without a session`() {
    let pair = Pair(seed: 11)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 539 * Limits.second)
    #expect(pair.alice.device.sessionCount == 1)
    pair.world.run(for: 2 * Limits.second)
    #expect(pair.alice.device.sessionCount == 0)
    #expect(pair.bob.device.sessionCount == 0)
  }

  @Test func `both ends initiating at once settle on one session`() {
    let pair = Pair(seed: 12)
    pair.alice.send(pair.toBob(1))
    pair.bob.send(pair.toAlice(1))
    pair.world.run(for: Limits.second)
    for number in 2..<1000 {
      pair.alice.send(pair.toBob(number))
      pair.bob.send(pair.toAlice(number))
      pair.world.run(for: 200 * Limits.millisecond)
    }
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received.count == 999)
    #expect(pair.alice.received.count == 999)
    let initiations = pair.world.wire.filter { $0.type == 1 }
    // Two at first; from then on one at a time, from whoever began the session that was kept.
    #expect(initiations.count == 3)
  }

  @Test(arguments: 20..<24 as Range<UInt64>)
  func `renewing a session that both ends began at once loses nothing that is under way`(seed: UInt64) {
    let pair = Pair(seed: seed)
    pair.world.link.delay = 50 * Limits.millisecond
    var count = 0
    func talk(_ times: Int, every interval: Nanoseconds) {
      for _ in 0..<times {
        pair.alice.send(pair.toBob(count))
        pair.bob.send(pair.toAlice(count))
        count += 1
        pair.world.run(for: interval)
      }
    }
    talk(119, every: Limits.second)
    // One of the two still has the session that it answered with, and that nobody ever used.
    talk(600, every: 5 * Limits.millisecond)
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received == (0..<count).map { pair.toBob($0) })
    #expect(pair.alice.received == (0..<count).map { pair.toAlice($0) })
    #expect(pair.world.wire.count { $0.type == 1 } == 3)
  }

  @Test func `a responder that is quicker to answer than its control path does not initiate`() {
    let pair = Pair(seed: 15)
    pair.bob.reply = { _ in pair.toAlice(1) }
    pair.alice.send(pair.toBob())
    pair.world.run(for: Limits.second)
    #expect(pair.alice.received == [pair.toAlice(1)])
    #expect(types(pair.world) == [1, 2, 4, 4])
  }

  @Test func `steady traffic leaves the control path alone`() {
    let pair = Pair(seed: 16)
    pair.bob.reply = { _ in pair.toAlice(1) }
    pair.alice.send(pair.toBob())
    pair.world.run(for: Limits.second)
    let before = (pair.alice.controlTurns, pair.bob.controlTurns)
    for _ in 0..<200 {
      pair.alice.send(pair.toBob())
      pair.world.run(for: 25 * Limits.millisecond)
    }
    #expect(pair.alice.received.count == 201)
    #expect((pair.alice.controlTurns, pair.bob.controlTurns) == before)
  }

  @Test func `after a changed private key the next packet starts a handshake at once, and nothing does before`() {
    let pair = Pair(seed: 13)
    pair.alice.send(pair.toBob(1))
    pair.world.run(for: Limits.second)
    var random = SeededRandom(seed: 13)
    let key = PrivateKey(using: &random)
    var atBob = DeviceUpdate()
    var newAlice = PeerUpdate(key.publicKey)
    newAlice.allowedIPs = [.add(Pair.prefix(1))]
    atBob.peers = [newAlice]
    pair.bob.configure(atBob)
    let before = pair.world.wire.count
    pair.alice.change(to: key)
    // The peer may not know the new key yet, and a handshake that it refuses would delay the next one.
    #expect(pair.world.wire.count == before)
    pair.alice.send(pair.toBob(2))
    // The last initiation was a second ago; a new identity does not wait for it.
    #expect(pair.world.wire.count == before + 1)
    pair.world.run(for: Limits.second)
    #expect(pair.bob.received == [pair.toBob(1), pair.toBob(2)])
  }

  @Test func `a persistent keepalive may be sent every second`() {
    let pair = Pair(seed: 9, keepalive: 1)
    pair.world.run(for: 30 * Limits.second)
    #expect(pair.world.wire.count { $0.type == 4 && $0.source == pair.alice.endpoint } == 30)
  }

  @Test func `a session that the peer began ends a try of our own, whose answer would bring a second one`() {
    let bench = Bench(seed: 34)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    // Both write first. Only bob's initiation arrives, and a packet under the session that it brings.
    alice.push([alice.packet(to: bob)])
    alice.settle()
    alice.outbox = []
    #expect(alice.device.indexCount == 1)
    bob.push([bob.packet(to: alice, number: 3)])
    bench.deliver()
    #expect(alice.received == [bob.packet(to: alice, number: 3)])
    #expect(alice.device.sessionCount == 1 && alice.device.indexCount == 1)
  }

  @Test func `data that nothing comes back for is noticed, also after sessions ended while earlier data waited`() {
    let pair = Pair(seed: 35)
    var removal = DeviceUpdate(), key = DeviceUpdate()
    removal.privateKey = .remove
    key.privateKey = pair.alice.device.status().privateKey.map { .set($0) } ?? .keep
    for _ in 0..<2 {
      pair.world.link = Link()
      pair.alice.send(pair.toBob(1))
      pair.world.run(for: Limits.second)
      pair.world.link = .cut
      pair.alice.send(pair.toBob(2))
      pair.world.run(for: 3 * Limits.second)
      pair.alice.configure(removal)
      pair.alice.configure(key)
    }
    pair.world.link = Link()
    pair.alice.send(pair.toBob(3))
    pair.world.run(for: Limits.second)
    pair.world.link = .cut
    let before = pair.world.wire.count { $0.type == 1 }
    pair.alice.send(pair.toBob(4))
    pair.world.run(for: 16 * Limits.second)
    #expect(pair.world.wire.count { $0.type == 1 } == before + 1)
  }

  @Test func `a private key that changes while a handshake is under way starts the next with the next packet`() {
    let pair = Pair(seed: 14)
    pair.alice.send(pair.toBob(1))
    #expect(pair.world.wire.count == 1)
    var random = SeededRandom(seed: 14)
    pair.alice.change(to: PrivateKey(using: &random))
    #expect(pair.world.wire.count == 1)
    pair.alice.send(pair.toBob(2))
    #expect(pair.world.wire.count == 2)
  }

  @Test func `a private key that the peer learns of later is used by the first packet after that`() {
    let pair = Pair(seed: 15, keepalive: 25)
    pair.alice.send(pair.toBob(1))
    pair.world.run(for: Limits.second)
    var random = SeededRandom(seed: 15)
    let old = pair.alice.publicKey
    let key = PrivateKey(using: &random)
    pair.alice.change(to: key)
    pair.world.run(for: Limits.second)
    pair.bob.learn(key.publicKey, insteadOf: old)
    pair.alice.send(pair.toBob(2))
    pair.world.run(for: 100 * Limits.millisecond)
    #expect(pair.bob.received.last == pair.toBob(2))
  }

  @Test func `what a peer sent before it learnt of our new key is still taken`() {
    let pair = Pair(seed: 16)
    pair.alice.send(pair.toBob(1))
    pair.world.run(for: Limits.second)
    pair.bob.send(pair.toAlice(1))
    var random = SeededRandom(seed: 16)
    pair.alice.change(to: PrivateKey(using: &random))
    pair.world.run(for: Limits.second)
    #expect(pair.alice.received == [pair.toAlice(1)])
  }

  @Test func `a peer with our own key is not added, and goes when we take its key`() {
    let pair = Pair(seed: 14)
    var update = DeviceUpdate()
    update.peers = [PeerUpdate(pair.alice.publicKey)]
    pair.alice.configure(update)
    #expect(pair.alice.device.status().peers.map(\.publicKey) == [pair.bob.publicKey])
    pair.alice.change(to: pair.bob.privateKey)
    #expect(pair.alice.device.status().peers.isEmpty)
    #expect(pair.alice.device.status().publicKey == pair.bob.publicKey)
  }
}
