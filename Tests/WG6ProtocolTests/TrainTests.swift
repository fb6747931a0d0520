import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `Trains` {
  /// The rule in words: the next multiple of sixteen, but no further than the MTU; of a packet longer than the MTU,
  /// its last piece counts.
  private func padded(_ length: Int, _ mtu: Int) -> Int {
    var whole = 0
    if mtu > 0 { while length - whole > mtu { whole += mtu } }
    var result = length - whole
    while result % 16 != 0, mtu == 0 || result < mtu { result += 1 }
    return whole + result
  }

  @Test(arguments: [0, 68, 576, 1280, 1420, 1427, 1500, 9000, 65535])
  func `pad to a multiple of 16 and never past the MTU`(mtu: Int) {
    for length in Array(0...3000) + Array(stride(from: 3001, through: 65535, by: 97)) + [65535] {
      let result = Train.paddedLength(length, mtu: mtu)
      guard result == padded(length, mtu) else {
        // Exactly a multiple of the MTU: nothing to pad, whichever piece one calls the last.
        return fail("length \(length): \(result) in place of \(padded(length, mtu))")
      }
    }
  }

  @Test func `pad no packet past the MTU of a route that it fits`() {
    let (_, hub, others) = hub(1)
    hub.device.plane.mtu = 1300
    hub.device.plane.setRouteMTUs([1299, 700, 9000])
    func sealed(_ size: Int) -> Int? {
      hub.push([hub.packet(to: others[0], size: size)])
      return hub.trains.last.map { $0.bytes - 32 }
    }
    for (size, length) in [(600, 608), (699, 700), (700, 700), (701, 704), (1297, 1299), (1299, 1299), (1300, 1300)] {
      #expect(sealed(size) == length)
    }
    hub.device.plane.setRouteMTUs([])
    #expect(sealed(699) == 704)
    #expect(sealed(1297) == 1300)
  }

  private func hub(_ count: Int) -> (Bench, Node, [Node]) {
    let bench = Bench(seed: 10)
    let hub = bench.addNode()
    let others = (0..<count).map { _ in bench.addNode() }
    for other in others {
      hub.add(other)
      other.add(hub)
      hub.push([hub.packet(to: other)])
      bench.deliver()
      other.received = []
    }
    hub.trains = []
    return (bench, hub, others)
  }

  @Test func `hold 64 datagrams at most`() {
    let (bench, hub, others) = hub(1)
    hub.push((0..<200).map { hub.packet(to: others[0], number: $0) })
    #expect(hub.trains.map(\.count) == [64, 64, 64, 8])
    bench.deliver()
    #expect(others[0].received == (0..<200).map { hub.packet(to: others[0], number: $0) })
  }

  @Test func `hold 65,507 bytes at most, whatever the sizes of their packets`() {
    let (bench, hub, others) = hub(1)
    hub.device.plane.mtu = 65535
    let sizes = [9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 40000, 30000, 65000, 65472, 65472, 1500]
    hub.push(sizes.map { hub.packet(to: others[0], size: $0) })
    #expect(hub.trains.allSatisfy { $0.bytes <= 65507 })
    #expect(hub.trains.map(\.count).reduce(0, +) == sizes.count)
    #expect(hub.trains.first?.count == 7)
    bench.deliver()
    #expect(others[0].received.map(\.count) == sizes)
  }

  @Test(arguments: seeds) func `keep the order of each of several peers, however they alternate`(seed: UInt64) {
    let (bench, hub, others) = hub(3)
    var random = SeededRandom(seed: seed)
    var expected: [[[UInt8]]] = [[], [], []]
    for _ in 0..<20 {
      var packets: [[UInt8]] = []
      for number in 0..<random.below(150) {
        let to = random.below(3)
        let packet = hub.packet(to: others[to], number: number, size: 48 + random.below(1400))
        packets.append(packet)
        expected[to].append(packet)
      }
      hub.push(packets)
    }
    bench.deliver()
    #expect(others.map(\.received) == expected)
  }

  @Test func `carry nothing of an earlier packet in their padding`() {
    let (_, hub, others) = hub(1)
    // The first packet fills the room with ones; what the second pads with must still be zeroes.
    var first = hub.packet(to: others[0], size: 1000)
    for index in 40..<1000 { first[index] = 0xFF }
    hub.push([first])
    hub.outbox = []
    hub.push([hub.packet(to: others[0], size: 49)])
    var sealed = hub.outbox[0].bytes
    #expect(sealed.count == 32 + 64)
    let plane = others[0].device.plane
    var inbound = Inbound(plane: plane, reader: 2)
    let packet = sealed.withUnsafeMutableBytes { bytes -> [UInt8] in
      _ = inbound.open(bytes, from: PackedPath(Path(to: hub.endpoint)), now: 1000 * Limits.second)
      return Array(bytes[16 + 49..<16 + 64])
    }
    #expect(packet == Array(repeating: 0, count: 15))
  }
}
