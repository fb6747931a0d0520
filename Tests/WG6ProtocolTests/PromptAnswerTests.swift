import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// A packet is written to the device, and is answered before the control path has had a turn.
@Suite struct `Answers that come at once` {
  @Test func `to the first packet of a peer that started anew go out in its new session`() {
    let pair = Pair(seed: 41)
    pair.bob.reply = { _ in pair.toAlice(1) }
    pair.alice.send(pair.toBob())
    pair.world.run(for: Limits.second)
    for round in 1...20 {
      pair.alice.restart()
      pair.world.run(for: Limits.second)
      pair.alice.send(pair.toBob(round))
      pair.world.run(for: Limits.second)
      #expect(pair.alice.received.count == round + 1)
    }
  }

  @Test func `do not join a train that was begun in the former session`() {
    let (bench, alice, bob) = established(seed: 42)
    let message = firstMessage(of: alice, to: bob)
    // The outbound thread is in the middle of a train when the inbound thread takes the message that confirms.
    bob.outbound.pass()
    put(bob.packet(to: alice, number: 1), into: bob, bench)
    open(message, at: bob, from: alice.endpoint, bench)
    put(bob.packet(to: alice, number: 2), into: bob, bench)
    flush(bob, bench)
    #expect(bob.trains.suffix(2).map(\.count) == [1, 1])
    alice.received = []
    bench.deliver()
    // The former session ended with the daemon that held it: what was sent in it is lost, the answer is not.
    #expect(alice.received == [bob.packet(to: alice, number: 2)])
  }

  @Test func `do not join a train that was begun towards the former endpoint`() {
    let (bench, alice, bob) = established(seed: 43)
    alice.push([alice.packet(to: bob, number: 1)])
    let message = alice.outbox.removeLast().bytes
    alice.endpoint.port = 4711
    bob.outbound.pass()
    put(bob.packet(to: alice, number: 1), into: bob, bench)
    open(message, at: bob, from: alice.endpoint, bench)
    put(bob.packet(to: alice, number: 2), into: bob, bench)
    flush(bob, bench)
    #expect(bob.outbox.map(\.destination.port) == [51820, 4711])
  }

  @Test func `one to a session that is withdrawn as it is confirmed goes out in the one that took its place`() {
    let bench = Bench(seed: 44)
    var (alice, bob) = (bench.addNode(), bench.addNode())
    // The session that bob begins himself is the one that stays.
    let keys = [alice, bob].map { node in (0..<32).map { node.key.publicKey.bytes[$0] } }
    if keys[1].lexicographicallyPrecedes(keys[0]) { (alice, bob) = (bob, alice) }
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    bench.wait(6 * Limits.second)
    // Both begin another at once, and each has the other's initiation before its own is answered.
    for (node, other) in [(alice, bob), (bob, alice)] {
      node.device.initiate(node.peer(other), isRetry: false, now: bench.now)
      node.settle()
    }
    bench.deliver()
    bob.received = []
    alice.received = []
    alice.push([alice.packet(to: bob, number: 1)])
    bench.deliver()
    bob.push([bob.packet(to: alice, number: 2)])
    bench.deliver()
    #expect(bob.received == [alice.packet(to: bob, number: 1)])
    #expect(alice.received == [bob.packet(to: alice, number: 2)])
    #expect(bob.peer(alice).reference.sending == bob.peer(alice).current)
  }

  // MARK: Steps of one thread

  private func established(seed: UInt64) -> (Bench, Node, Node) {
    let bench = Bench(seed: seed)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    return (bench, alice, bob)
  }

  /// The daemon of `node` starts anew, and has an answer to its initiation: its first data message, not yet delivered.
  private func firstMessage(of node: Node, to other: Node) -> [UInt8] {
    node.device.endSessions(of: node.peer(other))
    node.peer(other).initiationSentAt = nil
    other.peer(node).initiationAcceptedAt = nil
    node.settle()
    node.push([node.packet(to: other, number: 9)])
    node.settle()
    other.receive(node.outbox.removeLast().bytes, from: node.endpoint)
    node.receive(other.outbox.removeLast().bytes, from: other.endpoint)
    return node.outbox.removeLast().bytes
  }

  private func put(_ packet: [UInt8], into node: Node, _ bench: Bench) {
    packet.withUnsafeBytes { node.outbound.room.copyMemory(from: $0) }
    _ = node.outbound.push(length: packet.count, now: bench.now.monotonic) { node.transmit($0) }
  }

  private func flush(_ node: Node, _ bench: Bench) {
    node.outbound.flush(now: bench.now.monotonic) { node.transmit($0) }
    node.outbound.leave()
  }

  /// What the inbound thread does, the control path standing still.
  private func open(_ message: [UInt8], at node: Node, from source: Endpoint, _ bench: Bench) {
    var message = message
    node.inbound.pass()
    message.withUnsafeMutableBytes { bytes in
      let path = PackedPath(Path(to: source, from: node.endpoint.address, sourceInterface: 1))
      guard case .packet = node.inbound.open(bytes, from: path, now: bench.now.monotonic) else {
        return fail("the message is taken")
      }
    }
    node.inbound.leave()
  }
}
