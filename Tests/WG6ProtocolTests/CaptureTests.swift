import Synchronization
import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

@Suite struct `A capture` {
  /// A capture of a device, and what it has seen.
  private final class Watch {
    let memory = CaptureMemory(ring: 1 << 20)
    let reference: CaptureReference
    private var reader: CaptureReader

    init(_ device: Device, _ filter: CaptureFilter = CaptureFilter()) {
      reference = device.startCapture(into: memory.bytes, of: memory, filter, clock: { 77 })!
      reader = CaptureReader(memory.bytes)!
    }

    var seen: [(record: CaptureRecord, packet: [UInt8])] { records(&reader) }
  }

  private static func drops(_ change: (inout CaptureFilter) -> Void = { _ in }) -> CaptureFilter {
    var filter = CaptureFilter()
    filter.takesDrops = true
    change(&filter)
    return filter
  }

  @Test func `shows each packet once on both ends, with its direction and peer, those that waited too`() {
    let pair = Pair(seed: 41)
    let alice = Watch(pair.alice.device), bob = Watch(pair.bob.device)
    let there = (0..<20).map { pair.toBob($0, size: 48 + $0 * 61) }
    for packet in there { pair.alice.send(packet) }
    pair.world.run(for: Limits.second)
    let back = (0..<20).map { pair.toAlice($0, size: 1200 - $0) }
    for packet in back { pair.bob.send(packet) }
    pair.world.run(for: Limits.second)
    let ofAlice = alice.seen, ofBob = bob.seen
    #expect(ofAlice.map(\.packet) == there + back)
    #expect(ofBob.map(\.packet) == there + back)
    #expect(
      ofAlice.map(\.record.direction) == Array(repeating: .outbound, count: 20) + Array(repeating: .inbound, count: 20))
    #expect(
      ofBob.map(\.record.direction) == Array(repeating: .inbound, count: 20) + Array(repeating: .outbound, count: 20))
    #expect(
      ofAlice.allSatisfy { $0.record.peer == pair.bob.publicKey && $0.record.time == 77 && $0.record.drop == nil })
    #expect(ofBob.allSatisfy { $0.record.peer == pair.alice.publicKey })
  }

  @Test func `shows dropped packets and why, and nothing else, where drops are asked for`() {
    let pair = Pair(seed: 42)
    let alice = Watch(pair.alice.device, Self.drops()), bob = Watch(pair.bob.device, Self.drops())
    pair.alice.send(pair.toBob())
    pair.world.run(for: Limits.second)
    #expect(alice.seen.isEmpty && bob.seen.isEmpty)
    let nowhere = ipv6Packet(from: 1, to: 9, number: 1)
    let foreign = ipv6Packet(from: 7, to: 2, number: 2)
    pair.alice.send(nowhere)
    pair.alice.send([0x10, 2, 3])
    pair.alice.send(foreign)
    pair.world.run(for: Limits.second)
    let ofAlice = alice.seen, ofBob = bob.seen
    #expect(ofAlice.map(\.record.drop) == [.noPeerForDestination, .notAnIPPacket])
    #expect(ofAlice.map(\.packet) == [nowhere, [0x10, 2, 3]])
    #expect(ofAlice.allSatisfy { $0.record.peer == nil && $0.record.direction == .outbound })
    #expect(ofBob.map(\.record.drop) == [.sourceNotAllowed])
    #expect(ofBob.map(\.packet) == [foreign])
    #expect(ofBob.first?.record.peer == pair.alice.publicKey && ofBob.first?.record.direction == .inbound)
  }

  @Test func `shows packets that waited in vain for a handshake, one by one`() {
    let pair = Pair(seed: 43)
    pair.bob.goDown()
    let watch = Watch(pair.alice.device, Self.drops { $0.prefixes = [Pair.prefix(2)] })
    let packets = (0..<5).map { pair.toBob($0) }
    for packet in packets { pair.alice.send(packet) }
    pair.world.run(for: 200 * Limits.second)
    let seen = watch.seen
    #expect(seen.map(\.packet) == packets)
    #expect(seen.allSatisfy { $0.record.drop == .handshakeGivenUp && $0.record.peer == pair.bob.publicKey })
  }

  @Test func `stands beside others, as many as there may be, and ends`() {
    let pair = Pair(seed: 44)
    let device = pair.alice.device
    weak var memory: CaptureMemory?
    do {
      var watches = (0..<Device.captureLimit).map { _ in Watch(device) }
      let more = CaptureMemory()
      #expect(device.startCapture(into: more.bytes, of: more, CaptureFilter(), clock: { 0 }) == nil)
      pair.alice.send(pair.toBob(1))
      pair.world.run(for: Limits.second)
      #expect(watches.map { $0.seen.count } == [1, 1, 1, 1])
      device.end(watches[1].reference)
      pair.alice.send(pair.toBob(2))
      pair.world.run(for: Limits.second)
      #expect(watches.map { $0.seen.count } == [1, 0, 1, 1])
      // There is room for one again.
      let another = Watch(device)
      pair.alice.send(pair.toBob(3))
      pair.world.run(for: Limits.second)
      #expect(another.seen.count == 1)
      for watch in watches { device.end(watch.reference) }
      device.end(another.reference)
      memory = watches[0].memory
      pair.alice.send(pair.toBob(4))
      pair.world.run(for: Limits.second)
      watches = []
    }
    #expect(memory == nil)
    #expect(!device.plane.isCaptured)
  }

  @Test func `keeps its memory until no data thread can be writing there`() {
    let bench = Bench(seed: 45)
    let alice = bench.addNode(), bob = bench.addNode()
    alice.add(bob)
    bob.add(alice)
    weak var memory: CaptureMemory?
    do {
      let watch = Watch(alice.device)
      memory = watch.memory
      alice.outbound.pass()
      alice.device.end(watch.reference)
    }
    bench.wait(Limits.second)
    #expect(memory != nil)
    alice.outbound.leave()
    bench.wait(Limits.second)
    #expect(memory == nil)
  }

  @Test func `misses what a reader that stands still leaves no room for, and nothing waits`() {
    let pair = Pair(seed: 46)
    let memory = CaptureMemory()
    _ = pair.alice.device.startCapture(into: memory.bytes, of: memory, CaptureFilter(), clock: { 0 })
    for number in 0..<1000 {
      pair.alice.send(pair.toBob(number, size: 1400))
      pair.world.run(for: 10 * Limits.millisecond)
    }
    #expect(pair.bob.received.count == 1000)
    var reader = CaptureReader(memory.bytes)!
    let taken = records(&reader)
    let missed = reader.missed
    #expect(taken.count > 150 && taken.count + Int(missed) == 1000)
    #expect(taken.map(\.packet) == (0..<taken.count).map { pair.toBob($0, size: 1400) })
    pair.alice.send(pair.toBob(1000))
    pair.world.run(for: Limits.second)
    let next = records(&reader)
    #expect(next.first?.record.missed == missed)
  }
}

