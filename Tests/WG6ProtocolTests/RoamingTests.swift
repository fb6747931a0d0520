import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

@Suite struct `A peer that moves` {
  private func pair(seed: UInt64 = 90) -> (Bench, Node, Node) {
    let bench = Bench(seed: seed)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    alice.push([alice.packet(to: bob)])
    bench.deliver()
    bob.received = []
    return (bench, alice, bob)
  }

  private func place(_ number: UInt32) -> Endpoint { Endpoint(address: .v4(0xC633_6400 + number), port: 4000) }

  /// Data messages from alice to bob that are still under way.
  private func data(_ count: Int, _ alice: Node, _ bob: Node) -> [[UInt8]] {
    alice.push((0..<count).map { alice.packet(to: bob, number: $0) })
    defer { alice.outbox = [] }
    return alice.outbox.map(\.bytes)
  }

  @Test func `is followed by its newest message, and not by an older one that comes late`() {
    let (_, alice, bob) = pair()
    let messages = data(3, alice, bob)
    let path = { bob.peer(alice).reference.path.endpoint }
    bob.receive(messages[0], from: place(1))
    #expect(path() == place(1))
    bob.receive(messages[2], from: place(2))
    #expect(path() == place(2))
    bob.receive(messages[1], from: place(3))
    #expect(path() == place(2))
    #expect(bob.received.count == 3)
    bob.receive(messages[2], from: place(4))
    #expect(path() == place(2))
  }

  @Test func `is followed by a keepalive and by a packet that it may not send, for both are authentic`() {
    let (_, alice, bob) = pair()
    alice.device.sendKeepalive(alice.peer(bob), now: Now(monotonic: 1001 * Limits.second, wall: 1))
    alice.settle()
    bob.receive(alice.outbox.removeFirst().bytes, from: place(1))
    #expect(bob.peer(alice).reference.path.endpoint == place(1))
    alice.push([ipv6Packet(from: 7, to: 2, number: 0)])
    bob.receive(alice.outbox.removeFirst().bytes, from: place(2))
    #expect(bob.drops(.sourceNotAllowed) == 1)
    #expect(bob.peer(alice).reference.path.endpoint == place(2))
  }

  @Test func `is answered from where it wrote to, until routes change that would take the answer elsewhere`() {
    let (_, alice, bob) = pair()
    let messages = data(2, alice, bob)
    let path = { bob.peer(alice).reference.path }
    bob.receive(messages[0], from: place(1), to: .v4(7), interface: 3)
    bob.device.routesChanged { _ in .init(interface: 3) }
    #expect(path().source == IPAddress.v4(7).bits && path().sourceInterface == 3)
    // By another interface, or by none: the kernel chooses.
    for left in [4, nil] as [UInt32?] {
      bob.peer(alice).reference.path = PackedPath(Path(to: place(1), from: .v4(7), sourceInterface: 3))
      bob.device.routesChanged { _ in left.map { .init(interface: $0) } }
      #expect(!path().hasSource)
      #expect(path().endpoint == place(1))
    }
    // A path whose end the kernel chooses anyway stays as it is.
    let before = path()
    bob.device.routesChanged { _ in .init(interface: 5) }
    #expect(path() == before)
    // What comes next is answered from where it was written to, whichever way the answer goes.
    bob.receive(messages[1], from: place(1), to: .v4(7), interface: 3)
    #expect(path().source == IPAddress.v4(7).bits)
  }

  @Test func `is not moved by news that it can't be reached, which is counted for it`() {
    let (bench, alice, bob) = pair()
    let path = bob.peer(alice).reference.path
    bob.device.refused(path.withoutSource, now: bench.now)
    bob.device.refused(PackedPath(Path(to: place(9))), now: bench.now)
    #expect(bob.peer(alice).reference.path == path)
    #expect(bob.drops(.endpointUnreachable) == 2)
    #expect(bob.peer(alice).reference.dropCounts[.endpointUnreachable] == 1)
    // A flood of such news is not worth a look at every peer.
    for _ in 0..<1000 { bob.device.refused(path, now: bench.now) }
    #expect(bob.drops(.endpointUnreachable) == 1002)
    #expect(bob.peer(alice).reference.dropCounts[.endpointUnreachable] == 19)
  }

