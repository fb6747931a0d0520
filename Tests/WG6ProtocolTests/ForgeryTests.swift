import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// Messages of a real conversation, spoiled in every way that is short to tell.
@Suite struct `Spoiled messages` {
  /// A conversation that stands before message `type` from alice (1, 4) or bob (2, 3) reaches the other end.
  private struct Scene {
    let bench: Bench
    let alice: Node
    let bob: Node
    let message: [UInt8]
    let sender: Node
    let receiver: Node

    init(before type: UInt8) {
      bench = Bench(seed: 50 + UInt64(type))
      alice = bench.addNode()
      bob = bench.addNode()
      alice.add(bob)
      bob.add(alice)
      alice.push([alice.packet(to: bob)])
      alice.settle()
      if type == 3 { bob.fill = 1 }
      if type > 1 { bob.receive(alice.outbox.removeFirst().bytes, from: alice.endpoint) }
      if type == 4 {
        bench.deliver()
        bob.received = []
        alice.push([alice.packet(to: bob)])
      }
      (sender, receiver) = type == 2 || type == 3 ? (bob, alice) : (alice, bob)
      message = sender.outbox.removeFirst().bytes
      precondition(message[0] == type && sender.outbox.isEmpty)
    }

    /// What the receiver counted, by reason, since `before`.
    func counted(since before: [UInt64]) -> [DropReason] {
      zip(DropReason.allCases, before).flatMap { Array(repeating: $0, count: Int(receiver.drops($0) - $1)) }
    }

    var counts: [UInt64] { DropReason.allCases.map { receiver.drops($0) } }

    /// Gives `bytes` to the receiver; says what is wrong with what happened, if anything is.
    func offer(_ bytes: [UInt8], expecting allowed: [DropReason]) -> String? {
      let before = counts, endpoint = receiver.peer(sender).reference.path.endpoint
      let byteCount = receiver.device.status().peers[0].receivedBytes
      // From elsewhere: nothing forged may move the peer.
      receiver.receive(bytes, from: Endpoint(address: .v4(0xC633_6401), port: 666))
      let reasons = counted(since: before)
      if reasons.count != 1 || !allowed.contains(reasons[0]) { return "counted as \(reasons) in place of \(allowed)" }
      if !receiver.outbox.isEmpty { return "answered" }
      if !receiver.received.isEmpty { return "delivered" }
      if receiver.peer(sender).reference.path.endpoint != endpoint { return "followed" }
      if receiver.device.status().peers[0].receivedBytes != byteCount { return "counted as received" }
      return nil
    }

    /// Whether the conversation goes on from the true message as if nothing had been.
    func goesOn() -> Bool {
      bob.fill = 0
      receiver.receive(message, from: sender.endpoint)
      bench.deliver()
      // A cookie is used by the next initiation.
      if message[0] == 3 {
        bench.wait(6 * Limits.second)
        bench.deliver()
      }
      return bob.received == [alice.packet(to: bob)]
    }
  }