@Suite struct `A capture's filter` {
  /// What the options say, slow and obvious.
  private func fits(_ filter: CaptureFilter, _ packet: CraftedPacket, _ peer: PublicKey?, isDropped: Bool) -> Bool {
    guard isDropped == filter.takesDrops else { return false }
    if !filter.peers.isEmpty { guard let peer, filter.peers.contains(peer) else { return false } }
    if !filter.protocols.isEmpty, !filter.protocols.contains(packet.number) { return false }
    guard !filter.prefixes.isEmpty else { return true }
    let size = packet.isIPv6 ? 16 : 4
    let ends = [Array(packet.addresses.prefix(size)), Array(packet.addresses.suffix(size))]
    return filter.prefixes.contains { prefix in
      guard prefix.address.isIPv6 == packet.isIPv6 else { return false }
      return ends.contains { end in (0..<prefix.length).allSatisfy { bit(end, $0) == prefix.address.bits.bit(at: $0) } }
    }
  }

  private func bit(_ bytes: [UInt8], _ position: Int) -> Bool { bytes[position / 8] >> (7 - position % 8) & 1 == 1 }

  @Test func `takes what its words say`() {
    var random = SeededRandom(seed: 5)
    var taken = 0, left = 0
    let keys = (1...4).map { PublicKey(InlineArray(repeating: UInt8($0))) }
    for _ in 0..<20_000 {
      var packet = CraftedPacket()
      packet.isIPv6 = Bool.random(using: &random)
      packet.isTCP = Bool.random(using: &random)
      packet.source = UInt8.random(in: 0...7, using: &random)
      packet.destination = UInt8.random(in: 0...7, using: &random)
      if packet.isIPv6, Bool.random(using: &random) { packet.extensions = [(0, [0] + [UInt8](repeating: 0, count: 6))] }
      var filter = CaptureFilter()
      filter.takesDrops = Bool.random(using: &random)
      filter.peers = keys.filter { _ in Int.random(in: 0...3, using: &random) == 0 }
      filter.protocols = [6, 17, 58].filter { _ in Int.random(in: 0...3, using: &random) == 0 }
      for _ in 0..<Int.random(in: 0...2, using: &random) {
        let length = Int.random(in: 0...3, using: &random)
        filter.prefixes.append(
          Bool.random(using: &random)
            ? IPPrefix(.v4(0x0A09_0000 | UInt32.random(in: 0...7, using: &random)), length: 32 - length)
            : IPPrefix(.v6(high: 0xFD00 << 48, low: UInt64.random(in: 0...7, using: &random)), length: 128 - length))
      }
      let peer = Int.random(in: 0...4, using: &random)
      let key = peer == 4 ? nil : keys[peer]
      let isDropped = Bool.random(using: &random)
      let headers = packet.bytes().withUnsafeBytes { PacketHeaders($0) }
      let answer = CompiledFilter(filter)!.admits(headers, of: key, isDropped: isDropped)
      #expect(answer == fits(filter, packet, key, isDropped: isDropped), "\(filter) \(packet)")
      if answer { taken += 1 } else { left += 1 }
    }
    #expect(taken > 1000 && left > 1000, "\(taken), \(left)")
  }

