import TestVectors
import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// The numbers of the paper's §6, each at its edge.
@Suite struct `Limits of a session` {
  private func pair(seed: UInt64 = 40, firstCounter: UInt64 = 0) -> (Bench, Node, Node) {
    let bench = Bench(seed: seed)
    let alice = bench.addNode(), bob = bench.addNode()
    for node in [alice, bob] { node.device.firstCounter = firstCounter }
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    bob.received = []
    alice.trains = []
    return (bench, alice, bob)
  }

  private func counter(_ bytes: [UInt8]) -> UInt64 { bytes[8..<16].reversed().reduce(0) { $0 << 8 | UInt64($1) } }

  @Test func `nothing is sent under a key of 180 s, and what is wanted instead is a handshake`() {
    let (bench, alice, bob) = pair()
    bench.now.monotonic += 180 * Limits.second - 30 * Limits.millisecond
    bob.push([bob.packet(to: alice)])
    #expect(bob.outbox.map { $0.bytes[0] } == [4])
    bob.outbox = []
    bench.now.monotonic += 31 * Limits.millisecond
    bob.push([bob.packet(to: alice)])
    #expect(bob.outbox.isEmpty)
    bob.settle()
    #expect(bob.outbox.map { $0.bytes[0] } == [1])
    _ = alice
  }