  @Test func `is the same only where nothing differs that the kernel is told`() {
    func path(
      _ remote: (UInt64, UInt64) = (1, 2), isIPv6: Bool = true, port: UInt16 = 3, zone: UInt32 = 4,
      _ source: (UInt64, UInt64)? = (5, 6), interface: UInt32 = 7
    ) -> PackedPath {
      PackedPath(
        remote: AddressBits(high: remote.0, low: remote.1), isIPv6: isIPv6, port: port, zone: zone,
        source: source.map { AddressBits(high: $0.0, low: $0.1) }, sourceInterface: interface)
    }
    #expect(path() == path())
    #expect(path() == path().checked(9).reviewed(tunnelMTU: 1400))
    let others = [
      path((0, 2)), path((1, 0)), path(isIPv6: false), path(port: 0), path(zone: 0), path((1, 2), (0, 6)),
      path((1, 2), (5, 0)), path((1, 2), nil), path(interface: 0),
    ]
    for (number, other) in others.enumerated() { #expect(path() != other, "\(number)") }
  }

  @Test func `has no trace of a local end once the kernel chooses it, and another one where one is chosen`() {
    let way = PackedPath(Path(to: place(1)))
    let source = AddressBits(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210)
    let chosen = way.choosing(source, at: 7)
    #expect(chosen.source == source && chosen.sourceInterface == 7 && chosen.isChosen)
    #expect(chosen.withoutSource == way)
    #expect(chosen.withoutSource.source == AddressBits(high: 0, low: 0))
  }

  @Test func `is followed from one family to the other and back`() {
    let (_, alice, bob) = pair()
    let messages = data(2, alice, bob)
    let there = Endpoint(address: .v6(high: 0xFE80 << 48, low: 9), port: 5, zone: 3)
    bob.receive(messages[0], from: there, to: .v6(high: 0xFE80 << 48, low: 1), interface: 3)
    #expect(bob.peer(alice).reference.path.endpoint == there)
    bob.receive(messages[1], from: place(1))
    #expect(bob.peer(alice).reference.path.endpoint == place(1))
  }

  @Test func `is answered from the address that its newest message came to`() {
    let (_, alice, bob) = pair()
    let messages = data(2, alice, bob)
    for (number, message) in messages.enumerated() {
      bob.receive(message, from: alice.endpoint, to: .v4(0x0A00_0064 + UInt32(number)), interface: 7 + UInt32(number))
      let path = bob.peer(alice).reference.path
      #expect(path.hasSource && path.source.high == UInt64(0x0A00_0064 + UInt32(number)) << 32)
      #expect(path.sourceInterface == 7 + UInt32(number))
    }
  }

  @Test func `loses that address when a handshake goes unanswered, and when its endpoint is set`() {
    let (bench, alice, bob) = pair()
    #expect(alice.peer(bob).reference.path.hasSource)
    bench.now.monotonic += 200 * Limits.second
    alice.push([alice.packet(to: bob)])
    alice.settle()
    alice.outbox = []
    #expect(alice.peer(bob).reference.path.hasSource)
    bench.wait(6 * Limits.second)
    let path = alice.peer(bob).reference.path
    #expect(!path.hasSource && path.endpoint == bob.endpoint)
    #expect(bob.peer(alice).reference.path.hasSource)
    var change = PeerUpdate(alice.key.publicKey)
    change.endpoint = place(5)
    bob.apply(change)
    #expect(bob.peer(alice).reference.path == PackedPath(Path(to: place(5))))
  }

  @Test func `is followed by its handshake messages, genuine ones alone`() {
    let (bench, alice, bob) = pair()
    bench.now.monotonic += 200 * Limits.second
    bench.now.wall += 200 * Limits.second
    alice.push([alice.packet(to: bob)])
    alice.settle()
    let initiation = alice.outbox.removeFirst().bytes
    var forged = initiation
    forged[40] ^= 1
    bob.receive(forged, from: place(1))
    #expect(bob.peer(alice).reference.path.endpoint == alice.endpoint)
    bob.receive(initiation, from: place(2))
    #expect(bob.peer(alice).reference.path.endpoint == place(2))
    bob.receive(initiation, from: place(3))
    #expect(bob.peer(alice).reference.path.endpoint == place(2))
    let response = bob.outbox.removeFirst()
    #expect(response.destination == place(2))
    alice.receive(response.bytes, from: place(4))
    #expect(alice.peer(bob).reference.path.endpoint == place(4))
  }

  @Test func `stays where it is when its messages come through the tunnel itself`() {
    let (bench, alice, bob) = pair()
    let messages = data(4, alice, bob)
    let path = { bob.peer(alice).reference.path }
    let before = path()
    bob.device.plane.interfaceIndex = 9
    bob.receive(messages[0], from: place(1), to: .v4(7), interface: 9)
    // Not even its local end changes.
    bob.receive(messages[1], from: alice.endpoint, to: .v4(7), interface: 9)
    #expect(path() == before && bob.received.count == 2)
    bob.receive(messages[2], from: place(2), interface: 8)
    #expect(path().endpoint == place(2))
    // An interface of that number is another one where the tunnel is in another namespace.
    bob.device.plane.interfaceIndex = 0
    bob.receive(messages[3], from: place(3), interface: 9)
    #expect(path().endpoint == place(3))

    // The same for both handshake messages.
    bob.device.plane.interfaceIndex = 9
    bench.now.monotonic += 200 * Limits.second
    bench.now.wall += 200 * Limits.second
    alice.push([alice.packet(to: bob)])
    alice.settle()
    bob.receive(alice.outbox.removeFirst().bytes, from: place(4), interface: 9)
    #expect(path().endpoint == place(3))
    let response = bob.outbox.removeFirst()
    #expect(response.destination == place(3))
    alice.device.plane.interfaceIndex = 9
    alice.receive(response.bytes, from: place(5), interface: 9)
    #expect(alice.peer(bob).reference.path.endpoint == bob.endpoint)
    #expect(alice.peer(bob).current != nil)
  }

  @Test func `has no endpoint until it writes by another way than through the tunnel`() {
    let bench = Bench(seed: 91)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice, knowsEndpoint: false)
    bob.device.plane.interfaceIndex = 9
    alice.push([alice.packet(to: bob)])
    alice.settle()
    let initiation = alice.outbox.removeFirst().bytes
    bob.receive(initiation, from: place(1), interface: 9)
    #expect(bob.outbox.isEmpty && bob.drops(.noEndpoint) == 1)
    #expect(!bob.peer(alice).reference.path.isKnown)
    bob.receive(initiation, from: place(1))
    #expect(bob.outbox.map(\.destination) == [place(1)])
  }

