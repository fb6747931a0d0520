import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// What two threads can do to each other between two lines of code.
@Suite struct `Threads that cross` {
  private func pair(_ seed: UInt64 = 30) -> (Bench, Node, Node) {
    let bench = Bench(seed: seed)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    return (bench, alice, bob)
  }

  @Test func `a key made after a data thread last looked at its clock is young, and not very old`() {
    let peer = PeerReference.create(slot: 0)
    defer { peer.destroy() }
    let made = 1000 * Limits.second
    let keypair = makeKeypair(peer, createdAt: made)
    defer { keypair.destroy() }
    for early in [0, 1, Limits.millisecond, Limits.second] {
      #expect(keypair.canSend(at: made - early))
      #expect(!keypair.isDueWhenSending(at: made - early))
    }
  }

  @Test func `a sign of life a moment ahead of the control path's clock is no reason for a keepalive`() {
    let (bench, alice, bob) = pair()
    var change = PeerUpdate(bob.key.publicKey)
    change.persistentKeepalive = 25
    alice.apply(change)
    bench.deliver()
    alice.outbox = []
    alice.peer(bob).timers[.persistentKeepalive] = bench.now.monotonic
    alice.device.schedule(alice.peer(bob))
    alice.peer(bob).reference.authenticatedSent(at: bench.now.monotonic + Limits.millisecond)
    bench.wait(0)
    alice.settle()
    #expect(alice.outbox.isEmpty)
  }

  @Test func `data sent a moment ahead of the control path's clock is not unanswered yet`() {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    bench.wait(6 * Limits.second)
    alice.outbox = []
    let reference = alice.peer(bob).reference
    reference.pointer.pointee.unanswered.reset()
    _ = reference.pointer.pointee.unanswered.begin(at: bench.now.monotonic + Limits.millisecond)
    alice.peer(bob).timers[.newHandshake] = bench.now.monotonic
    alice.device.schedule(alice.peer(bob))
    bench.wait(0)
    alice.settle()
    #expect(alice.outbox.isEmpty)
  }

  @Test func `packets that come after a request to drop earlier ones, which were gone already, are kept`() {
    let (bench, alice, bob) = pair()
    // The control path saw packets that waited, and the outbound thread sent them before it saw the request.
    alice.peer(bob).reference.discardStaged()
    alice.wake()
    alice.push([alice.packet(to: bob, number: 7)])
    bench.deliver()
    #expect(bob.received == [alice.packet(to: bob, number: 7)])
    #expect(alice.drops(.handshakeGivenUp) == 0)
  }

  @Test func `a session that was answered with and never used takes nobody's place when the one in use is renewed`() {
    let bench = Bench(seed: 33)
    var (first, second) = (bench.addNode(), bench.addNode())
    // The greater public key's session is the one that is kept: it has to be alice's.
    let keys = [first, second].map { node in (0..<32).map { node.key.publicKey.bytes[$0] } }
    if keys[0].lexicographicallyPrecedes(keys[1]) { (first, second) = (second, first) }
    let alice = first, bob = second
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    // bob begins another, and alice's answer is lost, as are his further tries.
    bench.wait(6 * Limits.second)
    bob.device.initiate(bob.peer(alice), isRetry: false, now: bench.now)
    bob.settle()
    alice.receive(bob.outbox.removeFirst().bytes, from: bob.endpoint)
    alice.outbox = []
    bench.wait(6 * Limits.second)
    bob.settle()
    bob.outbox = []
    // A packet of bob's is under way under the session in use when alice renews that.
    bob.push([bob.packet(to: alice, number: 7)])
    let underWay = bob.outbox.removeFirst()
    alice.device.initiate(alice.peer(bob), isRetry: false, now: bench.now)
    alice.received = []
    bench.deliver()
    alice.receive(underWay.bytes, from: bob.endpoint)
    #expect(alice.received == [bob.packet(to: alice, number: 7)])
  }

  @Test func `an answer that is here before the send returns is an answer, and is owed a keepalive`() throws {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    bob.push([bob.packet(to: alice)])
    var answer = try #require(bob.outbox.first).bytes
    alice.packet(to: bob).withUnsafeBytes { alice.outbound.room.copyMemory(from: $0) }
    alice.outbound.pass()
    _ = alice.outbound.push(length: 64, now: bench.now.monotonic) { _ in 0 }
    alice.outbound.flush(now: bench.now.monotonic) { train in
      let path = PackedPath(Path(to: bob.endpoint, from: alice.endpoint.address, sourceInterface: 1))
      answer.withUnsafeMutableBytes { _ = alice.inbound.open($0, from: path, now: bench.now.monotonic) }
      return train.byteCount
    }
    alice.outbound.leave()
    alice.settle()
    alice.outbox = []
    bench.wait(10 * Limits.second)
    alice.settle()
    #expect(alice.outbox.map(\.bytes.count) == [DataMessage.overhead])
    bench.wait(6 * Limits.second)
    alice.settle()
    #expect(alice.outbox.count == 1)
  }

