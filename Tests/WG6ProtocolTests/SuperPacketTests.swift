import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// Two nodes with a session, of which one reads super-packets from its device and the other writes them.
private final class OffloadedPair {
  let bench: Bench
  let alice: Node
  let bob: Node
  /// What alice's trains were, run by run.
  var runs: [(bytes: [UInt8], segmentSize: Int)] = []
  /// What bob's device was given, virtio header first.
  var written: [[UInt8]] = []
  /// What bob's device takes.
  var takes: ([UInt8]) -> Delivery.Written = { _ in .taken }
  private let path: PackedPath
  private var arrivals: Arrivals
  private var delivery: Delivery
  private let cipher = TrainCipher(.sodium)

  init(seed: UInt64, hasSession: Bool = true) {
    bench = Bench(seed: seed)
    alice = bench.addNode()
    bob = bench.addNode()
    path = PackedPath(Path(to: alice.endpoint))
    alice.add(bob)
    bob.add(alice)
    if hasSession {
      alice.push([alice.packet(to: bob)])
      bench.deliver()
      // The responder's first packet confirms the key to nobody else: both may send now.
      bob.received = []
    }
    alice.outbound = Outbound(plane: alice.device.plane, reader: 0, hasVirtioHeader: true)
    arrivals = Arrivals(plane: bob.device.plane)
    delivery = Delivery(plane: bob.device.plane, rules: MergeRules())
  }

  static func packet(_ random: inout SeededRandom, payload: Int) -> CraftedPacket {
    var packet = CraftedPacket.random(&random, payload: payload, plain: true)
    packet.isIPv6 = true
    packet.source = 1
    packet.destination = 2
    packet.givenAddresses = [0xFD] + Array(repeating: 0, count: 14) + [1, 0xFD] + Array(repeating: 0, count: 14) + [2]
    return packet
  }

  /// What alice's device hands over, in one go.
  func push(_ packets: [[UInt8]]) {
    let now = bench.now.monotonic
    alice.outbound.pass()
    for packet in packets {
      packet.withUnsafeBytes { alice.outbound.room.copyMemory(from: $0) }
      if let answer = alice.outbound.push(length: packet.count, now: now, send: { keep($0) }) {
        alice.errors.append(Array(answer))
      }
    }
    alice.outbound.flush(now: now) { keep($0) }
    alice.outbound.leave()
  }

  func keep(_ train: borrowing Train) -> Int {
    var index = 0
    while index < train.count {
      let run = train.run(from: index)
      runs.append((Array(run.bytes), run.segmentSize))
      index += run.count
    }
    return train.byteCount
  }

  /// Gives bob all runs, each as one receive; returns how many deliveries there were.
  func receive() {
    bob.inbound.pass()
    for run in runs {
      var bytes = run.bytes
      bytes.withUnsafeMutableBytes { bytes in
        var offset = 0
        while offset < bytes.count {
          let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[offset...])
          offset += arrivals.take(
            rest, segmentSize: run.segmentSize, from: path, now: bench.now.monotonic, control: { _ in })
          arrivals.open(with: cipher)
          delivery.deliver(arrivals, now: bench.now.monotonic) { pieces in
            let group = pieces.flatMap { Array(UnsafeRawBufferPointer(start: $0.base, count: $0.count)) }
            let result = takes(group)
            if result == .taken { written.append(group) }
            return result
          }
          arrivals.removeAll()
        }
      }
    }
    bob.inbound.leave()
    runs = []
  }

  /// What bob's device makes of what it was given.
  func segmentsWritten() throws(OffloadError) -> [[UInt8]] {
    var result: [[UInt8]] = []
    for group in written { result += try segments(Array(group[..<10]), Array(group[10...])) }
    return result
  }
}