  @Test func `is reviewed before anything goes where it moved, but for its port`() {
    let (_, alice, bob) = pair()
    let messages = data(4, alice, bob)
    let reference = bob.peer(alice).reference
    bob.device.routesChanged { _ in .init(interface: 1, tunnelMTU: 1300) }
    #expect(reference.path.isReviewed && reference.longestWhole == 1240)
    bob.receive(messages[0], from: place(1))
    #expect(!reference.path.isReviewed && reference.longestWhole == Limits.longestPacket)
    // What the thread finds out that sends there next.
    let moved = reference.path
    reference.replace(moved, by: moved.checked(5).reviewed(tunnelMTU: 1400))
    #expect(reference.path.isReviewed && reference.longestWhole == 1340 && reference.path.check == 5)
    // NAT boxes change ports, and nothing else of the way.
    bob.receive(messages[1], from: Endpoint(address: place(1).address, port: 4001))
    #expect(reference.path.port == 4001)
    #expect(reference.path.isReviewed && reference.longestWhole == 1340 && reference.path.check == 5)
    // To another address of ours, or by another interface: another way.
    bob.receive(messages[2], from: place(1), to: .v4(7))
    #expect(!reference.path.isReviewed && reference.path.check == 0)
    // A review of routes that came between is newer than what a sender found out before.
    let late = reference.path
    bob.device.routesChanged { _ in .init(interface: 1, tunnelMTU: 1280) }
    reference.replace(late, by: late.checked(6).reviewed(tunnelMTU: nil))
    #expect(reference.longestWhole == 1220 && reference.path.check == 6)
    // And what was found out about where a peer was before says nothing about where it is.
    bob.receive(messages[3], from: place(2))
    reference.replace(late, by: late.reviewed(tunnelMTU: nil))
    #expect(!reference.path.isReviewed && reference.path.endpoint == place(2))
  }
}
