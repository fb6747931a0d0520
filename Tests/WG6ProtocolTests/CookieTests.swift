import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

@Suite struct `A responder under load` {
  private struct Scene {
    let bench: Bench
    let alice: Node
    let bob: Node

    init(seed: UInt64) {
      bench = Bench(seed: seed)
      alice = bench.addNode()
      bob = bench.addNode()
      alice.add(bob)
      bob.add(alice)
      bob.fill = 0.125
    }

    /// An initiation from alice now, though the last was a moment ago.
    func initiation() -> [UInt8] {
      alice.peer(bob).initiationSentAt = nil
      alice.device.initiate(alice.peer(bob), isRetry: false, now: bench.now)
      alice.settle()
      return alice.outbox.removeLast().bytes
    }

    /// What bob answers to `bytes`.
    func answer(_ bytes: [UInt8], from source: Endpoint? = nil) -> [UInt8]? {
      bob.receive(bytes, from: source ?? alice.endpoint)
      defer { bob.outbox = [] }
      return bob.outbox.first?.bytes
    }

    /// Lets alice have a cookie.
    func fetchCookie() {
      alice.receive(answer(initiation())!, from: bob.endpoint)
      bench.wait(100 * Limits.millisecond)
    }
  }

  @Test func `answers with a cookie, shorter than what it answers, and the next initiation is let in`() throws {
    let scene = Scene(seed: 70)
    let first = scene.initiation()
    let reply = try #require(scene.answer(first))
    #expect(reply[0] == 3 && reply.count == 64 && reply.count < first.count)
    #expect(Array(reply[4..<8]) == Array(first[4..<8]))
    #expect(scene.bob.drops(.cookieRequired) == 1)
    #expect(first[132...].allSatisfy { $0 == 0 })
    scene.alice.receive(reply, from: scene.bob.endpoint)
    #expect(scene.alice.outbox.isEmpty)
    scene.bench.wait(Limits.second)
    let second = scene.initiation()
    #expect(second[132...].contains { $0 != 0 })
    let response = try #require(scene.answer(second))
    #expect(response[0] == 2)
  }

  @Test func `takes a cookie only from where it was sent to, address and port`() {
    let scene = Scene(seed: 71)
    scene.fetchCookie()
    let initiation = scene.initiation()
    var elsewhere = scene.alice.endpoint
    elsewhere.port += 1
    #expect(scene.answer(initiation, from: elsewhere)?[0] == 3)
    elsewhere = Endpoint(address: .v4(0x0A00_00FE), port: scene.alice.endpoint.port)
    #expect(scene.answer(initiation, from: elsewhere)?[0] == 3)
    // The same 32 bits at the top of an IPv6 address are somewhere else.
    elsewhere = Endpoint(address: .v6(high: 0x0A00_0001 << 32, low: 0), port: scene.alice.endpoint.port)
    #expect(scene.answer(initiation, from: elsewhere)?[0] == 3)
    #expect(scene.answer(initiation)?[0] == 2)
  }

  @Test func `forgets its secret after 120 s, and a cookie is used for 115 s`() {
    let scene = Scene(seed: 72)
    scene.fetchCookie()
    scene.bench.now.monotonic += 114 * Limits.second
    scene.bench.now.wall += 114 * Limits.second
    let early = scene.initiation()
    #expect(early[132...].contains { $0 != 0 })
    scene.bench.now.monotonic += Limits.second
    scene.bench.now.wall += Limits.second
    #expect(scene.initiation()[132...].allSatisfy { $0 == 0 })
    // The secret is nearly 116 s old now; the cookie still holds until it is 120.
    scene.bench.now.monotonic += 3 * Limits.second
    #expect(scene.answer(early)?[0] == 2)
    let late = Scene(seed: 72)
    late.fetchCookie()
    let kept = late.initiation()
    late.bench.now.monotonic += 121 * Limits.second
    #expect(late.answer(kept)?[0] == 3)
  }

  @Test func `counts as loaded for a second after its queue was an eighth full`() {
    let scene = Scene(seed: 73)
    #expect(scene.answer(scene.initiation())?[0] == 3)
    scene.bob.fill = 0
    for (delay, expected) in [(900, 3), (99, 3), (1, 2)] as [(UInt64, UInt8)] {
      scene.bench.wait(delay * Limits.millisecond)
      #expect(scene.answer(scene.initiation())?[0] == expected)
    }
    scene.bench.wait(Limits.second)
    scene.bob.fill = 0.124
    #expect(scene.answer(scene.initiation())?[0] == 2)
  }

