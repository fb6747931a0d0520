import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// Timers that fire, find that things happened meanwhile, and run on: the instants are those of the packets, not of the
/// looks.
@Suite struct `Timers that are looked at late` {
  @Test func `a persistent keepalive is due an interval after the last message sent`() throws {
    let pair = Pair(seed: 51, keepalive: 25)
    pair.world.run(for: 2 * Limits.second)
    // The control path hears nothing of these.
    for _ in 0..<10 {
      pair.alice.send(pair.toBob())
      pair.world.run(for: Limits.second)
    }
    let last = try #require(sent(by: pair.alice, pair).last)
    pair.world.run(for: 26 * Limits.second)
    #expect(sent(by: pair.alice, pair).last == last + 25 * Limits.second)
  }

  @Test func `a passive keepalive is due ten seconds after the data, however late the control path hears of that`() {
    let bench = Bench(seed: 53)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    func pass(_ time: Nanoseconds) {
      bench.now.monotonic += time
      bob.device.advance(now: bench.now)
      bob.settle()
    }
    pass(10 * Limits.second)
    alice.push([alice.packet(to: bob)])
    var message = alice.outbox.removeLast().bytes
    bob.outbox = []
    let path = PackedPath(Path(to: alice.endpoint, from: bob.endpoint.address, sourceInterface: 1))
    bob.inbound.pass()
    message.withUnsafeMutableBytes { _ = bob.inbound.open($0, from: path, now: bench.now.monotonic) }
    bob.inbound.leave()
    bench.now.monotonic += 3 * Limits.second
    bob.settle()
    pass(6 * Limits.second)
    #expect(bob.outbox.isEmpty)
    pass(Limits.second)
    #expect(bob.outbox.map(\.bytes.count) == [DataMessage.overhead])
    // What came in counts, though it had no packet in it.
    let before = alice.device.status().peers[0].receivedBytes
    for datagram in bob.outbox { alice.receive(datagram.bytes, from: bob.endpoint) }
    #expect(alice.device.status().peers[0].receivedBytes == before + UInt64(DataMessage.overhead))
  }

  @Test func `a passive keepalive is due ten seconds after the data that nothing went back for`() throws {
    let pair = Pair(seed: 52)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 5 * Limits.second)
    pair.bob.send(pair.toAlice())
    pair.world.run(for: 3 * Limits.second)
    pair.alice.send(pair.toBob())
    let arrival = pair.world.now.monotonic + 10 * Limits.millisecond
    pair.world.run(for: 30 * Limits.second)
    #expect(sent(by: pair.bob, pair).last == arrival + 10 * Limits.second)
  }

  @Test func `a peer that is removed and added within a tick of the clock begins with a later timestamp`() {
    let pair = Pair(seed: 53)
    pair.alice.send(pair.toBob(1))
    let recorded = pair.world.wire[0]
    pair.world.run(for: Limits.second)
    // The time of day is where it was when the first handshake began.
    pair.alice.stepClock(by: -Int64(Limits.second))
    pair.alice.learn(pair.bob.publicKey, insteadOf: pair.bob.publicKey)
    pair.alice.send(pair.toBob(2))
    pair.world.run(for: 100 * Limits.millisecond)
    #expect(pair.bob.received == [pair.toBob(1), pair.toBob(2)])
    // The same initiation once more is no later than itself.
    let stale = pair.bob.device.plane.dropCount(.staleTimestamp)
    pair.world.run(for: Limits.second)
    pair.bob.receive(recorded)
    #expect(pair.bob.device.plane.dropCount(.staleTimestamp) == stale + 1)
  }

  private func sent(by host: Host, _ pair: Pair) -> [Nanoseconds] {
    pair.world.wire.filter { $0.source == host.endpoint }.map(\.sentAt)
  }
}