  @Test func `has room for so many peers and prefixes, and takes no more`() {
    var filter = CaptureFilter()
    filter.peers = (0..<8).map { PublicKey(InlineArray(repeating: $0)) }
    filter.prefixes = (0..<16).map { IPPrefix(.v4(UInt32($0)), length: 32) }
    #expect(CompiledFilter(filter) != nil)
    filter.peers.append(PublicKey(InlineArray(repeating: 9)))
    #expect(CompiledFilter(filter) == nil)
    filter.peers.removeLast()
    filter.prefixes.append(IPPrefix(.v4(99), length: 32))
    #expect(CompiledFilter(filter) == nil)
  }

  @Test func `leaves out what has no packet to look at, if it asks for addresses or protocols`() {
    var filter = CaptureFilter()
    filter.takesDrops = true
    #expect(CompiledFilter(filter)!.admits(nil, of: nil, isDropped: true))
    filter.protocols = [17]
    #expect(!CompiledFilter(filter)!.admits(nil, of: nil, isDropped: true))
  }
}

@Suite struct `A packet's headers` {
  private func read(_ bytes: [UInt8]) -> PacketHeaders? { bytes.withUnsafeBytes { PacketHeaders($0) } }

  @Test func `are read through extension headers, up to the protocol that the packet carries`() throws {
    var packet = CraftedPacket()
    packet.isIPv6 = true
    packet.isTCP = false
    packet.payload = [1, 2, 3]
    typealias Extension = (number: UInt8, rest: [UInt8])
    func header(_ number: UInt8, _ length: UInt8, bytes: Int) -> Extension {
      (number, [length] + [UInt8](repeating: 0, count: bytes - 2))
    }
    let chains: [[Extension]] = [
      [], [header(0, 0, bytes: 8)], [header(0, 1, bytes: 16), header(43, 0, bytes: 8)],
      [header(51, 1, bytes: 12), header(60, 0, bytes: 8)],
    ]
    for extensions in chains {
      packet.extensions = extensions
      let headers = try #require(read(packet.bytes()))
      #expect(headers.carried == 17 && headers.carriedOffset == packet.networkLength && headers.fragmentOffset == nil)
    }
  }

  @Test func `tell fragments from whole packets, and later ones have no protocol header`() throws {
    var packet = CraftedPacket()
    let ofIPv4: [(fragment: UInt16, offset: Int?, hasHeader: Bool)] = [
      (0x4000, nil, true), (0x2000, 0, true), (0x20B9, 1480, false), (0x00B9, 1480, false),
    ]
    for (fragment, offset, hasHeader) in ofIPv4 {
      packet.fragment = fragment
      let headers = try #require(read(packet.bytes()))
      #expect(headers.fragmentOffset == offset && (headers.carriedOffset != nil) == hasHeader && headers.carried == 6)
    }
    packet.isIPv6 = true
    let ofIPv6: [(word: UInt16, offset: Int?, hasHeader: Bool)] = [
      (0, nil, true), (1, 0, true), (0x05C9, 1480, false), (0x05C8, 1480, false),
    ]
    for (word, offset, hasHeader) in ofIPv6 {
      let rest: [UInt8] = [0, UInt8(word >> 8), UInt8(word & 0xFF), 0, 0, 0, 1]
      packet.extensions = [(44, rest)]
      let headers = try #require(read(packet.bytes()))
      #expect(headers.fragmentOffset == offset && (headers.carriedOffset != nil) == hasHeader && headers.carried == 6)
    }
  }
}

