import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `Deadlines and events` {
  @Test(arguments: seeds) func `the deadline queue agrees with a sorted table`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var queue = DeadlineQueue()
    var table: [UInt32: Nanoseconds] = [:]
    for _ in 0..<20000 {
      let slot = UInt32(random.below(50))
      switch random.below(4) {
      case 0:
        queue.set(nil, for: slot)
        table[slot] = nil
      case 1:
        let now = Nanoseconds(random.below(1000)), first = table.values.min()
        let popped = queue.popExpired(at: now)
        guard let popped else {
          let isEarly = first.map { $0 > now } ?? true
          #expect(isEarly)
          continue
        }
        guard table[popped] == first, first! <= now else { return fail("slot \(popped)") }
        table[popped] = nil
      default:
        let deadline = Nanoseconds(random.below(1000))
        queue.set(deadline, for: slot)
        table[slot] = deadline
      }
      guard queue.first == table.values.min() else { return fail("first is \(String(describing: queue.first))") }
    }
  }

  @Test func `a peer's timers fire once each, and only when they have passed`() {
    var timers = PeerTimers()
    #expect(timers.earliest == nil)
    timers[.zeroKeys] = 500
    timers[.sendKeepalive] = 100
    timers[.newHandshake] = 100
    timers[.retransmitHandshake] = 50
    timers[.retransmitHandshake] = nil
    #expect(timers.earliest == 100)
    #expect(timers.takeExpired(at: 99) == nil)
    var fired: [PeerTimer] = []
    while let timer = timers.takeExpired(at: 100) { fired.append(timer) }
    #expect(Set(fired) == [.sendKeepalive, .newHandshake])
    #expect(fired.count == 2)
    #expect(timers.isRunning(.zeroKeys) && !timers.isRunning(.sendKeepalive))
    timers.stopAll()
    #expect(timers.earliest == nil)
  }

  @Test func `only the first event asks for a wake-up, and each peer is listed once with all it has to tell`() {
    var random = SeededRandom(seed: 1)
    let plane = DataPlane(using: &random)
    let peers = (0..<3).map { PeerReference.create(slot: UInt32($0)) }
    defer { for peer in peers { peer.destroy() } }
    for _ in 0..<2 {
      let wakes = [
        plane.post(.unanswered, of: peers[0]), plane.post(.roamed, of: peers[0]), plane.post(.roamed, of: peers[1]),
        plane.post(.unanswered, of: peers[0]), plane.post(.keyConfirmed, of: peers[2]),
      ]
      #expect(wakes == [true, false, false, false, false])
      #expect(peers.allSatisfy { $0.isBusy })
      var told: [UInt32: UInt32] = [:]
      plane.events.takeAll { peer, events in
        #expect(told[peer.slot] == nil)
        told[peer.slot] = events.rawValue
      }
      #expect(told == [0: 4 | 16, 1: 16, 2: 2])
      #expect(!peers.contains { $0.isBusy })
    }
  }

  @Test func `an event posted while the list is being read is not lost`() {
    var random = SeededRandom(seed: 2)
    let plane = DataPlane(using: &random)
    let peers = (0..<3).map { PeerReference.create(slot: UInt32($0)) }
    defer { for peer in peers { peer.destroy() } }
    for peer in peers { _ = plane.post(.unanswered, of: peer) }
    var asked: [Bool] = []
    // The last one pushed is read first; it has more to tell at once.
    plane.events.takeAll { peer, _ in asked.append(plane.post(.roamed, of: peer)) }
    #expect(asked == [true, false, false])
    var again: [UInt32] = []
    plane.events.takeAll { peer, events in if events == .roamed { again.append(peer.slot) } }
    #expect(again.sorted() == [0, 1, 2])
  }
}

@Suite struct `Packets that wait for a key` {
  private func pair() -> (Bench, Node, Node) {
    let bench = Bench(seed: 8)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    return (bench, alice, bob)
  }

  @Test func `are 128 at most, and the oldest give way`() {
    let (bench, alice, bob) = pair()
    alice.push((0..<200).map { alice.packet(to: bob, number: $0) })
    #expect(alice.drops(.stagedTooLong) == 72)
    bench.deliver()
    #expect(bob.received == (72..<200).map { alice.packet(to: bob, number: $0) })
    #expect(!alice.peer(bob).reference.hasStagedPackets)
  }

  @Test func `are 16 MiB at most, of all peers together, and that much is there again once they are sent`() {
    let bench = Bench(seed: 9)
    let alice = bench.addNode()
    let others = (0..<3).map { _ in bench.addNode() }
    for other in others {
      alice.add(other)
      other.add(alice)
    }
    let size = 60000
    let room = (16 << 20) / size
    for other in others { alice.push((0..<128).map { alice.packet(to: other, number: $0, size: size) }) }
    #expect(alice.drops(.stagedTooLong) == UInt64(3 * 128 - room))
    bench.deliver()
    #expect(others.map(\.received.count).reduce(0, +) == room)
    // Sent, and not only forgotten about.
    bench.wait(600 * Limits.second)
    for other in others { alice.push((0..<80).map { alice.packet(to: other, number: $0, size: size) }) }
    #expect(alice.drops(.stagedTooLong) == UInt64(3 * 128 - room))
  }

  @Test func `are dropped and counted when the handshake is given up`() {
    let (bench, alice, bob) = pair()
    alice.push([alice.packet(to: bob), alice.packet(to: bob)])
    alice.settle()
    for _ in 0..<120 {
      bench.wait(Limits.second)
      alice.settle()
      alice.outbox = []
    }
    #expect(alice.drops(.handshakeGivenUp) == 2)
    #expect(!alice.peer(bob).reference.isBusy)
    // The next packet begins anew.
    alice.push([alice.packet(to: bob, number: 7)])
    bench.deliver()
    #expect(bob.received == [alice.packet(to: bob, number: 7)])
  }
}