  @Test func `asks for a cookie before a response is looked into, too`() {
    let scene = Scene(seed: 74)
    let bytes = scene.initiation()
    scene.bob.fill = 0
    let response = scene.answer(bytes)!
    scene.alice.fill = 1
    scene.alice.receive(response, from: scene.bob.endpoint)
    let reply = scene.alice.outbox.removeFirst().bytes
    #expect(reply[0] == 3)
    #expect(scene.alice.device.sessionCount == 0)
    scene.bob.receive(reply, from: scene.alice.endpoint)
    #expect(scene.bob.drops(.unexpectedCookieReply) == 0)
  }

  @Test func `lets 20 a second through from one source, five at once`() {
    let scene = Scene(seed: 75)
    scene.fetchCookie()
    scene.bench.wait(Limits.second)
    scene.bob.fill = 1
    // The limiter comes before the handshake, whose own limit of 20 ms shows as another reason.
    let limited = (0..<8).map { _ in
      _ = scene.answer(scene.initiation())
      return scene.bob.drops(.rateLimited)
    }
    #expect(limited == [0, 0, 0, 0, 0, 1, 2, 3])
  }

  @Test func `sends a cookie reply that moves nobody's endpoint`() {
    let scene = Scene(seed: 76)
    let reply = scene.answer(scene.initiation())!
    let before = scene.alice.peer(scene.bob).reference.path
    scene.alice.receive(reply, from: Endpoint(address: .v4(0xC633_6402), port: 7))
    #expect(scene.alice.peer(scene.bob).reference.path == before)
    #expect(scene.alice.drops(.unexpectedCookieReply) == 0)
  }

  @Test func `is believed once for each message, and only by who asked`() {
    let scene = Scene(seed: 77)
    let reply = scene.answer(scene.initiation())!
    // A later initiation makes this reply an answer to nothing.
    let second = scene.initiation()
    scene.alice.receive(reply, from: scene.bob.endpoint)
    #expect(scene.alice.drops(.unexpectedCookieReply) == 1)
    let answer = scene.answer(second)!
    scene.alice.receive(answer, from: scene.bob.endpoint)
    scene.alice.receive(answer, from: scene.bob.endpoint)
    #expect(scene.alice.drops(.unexpectedCookieReply) == 2)
  }
}

@Suite struct `The limiter of sources` {
  private func path(_ address: IPAddress, port: UInt16 = 1) -> PackedPath {
    PackedPath(Path(to: Endpoint(address: address, port: port)))
  }

  @Test func `gives each IPv4 address and each IPv6 64 its own bucket, whatever the port`() {
    var limiter = SourceLimiter(), random = SeededRandom(seed: 80)
    let now = 1000 * Limits.second
    func burst(_ address: (Int) -> IPAddress) -> Int {
      (0..<20).count { limiter.admits(path(address($0), port: UInt16($0)), now: now, using: &random) }
    }
    #expect(burst { _ in .v4(0x0A00_0001) } == 5)
    #expect(burst { _ in .v4(0x0A00_0002) } == 5)
    #expect(burst { .v4(0x0B00_0000 + UInt32($0)) } == 20)
    #expect(burst { .v6(high: 0x2001_0DB8_0000_0001, low: UInt64($0)) } == 5)
    #expect(burst { .v6(high: 0x2001_0DB8_0001_0000 + UInt64($0), low: 1) } == 20)
  }

  @Test func `lets twenty a second through in the long run`() {
    var limiter = SourceLimiter(), random = SeededRandom(seed: 81)
    let start = 1000 * Limits.second
    let admitted = (0..<10000).count {
      limiter.admits(path(.v4(1)), now: start + UInt64($0) * Limits.millisecond, using: &random)
    }
    #expect((200...205).contains(admitted))
  }

  @Test func `stays as small as it is, however many sources there are`() {
    var limiter = SourceLimiter(), random = SeededRandom(seed: 82)
    for number in 0..<60_000 {
      _ = limiter.admits(path(.v4(UInt32(number))), now: 1000 * Limits.second, using: &random)
    }
    let buckets = Mirror(reflecting: limiter).children.first { $0.label == "buckets" }?.value as? any Collection
    #expect(buckets?.count == 16384)
  }
}