  @Test func `nothing is taken in under a key of 180 s`() {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob, number: 1), alice.packet(to: bob, number: 2)])
    let messages = alice.outbox.map(\.bytes)
    bench.now.monotonic += 180 * Limits.second - 1
    bob.receive(messages[0], from: alice.endpoint)
    #expect(bob.received.count == 1)
    bench.now.monotonic += 1
    bob.receive(messages[1], from: alice.endpoint)
    #expect(bob.received.count == 1)
    #expect(bob.drops(.expiredKey) == 1)
  }

  @Test func `not one message goes out past the last counter, also not in a train that began before it`() {
    // The handshake's own packet took the first two.
    let (bench, alice, bob) = pair(firstCounter: Limits.rejectAfterMessages - 5)
    alice.push((0..<10).map { alice.packet(to: bob, number: $0) })
    let counters = alice.outbox.filter { $0.bytes[0] == 4 }.map { counter($0.bytes) }
    #expect(!counters.isEmpty)
    #expect(counters.allSatisfy { $0 < Limits.rejectAfterMessages })
    #expect(counters.last == Limits.rejectAfterMessages - 1)
    bench.wait(6 * Limits.second)
    bench.deliver()
    #expect(bob.received.count >= 5)
    _ = bench
  }

  @Test func `packets that waited stop at the last counter as well, and go on under the next key`() {
    let bench = Bench(seed: 41)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.device.firstCounter = Limits.rejectAfterMessages - 5
    alice.push((0..<12).map { alice.packet(to: bob, number: $0) })
    bench.deliver()
    #expect(bob.received.count == 5)
    #expect(bob.drops(.expiredKey) == 0)
    for _ in 0..<12 {
      bench.wait(Limits.second)
      bench.deliver()
    }
    #expect(bob.received == (0..<12).map { alice.packet(to: bob, number: $0) }.prefix(bob.received.count).map { $0 })
    #expect(bob.received.count >= 10)
  }

  @Test func `a key is renewed after 2^60 messages`() {
    let (bench, alice, bob) = pair(firstCounter: Limits.rekeyAfterMessages - 10)
    bench.wait(6 * Limits.second)
    alice.push([alice.packet(to: bob)])
    alice.settle()
    #expect(alice.outbox.map { $0.bytes[0] } == [4])
    alice.push((0..<10).map { alice.packet(to: bob, number: $0) })
    alice.settle()
    #expect(alice.outbox.last?.bytes[0] == 1)
    #expect(alice.outbox.count == 12)
    _ = bob
  }

  @Test func `a counter past the limit is refused before it costs anything`() {
    let (_, alice, bob) = pair()
    alice.push([alice.packet(to: bob)])
    var bytes = alice.outbox[0].bytes
    for index in 8..<16 { bytes[index] = 0xFF }
    bob.receive(bytes, from: alice.endpoint)
    #expect(bob.drops(.expiredKey) == 1)
    #expect(bob.drops(.unauthenticatedData) == 0)
  }

  @Test func `who began a session renews it when it still receives at 165 s, and the other end does not`() {
    for (isEarly, receives, expected) in [(true, true, 0), (false, true, 1), (false, false, 0)] {
      let (bench, alice, bob) = pair()
      // Both are answered, so that no other timer runs.
      bob.push([bob.packet(to: alice)])
      bench.deliver()
      bench.wait(10 * Limits.second)
      bench.deliver()
      bench.wait((isEarly ? 154 : 155) * Limits.second)
      let sender = receives ? bob : alice, receiver = receives ? alice : bob
      // Straight from the other's key, for the sender itself would renew the session that it began.
      sender.push([sender.packet(to: receiver)])
      let message = sender.outbox.first { $0.bytes[0] == 4 }!
      sender.outbox = []
      receiver.outbox = []
      receiver.receive(message.bytes, from: sender.endpoint)
      #expect(
        receiver.outbox.count { $0.bytes[0] == 1 } == expected, "early \(isEarly), the initiator receives \(receives)")
    }
  }

  @Test func `a responder sends nothing under a session before it hears under it`() {
    let bench = Bench(seed: 42)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    alice.settle()
    let initiation = alice.outbox.removeFirst()
    bob.receive(initiation.bytes, from: alice.endpoint)
    #expect(bob.outbox.map { $0.bytes[0] } == [2])
    bob.push([bob.packet(to: alice)])
    bob.settle()
    #expect(!bob.outbox.contains { $0.bytes[0] == 4 })
    bench.deliver()
    #expect(alice.received.count == 1)
    #expect(bob.received.count == 1)
  }

  @Test func `who has just answered an initiation does not begin one of its own for 5 s`() {
    let bench = Bench(seed: 43)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    alice.settle()
    bob.receive(alice.outbox.removeFirst().bytes, from: alice.endpoint)
    bob.outbox = []
    bob.push([bob.packet(to: alice)])
    bob.settle()
    #expect(bob.outbox.isEmpty)
    bench.now.monotonic += 5334 * Limits.millisecond
    bob.device.advance(now: bench.now)
    bob.settle()
    #expect(bob.outbox.map { $0.bytes[0] } == [1])
  }

  @Test(arguments: [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  ])
  func `a public key of low order never puts a packet on the wire`(key: String) {
    let bench = Bench(seed: 44)
    let alice = bench.addNode()
    var change = PeerUpdate(PublicKey(hex: key))
    change.endpoint = Endpoint(address: .v4(9), port: 9)
    change.persistentKeepalive = 1
    change.allowedIPs = [.add(Pair.prefix(9))]
    alice.apply(change)
    for _ in 0..<30 {
      alice.push([ipv6Packet(from: 1, to: 9, number: 0)])
      bench.wait(Limits.second)
      alice.settle()
    }
    #expect(alice.outbox.isEmpty)
    let left = alice.device.indexOwners.count
    #expect(left == 0)
  }

  @Test(arguments: [(0, 0, true), (1, 1, true), (1, 2, false), (1, 0, false), (0, 1, false)])
  func `preshared keys must be the same at both ends`(atAlice: UInt64, atBob: UInt64, works: Bool) {
    let (bench, alice, bob) = pair()
    func key(_ seed: UInt64) -> KeyChange<PresharedKey> {
      var random = SeededRandom(seed: seed)
      return seed == 0 ? .remove : .set(PresharedKey(using: &random))
    }
    var change = PeerUpdate(bob.key.publicKey)
    change.presharedKey = key(atAlice)
    alice.apply(change)
    change = PeerUpdate(alice.key.publicKey)
    change.presharedKey = key(atBob)
    bob.apply(change)
    bench.now.monotonic += 200 * Limits.second
    bench.now.wall += 200 * Limits.second
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    #expect(bob.received.count == (works ? 1 : 0))
    #expect(alice.drops(.unauthenticatedHandshake) == (works ? 0 : 1))
  }

  @Test func `a peer without an endpoint is told of at once, and nothing is kept for it`() {
    let bench = Bench(seed: 45)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob, knowsEndpoint: false)
    alice.push([alice.packet(to: bob), alice.packet(to: bob)])
    alice.settle()
    #expect(alice.drops(.noEndpoint) == 2)
    #expect(alice.outbox.isEmpty)
    #expect(!alice.peer(bob).reference.isBusy)
  }
}
