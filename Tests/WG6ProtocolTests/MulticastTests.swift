import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

@Suite struct `Multicast` {
  /// A hub and its peers, each of which knows the hub alone. Sessions are up, and nothing is under way.
  private func hub(peers count: Int, seed: UInt64 = 7) -> (bench: Bench, hub: Node, peers: [Node]) {
    let bench = Bench(seed: seed)
    let hub = bench.addNode()
    let peers = (0..<count).map { _ in bench.addNode() }
    for peer in peers {
      hub.add(peer)
      peer.add(hub)
      hub.push([hub.packet(to: peer)])
    }
    bench.deliver()
    for peer in peers { peer.received = [] }
    hub.trains = []
    return (bench, hub, peers)
  }

  private func setMulticast(_ isOn: Bool, at node: Node) {
    var update = DeviceUpdate()
    update.multicast = isOn
    node.apply(update)
  }

  private func setMulticast(_ choice: MulticastChoice, of peer: Node, at node: Node) {
    var update = PeerUpdate(peer.key.publicKey)
    update.multicast = choice
    node.apply(update)
  }

  /// From fd00::`source` to ff02::`group`.
  private func packet(from source: UInt8, group: UInt8 = 6, number: Int = 0, size: Int = 64) -> [UInt8] {
    var packet = ipv6Packet(from: source, to: group, number: number, size: size)
    packet.replaceSubrange(24..<26, with: [0xFF, 0x02])
    return packet
  }

  private func ipv4Packet(from source: [UInt8], to destination: [UInt8]) -> [UInt8] {
    [0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0] + source + destination + [UInt8](repeating: 0, count: 8)
  }