@Suite struct `Super-packets` {
  @Test(arguments: seeds) func `go through the tunnel as their segments, and come out merged`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let pair = OffloadedPair(seed: seed)
    var saved = 0
    for step in 0..<60 {
      var expected: [[UInt8]] = []
      var handed: [[UInt8]] = []
      for number in 0..<1 + random.below(4) {
        let size = 1 + random.below(1300)
        var packet = OffloadedPair.packet(&random, payload: random.below(min(65000, size * (1 + random.below(60)))))
        packet.sourcePort = UInt16(number)
        handed.append(packet.virtioHeader(size) + packet.bytes(.partial))
        expected += packet.split(size).map { $0.bytes() }
      }
      pair.push(handed)
      #expect(pair.runs.allSatisfy { $0.bytes.count <= 65507 && $0.bytes.count <= 64 * $0.segmentSize })
      pair.receive()
      saved += expected.count - pair.written.count
      let written = try pair.segmentsWritten()
      guard written == expected else {
        return fail("seed \(seed), step \(step): \(written.count) segments in place of \(expected.count)")
      }
      pair.written = []
    }
    #expect(saved > 0, "seed \(seed): nothing was merged")
  }

  @Test func `wait for a key as their segments`() throws {
    let pair = OffloadedPair(seed: 5, hasSession: false)
    var random = SeededRandom(seed: 5)
    let packet = OffloadedPair.packet(&random, payload: 40_000)
    pair.push([packet.virtioHeader(1000) + packet.bytes(.partial)])
    #expect(pair.runs.isEmpty)
    pair.alice.isAwake = false
    pair.bench.deliver()
    pair.alice.outbound.pass()
    pair.alice.outbound.flushStaged(now: pair.bench.now.monotonic) { pair.keep($0) }
    pair.alice.outbound.leave()
    pair.receive()
    #expect(try pair.segmentsWritten() == packet.split(1000).map { $0.bytes() })
  }

  @Test func `that are none are dropped, counted, and do no harm`() throws {
    let pair = OffloadedPair(seed: 6)
    var random = SeededRandom(seed: 6)
    let packet = OffloadedPair.packet(&random, payload: 5000)
    var wrong = packet.virtioHeader(1000)
    wrong[1] = 9
    var misplaced = packet.virtioHeader(1000)
    misplaced[6] ^= 1
    pair.push([wrong + packet.bytes(.partial), misplaced + packet.bytes(.partial), Array(wrong.prefix(7)), []])
    #expect(pair.alice.drops(.malformedSuperPacket) == 2)
    #expect(pair.alice.drops(.notAnIPPacket) == 2)
    #expect(pair.runs.isEmpty)
  }

  @Test func `with segments too long for the peer are answered once`() {
    let pair = OffloadedPair(seed: 7)
    var random = SeededRandom(seed: 7)
    let peer = pair.alice.peer(pair.bob).reference
    peer.path = peer.path.reviewed(tunnelMTU: 1340)
    var packet = OffloadedPair.packet(&random, payload: 10_000)
    packet.isTCP = true
    pair.push([packet.virtioHeader(1400) + packet.bytes(.partial)])
    #expect(pair.runs.isEmpty)
    #expect(pair.alice.drops(.packetTooBig) == 8)
    #expect(pair.alice.errors.count == 1)
  }

  @Test func `refused by the device are written in pieces, and not made again`() throws {
    let pair = OffloadedPair(seed: 8)
    var random = SeededRandom(seed: 8)
    var tcp = OffloadedPair.packet(&random, payload: 4500), udp = tcp
    (tcp.isTCP, udp.isTCP) = (true, false)
    let handed = [tcp, udp].map { $0.virtioHeader(1000) + $0.bytes(.partial) }
    let expected = [tcp, udp].flatMap { $0.split(1000).map { $0.bytes() } }
    func isShortTailed(_ group: [UInt8]) -> Bool { group[1] != 0 && group.count > 4500 }
    // A kernel that wants all segments alike.
    var refusals = 0
    pair.takes = {
      guard isShortTailed($0) else { return .taken }
      refusals += 1
      return .refused
    }
    for _ in 0..<2 {
      pair.push(handed)
      pair.receive()
      #expect(try pair.segmentsWritten() == expected)
      pair.written = []
    }
    // Two, as both were made before the first was refused.
    #expect(refusals <= 2)
    // One that takes no super-packets at all, whatever it said.
    pair.takes = { $0[1] != 0 ? .refused : .taken }
    for round in 0..<2 {
      pair.push(handed)
      pair.receive()
      #expect(try pair.segmentsWritten() == expected)
      if round == 1 { #expect(pair.written.count == expected.count) }
      pair.written = []
    }
    // One that is down.
    pair.takes = { _ in .failed }
    pair.push(handed)
    pair.receive()
    #expect(pair.bob.drops(.deviceRefusedPacket) == UInt64(expected.count))
  }

  @Test func `are counted as lost one by one where the device takes neither them nor their pieces`() {
    let pair = OffloadedPair(seed: 9)
    var random = SeededRandom(seed: 9)
    var tcp = OffloadedPair.packet(&random, payload: 4500)
    tcp.isTCP = true
    pair.takes = { $0[1] != 0 ? .refused : .failed }
    pair.push([tcp.virtioHeader(1000) + tcp.bytes(.partial)])
    pair.receive()
    #expect(pair.bob.drops(.deviceRefusedPacket) == 5)
  }

  @Test func `leave datagrams behind that the control path took the counters of`() {
    let peer = PeerReference.create(slot: 0)
    let keypair = makeKeypair(peer, firstCounter: Limits.rejectAfterMessages - 5)
    defer {
      keypair.destroy()
      peer.destroy()
    }
    var train = Train()
    train.begin(peer, keypair)
    var count = 0
    while train.hasRoom(for: 100) {
      train.append(length: 100, mtu: 1420)
      count += 1
    }
    #expect(count == 5)
    _ = keypair.pointer.pointee.takeCounter()
    #expect(train.number() == 1)
    #expect(train.count == 4)
    #expect(train.byteCount == 4 * (112 + 32))
    #expect(!keypair.canSend(at: 0))
  }
}
