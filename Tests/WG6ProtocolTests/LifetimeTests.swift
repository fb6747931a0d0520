import Synchronization
import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// What is freed, and when: the steps at which a data thread may still be looking.
@Suite struct `Nothing is freed under a data thread's eyes` {
  private func pair(_ seed: UInt64 = 20) -> (Bench, Node, Node) {
    let bench = Bench(seed: seed)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    return (bench, alice, bob)
  }

  private func removal(of node: Node) -> PeerUpdate {
    var change = PeerUpdate(node.key.publicKey)
    change.removes = true
    return change
  }

  @Test func `what was retired waits for every reader that is awake`() {
    let quiescence = Quiescence()
    quiescence.pass(0)
    quiescence.pass(3)
    let stamp = quiescence.retire()
    var safe = [quiescence.safeStamp]
    quiescence.pass(0)
    safe.append(quiescence.safeStamp)
    quiescence.pass(3)
    safe.append(quiescence.safeStamp)
    let later = quiescence.retire()
    safe.append(quiescence.safeStamp)
    quiescence.leave(0)
    safe.append(quiescence.safeStamp)
    quiescence.leave(3)
    safe.append(quiescence.safeStamp)
    #expect(safe.map { $0 > stamp } == [false, false, true, true, true, true])
    #expect(safe.map { $0 > later } == [false, false, false, false, false, true])
  }

  @Test func `a session's keypair outlives its removal until the reader has passed`() {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    alice.outbound.pass()
    alice.apply(removal(of: bob))
    let waiting = alice.device.retired.count
    #expect(waiting > 0)
    bench.wait(Limits.second)
    #expect(alice.device.retired.count == waiting)
    alice.outbound.pass()
    bench.wait(Limits.second)
    #expect(alice.device.retired.isEmpty)
    alice.outbound.leave()
  }

  @Test func `a peer that the outbound thread has on its list is not freed before it is off it`() {
    let (bench, alice, bob) = pair()
    alice.isAwake = false
    alice.push([alice.packet(to: bob, number: 0)])
    bench.deliver()
    // The key is there, and the thread was not woken yet: the next packet takes the one that waited along.
    alice.push([alice.packet(to: bob, number: 1)])
    bench.deliver()
    #expect(bob.received == [alice.packet(to: bob, number: 0), alice.packet(to: bob, number: 1)])
    let reference = alice.peer(bob).reference
    alice.apply(removal(of: bob))
    let isKept = alice.device.retired.contains {
      if case .peer(let peer) = $0.what { peer == reference } else { false }
    }
    #expect(isKept)
    alice.wake()
    bench.wait(Limits.second)
    #expect(alice.device.retired.isEmpty)
  }

  @Test func `a peer removed while its packets wait is freed once they are dropped`() {
    let (bench, alice, bob) = pair()
    alice.push((0..<5).map { alice.packet(to: bob, number: $0) })
    alice.apply(removal(of: bob))
    #expect(!alice.device.retired.isEmpty)
    alice.settle()
    bench.wait(Limits.second)
    #expect(alice.device.retired.isEmpty)
    #expect(alice.drops(.handshakeGivenUp) == 5)
    #expect(alice.drops(.noPeerForDestination) == 0)
    alice.push([alice.packet(to: bob)])
    #expect(alice.drops(.noPeerForDestination) == 1)
  }

  @Test func `a packet that was staged just as its peer was removed is dropped before the peer is freed`() {
    let (bench, alice, bob) = pair()
    alice.isAwake = false
    alice.push([alice.packet(to: bob)])
    let reference = alice.peer(bob).reference
    alice.apply(removal(of: bob))
    // The thread that was staging it took the request to drop packets for one about earlier packets.
    reference.pointer.pointee.discardsStaged.store(false, ordering: .relaxed)
    alice.isAwake = true
    // It is asked again, drops them, and lets go.
    for _ in 0..<3 {
      bench.wait(Limits.second)
      alice.settle()
    }
    #expect(alice.device.retired.isEmpty)
  }

  @Test func `no action names a peer that the same update removes`() {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    // What `wg setconf` sends: a new key, and all peers anew. The change of key calls bob; then bob is no more.
    var random = SeededRandom(seed: 21)
    var update = DeviceUpdate()
    update.privateKey = .set(PrivateKey(using: &random))
    update.replacesPeers = true
    alice.apply(update)
    let named = alice.device.takeActions().filter { if case .send(_, _, peer: .some) = $0 { true } else { false } }
    #expect(named.isEmpty)
    #expect(alice.device.retired.isEmpty)
  }

  @Test(arguments: [22, 23, 24, 25])
  func `a keypair is out of sight before it is retired, also when both ends began at once`(
    seed: UInt64
  ) {
    let (bench, alice, bob) = pair(seed)
    for round in 0..<4 {
      // Both ask before either is heard; their sessions replace the ones of the round before.
      alice.push([alice.packet(to: bob, number: round)])
      bob.push([bob.packet(to: alice, number: round)])
      bench.deliver()
      alice.push([alice.packet(to: bob)])
      bob.push([bob.packet(to: alice)])
      bench.deliver()
      bench.wait(181 * Limits.second)
    }
    #expect(bob.received.count == 8)
    #expect(alice.received.count == 8)
  }

  @Test func `a slot is used again only after its peer is gone`() {
    let (bench, alice, bob) = pair()
    let slot = alice.peer(bob).reference.slot
    alice.inbound.pass()
    alice.apply(removal(of: bob))
    alice.add(bob)
    #expect(alice.peer(bob).reference.slot != slot)
    alice.inbound.leave()
    bench.wait(Limits.second)
    alice.apply(removal(of: bob))
    alice.add(bob)
    #expect(alice.peer(bob).reference.slot <= 1)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    #expect(bob.received.count == 1)
  }

  @Test func `an event of a peer that was removed is told to nobody`() {
    let (bench, alice, bob) = pair()
    let carol = bench.addNode()
    alice.push([alice.packet(to: bob)])
    alice.apply(removal(of: bob))
    alice.add(carol)
    alice.settle()
    #expect(alice.outbox.isEmpty)
    bench.wait(Limits.second)
    #expect(alice.device.retired.isEmpty)
  }
}