  @Test func `what begins to wait between a watcher's last look and its leaving is watched`() {
    let waiting = Waiting()
    func begins(at time: Nanoseconds) -> Bool { waiting.begin(at: time) }
    func watcherSees(_ look: (borrowing Waiting) -> Nanoseconds?) -> Nanoseconds? { look(waiting) }
    #expect(begins(at: 3))
    #expect(watcherSees { $0.watch(now: 4) } == 3)
    waiting.end()
    // The timer has fired, and the watcher has seen that nothing waits. A data thread still sees a watcher.
    #expect(!begins(at: 5))
    #expect(watcherSees { $0.endWatch() } == 5)
    waiting.end()
    #expect(!begins(at: 7))
    #expect(watcherSees { $0.stillWaiting() } == 7)
    waiting.end()
    #expect(watcherSees { $0.stillWaiting() } == nil)
    #expect(begins(at: 9))
  }

  @Test func `a request for a handshake that comes after the handshake starts no other`() {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    #expect(bob.received.count == 1)
    // Posted while the session was still missing, read now that it is there.
    _ = alice.device.plane.post(.handshakeWanted, of: alice.peer(bob).reference)
    alice.settle()
    for _ in 0..<7 {
      bench.wait(Limits.second)
      alice.settle()
    }
    #expect(alice.outbox.filter { $0.bytes[0] == 1 }.isEmpty)
    #expect(!alice.peer(bob).reference.isHandshaking)
  }

  @Test func `a packet staged just as its key came is sent all the same`() {
    let (bench, alice, bob) = pair()
    alice.isAwake = false
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    // The wake-up came before the packet was on the list: nobody woke the thread for it, but it asked for a key.
    alice.isAwake = true
    #expect(alice.peer(bob).reference.hasStagedPackets)
    _ = alice.device.plane.post(.handshakeWanted, of: alice.peer(bob).reference)
    bench.deliver()
    #expect(bob.received.count == 1)
    #expect(!alice.peer(bob).reference.hasStagedPackets)
  }

  @Test func `a peer never loses its newer endpoint to a source address being forgotten`() async {
    let cell = PathCells()
    let rounds: UInt32 = 50_000
    let ending = Ending()
    async let forgetting: Void = Task.detached { while !ending.has { cell.forgetSource() } }.value
    async let wentBack: Int = Task.detached {
      var wentBack = 0
      for number in 1...rounds {
        cell.move(to: number)
        // Nobody else moves it.
        for _ in 0..<3 where cell.remote != UInt64(number) { wentBack += 1 }
      }
      ending.set()
      return wentBack
    }.value
    _ = await forgetting
    #expect(await wentBack == 0)
  }

  private final class PathCells: Sendable {
    let reference = PeerReference.create(slot: 0)

    deinit { reference.destroy() }

    var remote: UInt64 { reference.path.remote.high >> 32 }

    func move(to number: UInt32) {
      reference.path = PackedPath(
        Path(to: Endpoint(address: .v4(number), port: 1), from: .v4(number), sourceInterface: number))
    }

    func forgetSource() { reference.forgetSource() }
  }

  @Test func `a path is read whole, however fast it moves`() async {
    let cell = PathCells()
    async let writer: Void = Task.detached { for number in 1...UInt32(100_000) { cell.move(to: number) } }.value
    async let torn: Int = Task.detached {
      var torn = 0
      while cell.remote < 100_000 {
        let path = cell.reference.path
        if path.isKnown, path.remote != path.source || path.remote.high >> 32 != UInt64(path.sourceInterface) {
          torn += 1
        }
      }
      return torn
    }.value
    _ = await writer
    #expect(await torn == 0)
  }

  @Test func `an address that moves from one peer to another belongs to somebody at every moment`() async {
    let bench = Bench(seed: 31)
    let alice = bench.addNode(), bob = bench.addNode(), carol = bench.addNode()
    alice.add(bob)
    let plane = alice.device.plane
    let ending = Ending()
    async let orphaned: Int = Task.detached {
      var orphaned = 0
      while !ending.has {
        plane.quiescence.pass(5)
        if plane.allowedIPs.peer(for: Pair.prefix(2).address.bits, isIPv6: true) == nil { orphaned += 1 }
        plane.quiescence.leave(5)
      }
      return orphaned
    }.value
    for round in 0..<3000 {
      let (from, to) = round % 2 == 0 ? (bob, carol) : (carol, bob)
      var removal = PeerUpdate(from.key.publicKey)
      removal.removes = true
      var addition = PeerUpdate(to.key.publicKey)
      addition.allowedIPs = [.add(Pair.prefix(2))]
      var update = DeviceUpdate()
      update.peers = [removal, addition]
      alice.apply(update)
    }
    ending.set()
    #expect(await orphaned == 0)
  }
}