  /// Which reason a flipped bit at `offset` of message `type` is to be counted under.
  private func reasons(_ type: UInt8, at offset: Int) -> [DropReason] {
    if offset < 4 { return [.malformedMessage] }
    switch type {
    case 1, 2: return [.badMac1]
    case 3: return [.unexpectedCookieReply]
    default:
      return offset < 8
        ? [.unknownReceiver] : offset < 16 ? [.unauthenticatedData, .expiredKey] : [.unauthenticatedData]
    }
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt8])
  func `are dropped for every flipped bit, answered by nothing, and harm nothing`(type: UInt8) {
    let scene = Scene(before: type)
    // Nobody looks at mac2 while there is no load.
    let end = type <= 2 ? scene.message.count - 16 : scene.message.count
    for bit in 0..<end * 8 {
      var bytes = scene.message
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      if let wrong = scene.offer(bytes, expecting: reasons(type, at: bit / 8)) {
        return fail("bit \(bit % 8) of byte \(bit / 8): \(wrong)")
      }
    }
    #expect(scene.goesOn())
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt8]) func `are dropped at every other length`(type: UInt8) {
    let scene = Scene(before: type)
    let whole = scene.message
    for length in Array(0..<whole.count) + Array(whole.count + 1...whole.count + 70) + [2000] {
      let bytes =
        length < whole.count ? Array(whole[..<length]) : whole + Array(repeating: 0, count: length - whole.count)
      let expected: DropReason = type == 4 && length >= 32 ? .unauthenticatedData : .malformedMessage
      if let wrong = scene.offer(bytes, expecting: [expected]) { return fail("length \(length): \(wrong)") }
    }
    #expect(scene.goesOn())
  }

  @Test(arguments: [1, 2, 4] as [UInt8]) func `are refused the second time`(type: UInt8) {
    let scene = Scene(before: type)
    scene.receiver.receive(scene.message, from: scene.sender.endpoint)
    scene.receiver.outbox = []
    scene.receiver.received = []
    let expected: [UInt8: DropReason] = [1: .staleTimestamp, 2: .unexpectedResponse, 4: .replayedData]
    #expect(scene.offer(scene.message, expecting: [expected[type]!]) == nil)
    scene.bench.wait(Limits.second)
    #expect(scene.offer(scene.message, expecting: [expected[type]!]) == nil)
  }

  @Test func `of no known type are refused, whatever their length`() {
    let scene = Scene(before: 4)
    for type in [0, 5, 6, 128, 255] as [UInt8] {
      for length in [32, 64, 92, 148, 1500] {
        #expect(scene.offer([type] + Array(repeating: 0, count: length - 1), expecting: [.malformedMessage]) == nil)
      }
    }
    #expect(scene.goesOn())
  }

  @Test func `cost nothing before mac1 is right, and one with a right mac1 is looked into`() {
    let scene = Scene(before: 1)
    var garbage = ControlMessage(count: InitiationMessage.length)
    garbage.setWord(MessageType.initiation, at: 0)
    for (offset, byte) in (UInt8(1)...140).enumerated() {
      garbage.mutate { $0.storeBytes(of: byte, toByteOffset: 4 + offset, as: UInt8.self) }
    }
    let bare = garbage.withUnsafeBytes { Array($0) }
    #expect(scene.offer(bare, expecting: [.badMac1]) == nil)
    let key = MacKeys(of: scene.bob.key.publicKey).mac1
    garbage.setMac(MacKeys.mac(of: garbage, length: garbage.mac1Offset, key: key.span.bytes), at: garbage.mac1Offset)
    let sealed = garbage.withUnsafeBytes { Array($0) }
    #expect(scene.offer(sealed, expecting: [.unauthenticatedHandshake]) == nil)
    #expect(scene.goesOn())
  }

  @Test func `from a stranger who knows our key are counted as such`() {
    let scene = Scene(before: 1)
    let mallory = scene.bench.addNode()
    mallory.add(scene.bob)
    mallory.push([mallory.packet(to: scene.bob)])
    mallory.settle()
    #expect(scene.offer(mallory.outbox.removeFirst().bytes, expecting: [.unknownPeer]) == nil)
    #expect(scene.goesOn())
  }
}

@Suite struct `Initiations` {
  private func pair(seed: UInt64 = 60) -> (Bench, Node, Node) {
    let bench = Bench(seed: seed)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    return (bench, alice, bob)
  }

  /// An initiation from `alice` now, though the last was a moment ago.
  private func initiation(_ bench: Bench, _ alice: Node, _ bob: Node) -> [UInt8] {
    alice.peer(bob).initiationSentAt = nil
    alice.device.initiate(alice.peer(bob), isRetry: false, now: bench.now)
    alice.settle()
    return alice.outbox.removeLast().bytes
  }

  @Test func `of one peer are answered every 20 ms at most`() {
    let (bench, alice, bob) = pair()
    var answers: [Int] = []
    for _ in 0..<9 {
      bob.receive(initiation(bench, alice, bob), from: alice.endpoint)
      answers.append(bob.outbox.count)
      bob.outbox = []
      bench.wait(5 * Limits.millisecond)
    }
    #expect(answers == [1, 0, 0, 0, 1, 0, 0, 0, 1])
    #expect(bob.drops(.initiationFlood) == 6)
  }

  @Test func `carry ever later timestamps, cut to 2^24 ns, also while the clock goes back`() {
    let (bench, alice, bob) = pair(seed: 61)
    var newest: TAI64N?
    for step in 0..<20 {
      bench.wait(30 * Limits.millisecond)
      if step == 7 { bench.now.wall -= 3600 * Limits.second }
      if step == 13 { bench.now.wall = 5 * Limits.second }
      bob.receive(initiation(bench, alice, bob), from: alice.endpoint)
      let timestamp = bob.peer(alice).newestTimestamp!
      #expect(newest.map { $0 < timestamp } ?? true)
      #expect(timestamp.nanoseconds % (1 << 24) == 0)
      newest = timestamp
    }
    #expect(bob.drops(.staleTimestamp) == 0)
  }

  @Test func `are taken from a peer whose clock is anywhere, also when our own goes back`() {
    let (bench, alice, bob) = pair(seed: 62)
    bob.receive(initiation(bench, alice, bob), from: alice.endpoint)
    bench.wait(Limits.second)
    let next = initiation(bench, alice, bob)
    bench.now.wall = 1
    bob.receive(next, from: alice.endpoint)
    #expect(bob.drops(.staleTimestamp) == 0)
    #expect(bob.outbox.count == 2)
  }

  @Test func `to one peer tell nothing of how many went to others`() {
    let bench = Bench(seed: 63)
    let alice = bench.addNode()
    let others = (0..<40).map { _ in bench.addNode() }
    for other in others {
      alice.add(other)
      other.add(alice)
    }
    for other in others { other.receive(initiation(bench, alice, other), from: alice.endpoint) }
    let expected = TAI64N(wall: bench.now.wall)
    #expect(others.allSatisfy { $0.peer(alice).newestTimestamp == expected })
  }
}