@Suite struct `A key log` {
  private func lines(_ device: Device) -> [String] {
    var text = ""
    device.takeKeyLog { bytes in
      bytes.withBytes { $0.withUnsafeBytes { text += String(decoding: $0, as: UTF8.self) } }
    }
    return text.split(separator: "\n").map(String.init)
  }

  /// The public key of the private one that a line has.
  private func publicKey(of line: String) -> PublicKey? {
    let text = Array(line.split(separator: " ").last!.utf8)
    return KeyBase64.decode(text.span.bytes) { bytes in PrivateKey(bytes: bytes)?.publicKey } ?? nil
  }

  private func ephemeral(_ datagram: Datagram) -> PublicKey {
    let start = datagram.type == 1 ? 8 : 12
    return PublicKey(InlineArray { datagram.bytes[start + $0] })
  }

  @Test func `has the ephemeral key of each handshake message sent, and the preshared key behind it`() throws {
    var random = SeededRandom(seed: 8)
    let preshared = PresharedKey(using: &random)
    let pair = Pair(seed: 47, presharedKey: preshared)
    for host in [pair.alice, pair.bob] { host.device.startKeyLog() }
    var ofAlice: [String] = [], ofBob: [String] = []
    for number in 0..<400 {
      if number % 2 == 0 { pair.alice.send(pair.toBob(number)) } else { pair.bob.send(pair.toAlice(number)) }
      pair.world.run(for: Limits.second)
      ofAlice += lines(pair.alice.device)
      ofBob += lines(pair.bob.device)
    }
    let handshakes = pair.world.wire.filter { $0.type == 1 || $0.type == 2 }
    #expect(handshakes.count >= 6)
    let expectedLine = preshared.withBytes { key in
      var text = "PRESHARED_KEY = "
      KeyBase64.encode(key) { text.unicodeScalars.append(Unicode.Scalar($0)) }
      return text
    }
    for (host, log) in [(pair.alice, ofAlice), (pair.bob, ofBob)] {
      let own = handshakes.filter { $0.source == host.endpoint }.map(ephemeral)
      try #require(log.count == own.count * 2)
      for (index, key) in own.enumerated() {
        #expect(log[index * 2].hasPrefix("LOCAL_EPHEMERAL_PRIVATE_KEY = ") && publicKey(of: log[index * 2]) == key)
        #expect(log[index * 2 + 1] == expectedLine)
      }
    }
  }

  @Test func `begins with the keys that are there, and goes on with those that come`() throws {
    let pair = Pair(seed: 48)
    let device = pair.alice.device
    device.startKeyLog()
    var known = WipedBytes()
    device.writeKnownKeys(to: &known)
    let text = known.withBytes { $0.withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
    let first = text.split(separator: "\n").map(String.init)
    #expect(first.count == 2 && first[0].hasPrefix("LOCAL_STATIC_PRIVATE_KEY = "))
    #expect(publicKey(of: first[0]) == pair.alice.publicKey)
    #expect(first[1] == "REMOTE_STATIC_PUBLIC_KEY = \(pair.bob.publicKey.base64)")
    let carol = pair.world.addHost("carol", at: .v4(0x0A00_0003))
    pair.alice.add(carol, allowedIPs: [])
    var random = SeededRandom(seed: 9)
    pair.alice.change(to: PrivateKey(using: &random))
    let later = lines(device)
    #expect(later.first == "REMOTE_STATIC_PUBLIC_KEY = \(carol.publicKey.base64)")
    let changed = try #require(later.dropFirst().first)
    #expect(changed.hasPrefix("LOCAL_STATIC_PRIVATE_KEY = ") && publicKey(of: changed) == pair.alice.publicKey)
  }

  @Test func `is empty while nobody keeps it, and again once it has ended`() {
    let pair = Pair(seed: 49)
    pair.alice.send(pair.toBob())
    pair.world.run(for: Limits.second)
    #expect(lines(pair.alice.device).isEmpty && !pair.alice.device.hasKeyLog)
    pair.alice.device.startKeyLog()
    #expect(lines(pair.alice.device).isEmpty)
    pair.alice.device.endKeyLog()
    pair.world.run(for: 130 * Limits.second)
    pair.alice.send(pair.toBob())
    pair.world.run(for: 10 * Limits.second)
    #expect(lines(pair.alice.device).isEmpty)
  }
}