  @Test func `is off by default: a packet for a group has no peer, or the one that its allowed IPs say`() {
    let (bench, hub, peers) = hub(peers: 3)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.allSatisfy { $0.received.isEmpty })
    #expect(hub.drops(.noPeerForDestination) == 1)
    var update = PeerUpdate(peers[1].key.publicKey)
    update.allowedIPs = [.add(IPPrefix(.v6(high: 0xFF << 56, low: 0), length: 8))]
    hub.apply(update)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [0, 1, 0])
  }

  @Test func `goes to every peer once, unchanged, and unicast goes where it went`() {
    let (bench, hub, peers) = hub(peers: 3)
    setMulticast(true, at: hub)
    hub.push([packet(from: 1, number: 5), hub.packet(to: peers[1], number: 6), packet(from: 1, number: 7)])
    bench.deliver()
    let groups = [packet(from: 1, number: 5), packet(from: 1, number: 7)]
    #expect(peers[0].received == groups)
    #expect(peers[1].received == [groups[0], hub.packet(to: peers[1], number: 6), groups[1]])
    #expect(peers[2].received == groups)
    #expect(hub.errors.isEmpty)
  }

  @Test func `includes 224.0.0.0/4, and neither broadcasts nor the addresses beside it`() {
    let (bench, hub, peers) = hub(peers: 2)
    setMulticast(true, at: hub)
    for peer in peers {
      var update = PeerUpdate(hub.key.publicKey)
      update.allowedIPs = [.add(IPPrefix(.v4(0x0A01_0001), length: 32))]
      peer.apply(update)
    }
    let source: [UInt8] = [10, 1, 0, 1]
    for destination: [UInt8] in [[223, 255, 255, 255], [240, 0, 0, 1], [255, 255, 255, 255]] {
      hub.push([ipv4Packet(from: source, to: destination)])
    }
    bench.deliver()
    #expect(peers.allSatisfy { $0.received.isEmpty })
    for destination: [UInt8] in [[224, 0, 0, 9], [239, 255, 255, 255]] {
      hub.push([ipv4Packet(from: source, to: destination)])
    }
    bench.deliver()
    #expect(peers.map(\.received.count) == [2, 2])
  }

  @Test func `leaves out peers that say so, and takes in peers that do where the device does not`() {
    let (bench, hub, peers) = hub(peers: 3)
    setMulticast(true, at: hub)
    setMulticast(.off, of: peers[0], at: hub)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [0, 1, 1])
    setMulticast(false, at: hub)
    setMulticast(.on, of: peers[2], at: hub)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [0, 1, 2])
    setMulticast(.asDevice, of: peers[2], at: hub)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [0, 1, 2])
  }

  @Test func `that a peer sends is taken by its source alone, and is sent on to no peer`() {
    let (bench, hub, peers) = hub(peers: 3)
    setMulticast(true, at: hub)
    setMulticast(true, at: peers[0])
    hub.received = []
    peers[0].push([packet(from: 2), packet(from: 3)])
    bench.deliver()
    #expect(hub.received == [packet(from: 2)])
    #expect(hub.drops(.sourceNotAllowed) == 1)
    #expect(peers[1].received.isEmpty && peers[2].received.isEmpty)
    // A link-local source is one like others.
    var linkLocal = packet(from: 2)
    linkLocal.replaceSubrange(8..<10, with: [0xFE, 0x80])
    peers[0].push([linkLocal])
    bench.deliver()
    #expect(hub.drops(.sourceNotAllowed) == 2)
    var update = PeerUpdate(peers[0].key.publicKey)
    update.allowedIPs = [.add(IPPrefix(.v6(high: 0xFE80 << 48, low: 2), length: 128))]
    hub.apply(update)
    peers[0].push([linkLocal])
    bench.deliver()
    #expect(hub.received == [packet(from: 2), linkLocal])
  }

  @Test func `follows peers that come and go, and looks at none that has gone`() {
    let (bench, hub, peers) = hub(peers: 3)
    setMulticast(true, at: hub)
    var removal = PeerUpdate(peers[1].key.publicKey)
    removal.removes = true
    hub.apply(removal)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [1, 0, 1])
    // A peer takes one initiation in 20 ms, and later ones only with a later timestamp.
    bench.wait(Limits.second)
    hub.add(peers[1])
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [2, 1, 2])
    var update = DeviceUpdate()
    update.replacesPeers = true
    hub.apply(update)
    hub.push([packet(from: 1)])
    bench.deliver()
    #expect(peers.map(\.received.count) == [2, 1, 2])
  }

  @Test func `asks for a session where there is none, and a few packets wait for it`() {
    let bench = Bench(seed: 8)
    let hub = bench.addNode(), peer = bench.addNode(), absent = bench.addNode()
    hub.add(peer)
    hub.add(absent, knowsEndpoint: false)
    peer.add(hub)
    setMulticast(true, at: hub)
    let packets = (0..<20).map { packet(from: 1, number: $0) }
    hub.push(packets)
    bench.deliver()
    #expect(peer.received == Array(packets[..<Limits.stagedMulticast]))
    #expect(hub.drops(.stagedTooLong) == 20 - UInt64(Limits.stagedMulticast))
    // A peer that has not called yet is nothing to count or to answer.
    #expect(hub.drops(.noEndpoint) == 0 && hub.errors.isEmpty)
  }

  @Test func `pushes out no unicast packet that waits`() {
    let bench = Bench(seed: 9)
    let hub = bench.addNode(), peer = bench.addNode()
    hub.add(peer)
    peer.add(hub)
    setMulticast(true, at: hub)
    let unicast = (0..<Limits.stagedPackets).map { hub.packet(to: peer, number: $0) }
    hub.push(unicast + (0..<200).map { packet(from: 1, number: $0) })
    bench.deliver()
    #expect(peer.received == unicast)
  }

  @Test func `is limited to 250 packets a second in bursts of 500, and to 10,000 copies`() {
    let (bench, hub, peers) = hub(peers: 3)
    setMulticast(true, at: hub)
    func sent(_ count: Int) -> Int {
      hub.trains = []
      hub.push((0..<count).map { packet(from: 1, number: $0) })
      hub.outbox = []
      return hub.trains.map(\.count).reduce(0, +)
    }
    #expect(sent(600) == 3 * 500)
    #expect(hub.drops(.multicastLimit) == 100)
    bench.wait(Limits.second)
    #expect(sent(600) == 3 * 250)
    // Unicast goes on.
    hub.push([hub.packet(to: peers[0])])
    bench.deliver()
    #expect(peers[0].received.count == 1)
  }

  @Test func `to many peers costs a share of the copies each`() {
    let bench = Bench(seed: 10)
    let hub = bench.addNode()
    setMulticast(true, at: hub)
    var update = DeviceUpdate()
    var random = SeededRandom(seed: 11)
    update.peers = (0..<200).map { number in
      var peer = PeerUpdate(PrivateKey(using: &random).publicKey)
      peer.endpoint = Endpoint(address: .v4(0x0A00_0100 + UInt32(number)), port: 1)
      return peer
    }
    hub.apply(update)
    hub.push((0..<150).map { packet(from: 1, number: $0) })
    // 20,000 copies are 100 packets.
    #expect(hub.drops(.multicastLimit) == 50)
  }

  @Test(arguments: seeds)
  func `on links that lose, delay and reorder comes to each peer at most once, and never back`(seed: UInt64) {
    let world = World(seed: seed)
    let hosts = (0..<4).map { world.addHost("h\($0)", at: .v4(0x0A00_0001 + UInt32($0))) }
    for host in hosts {
      for other in hosts where other !== host {
        host.add(other, allowedIPs: [Pair.prefix(UInt64(other.number) + 1)])
      }
      var update = DeviceUpdate()
      update.multicast = true
      host.configure(update)
    }
    world.link = .random(&world.random)
    for number in 0..<100 {
      let sender = hosts[number % 4]
      sender.send(packet(from: UInt8(sender.number + 1), number: number))
      world.run(for: 100 * Limits.millisecond)
    }
    world.run(for: 30 * Limits.second)
    for host in hosts {
      let numbers = host.received.map { Int($0[47]) }
      #expect(Set(numbers).count == numbers.count, "seed \(seed): a packet came twice")
      #expect(!numbers.contains { $0 % 4 == host.number }, "seed \(seed): a packet came back")
      #expect(!numbers.isEmpty, "seed \(seed): nothing came")
    }
  }
}
