import Testing
import WG6Simulation

@testable import WG6Protocol

/// Packets in one buffer with room for a virtio header before each, and a batch that has them.
///
/// - Returns: what is written to the device: the virtio header and the packet of each group.
func merged(_ packets: [[UInt8]], _ rules: MergeRules = MergeRules()) -> [(
  header: [UInt8], packet: [UInt8], pieces: Int
)] {
  var batch = MergeBatch(capacity: max(1, packets.count), rules: rules)
  var room = packets.flatMap { Array(repeating: UInt8(0xA5), count: 16) + $0 }
  return room.withUnsafeMutableBytes { room in
    var offset = 0
    for packet in packets {
      batch.add(UnsafeMutableRawBufferPointer(rebasing: room[offset + 16..<offset + 16 + packet.count]))
      offset += 16 + packet.count
    }
    return (0..<batch.groupCount).map { index in
      let pieces = batch.pieces(of: index)
      let bytes = pieces.flatMap { Array(UnsafeRawBufferPointer(start: $0.base, count: $0.count)) }
      return (Array(bytes[..<10]), Array(bytes[10...]), pieces.count)
    }
  }
}

@Suite struct `Merging` {
  @Test(arguments: seeds) func `undoes a split`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for step in 0..<inputs(3000) {
      let isLong = step % 500 == 0
      let size = isLong ? 1100 + random.below(300) : 1 + random.below(60)
      let length = size + 1 + random.below(size * (isLong ? 40 : 8))
      let packet = CraftedPacket.random(&random, payload: length, plain: true)
      let groups = merged(packet.split(size).map { $0.bytes() })
      var header = packet.virtioHeader(size)
      withUnsafeBytes(of: UInt16(packet.headerLength)) { header.replaceSubrange(2..<4, with: $0) }
      guard groups.count == 1, groups[0].packet == packet.bytes(.partial), groups[0].header == header else {
        return fail("seed \(seed), step \(step): \(packet) by \(size) came back in \(groups.count)")
      }
      #expect(groups[0].pieces == (length + size - 1) / size)
    }
  }

  /// Flows that run through one another, with all that may keep packets from being merged: what is written, split again,
  /// has every packet once, unchanged, and those of a flow in order.
  @Test(arguments: seeds) func `is undone by a split, whatever came, and keeps each flow's order`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var saved = 0
    for step in 0..<inputs(600) {
      var flows = (0..<1 + random.below(5)).map { number in
        var flow = CraftedPacket.random(&random, payload: 0, plain: true)
        flow.source = UInt8(number)
        flow.flags &= 0x50
        return flow
      }
      var rules = MergeRules()
      if random.below(4) == 0 { rules.datagrams = 1 + random.below(6) }
      if random.below(4) == 0 { rules.takesShortTail = false }
      if random.below(8) == 0 { (rules.tcp, rules.udp) = (random.below(2) == 0, random.below(2) == 0) }
      var packets: [(flow: Int, bytes: [UInt8])] = []
      let wanted = 1 + random.below(64)
      while packets.count < wanted {
        let number = random.below(flows.count)
        for _ in 0..<1 + random.below(6) where packets.count < wanted {
          packets.append((number, next(&flows[number], &random)))
        }
      }
      let groups = merged(packets.map { $0.bytes }, rules)
      saved += packets.count - groups.count
      let written = try groups.flatMap { try segments($0.header, $0.packet) }
      for number in flows.indices {
        let expected = packets.filter { $0.flow == number }.map { $0.bytes }
        let came = written.filter { expected.contains($0) }
        guard came == expected else { return fail("seed \(seed), step \(step), flow \(number)") }
      }
      guard written.count == packets.count else { return fail("seed \(seed), step \(step): \(written.count) packets") }
    }
    #expect(saved > inputs(600) * 5, "packets were merged")
  }

  /// The next packet of a flow: most of the time one that can be merged with the one before.
  private func next(_ flow: inout CraftedPacket, _ random: inout SeededRandom) -> [UInt8] {
    var packet = flow
    packet.payload = random.bytes(random.below(6) == 0 ? random.below(40) : 40)
    flow.sequence &+= UInt32(packet.payload.count)
    flow.identification &+= 1
    switch random.below(40) {
    case 0: packet.flags = UInt8(random.below(256))
    case 1: flow.acknowledgement &+= 1
    case 2: flow.window &+= 1
    case 3: packet.hopLimit &-= 1
    case 4: packet.trafficClass ^= 3
    case 5: packet.fragment = [0x2000, 0x00FF, 0x8000, 0][random.below(4)]
    case 6: packet.networkOptions = [1, 1, 1, 1]
    case 7: packet.extensions = [([60, 44, 0][random.below(3)], [0] + random.bytes(6))]
    case 8: return packet.bytes(.given(UInt16(random.below(3) * 0x7FFF)))
    case 9: packet.flags |= 0x08
    case 10: packet.flags |= 0x80
    case 11: packet.sequence &-= 1
    case 12: packet.options = random.bytes(packet.options.count)
    case 13, 14:
      var bytes = packet.bytes()
      // Behind the ports: with others it would be of another flow.
      let start = packet.networkLength + 4
      bytes[start + random.below(bytes.count - start)] ^= UInt8(1 + random.below(255))
      return bytes
    default: break
    }
    return packet.bytes()
  }

  @Test func `ends a group where one is pushed or shorter, and begins another`() {
    for (isIPv6, isTCP) in CraftedPacket.families {
      var segments = CraftedPacket.mergeable(isIPv6, isTCP, payload: 350).split(50)
      if isTCP {
        segments[2].flags |= 0x08
      } else {
        segments[2].payload.removeLast()
      }
      let groups = merged(segments.map { $0.bytes() })
      #expect(groups.map { $0.pieces } == [3, 4])
      if isTCP { #expect(groups.map { $0.packet[segments[0].networkLength + 13] } == [0x18, 0x10]) }
    }
  }

  @Test func `keeps CWR with the first, and says so`() {
    for isIPv6 in [false, true] {
      var segments = CraftedPacket.mergeable(isIPv6, true, payload: 150).split(50)
      segments[0].flags |= 0x80
      let groups = merged(segments.map { $0.bytes() })
      #expect(groups.count == 1 && groups[0].header[1] == (isIPv6 ? 0x84 : 0x81))
    }
  }

  @Test func `takes an identification that stays the same under DF, and counts on in no other way`() {
    var segments = CraftedPacket.mergeable(false, true, payload: 200).split(50)
    for index in segments.indices { segments[index].identification = 0 }
    #expect(merged(segments.map { $0.bytes() }).count == 1)
    segments[2].identification = 2
    #expect(merged(segments.map { $0.bytes() }).map { $0.pieces } == [2, 1, 1])
    segments[2].identification = 0
    segments[1].identification = 1
    segments[3].identification = 1
    #expect(merged(segments.map { $0.bytes() }).map { $0.pieces } == [2, 2])
  }

  @Test func `goes no further than 65,535 bytes, 64 datagrams, and what it is told`() {
    for (isIPv6, isTCP) in CraftedPacket.families {
      let headers = CraftedPacket.mergeable(isIPv6, isTCP).headerLength
      for (size, fits) in [((65535 - headers) / 4, 4), ((65535 - headers) / 4 + 1, 3)] {
        let groups = merged(CraftedPacket.mergeable(isIPv6, isTCP, payload: size * 5).split(size).map { $0.bytes() })
        #expect(groups.map { $0.pieces } == [fits, 5 - fits])
      }
      let many = CraftedPacket.mergeable(isIPv6, isTCP, payload: 200).split(1).map { $0.bytes() }
      #expect(merged(many).map { $0.pieces } == (isTCP ? [200] : [64, 64, 64, 8]))
      var rules = MergeRules()
      rules.datagrams = 1
      #expect(merged(many, rules).count == (isTCP ? 1 : 200))
      (rules.tcp, rules.udp, rules.datagrams) = (!isTCP, isTCP, 64)
      #expect(merged(many, rules).count == 200)
      rules = MergeRules()
      rules.takesShortTail = false
      #expect(
        merged(CraftedPacket.mergeable(isIPv6, isTCP, payload: 149).split(50).map { $0.bytes() }, rules).map {
          $0.pieces
        } == [2, 1])
    }
  }

  @Test func `keeps packets without ports in their place between two hosts, and no others from being merged`() {
    for (isIPv6, isTCP) in CraftedPacket.families {
      let segments = CraftedPacket.mergeable(isIPv6, isTCP, payload: 200).split(50)
      var other = CraftedPacket.mergeable(isIPv6, isTCP)
      other.sourcePort = 9
      var fragment = other
      if isIPv6 { fragment.extensions = [(44, [0, 0, 1, 0, 0, 0, 1])] } else { fragment.fragment = 0x2001 }
      func pieces(_ between: CraftedPacket) -> [Int] {
        merged([segments[0], segments[1], between, segments[2], segments[3]].map { $0.bytes() }).map { $0.pieces }
      }
      #expect(pieces(other) == [4, 1])
      #expect(pieces(fragment) == [2, 1, 2])
      fragment.source = 77
      #expect(pieces(fragment) == [4, 1])
    }
  }

  @Test func `does not merge flows of different hosts that share a key`() {
    func bytes(_ words: UInt64...) -> [UInt8] {
      words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }
    let one = AddressBits(high: 0xFD << 56, low: 1), other = AddressBits(high: 0xFD << 56, low: 2)
    let target = AddressBits(high: 0xFD << 56, low: 3)
    let difference = FlowKey.mixed(one, target) ^ FlowKey.mixed(other, target)
    let twin = AddressBits(high: target.high, low: target.low ^ difference)
    #expect(FlowKey.mixed(one, target) == FlowKey.mixed(other, twin))
    for isTCP in [false, true] {
      var pair = CraftedPacket.mergeable(true, isTCP, payload: 100).split(50)
      pair[0].givenAddresses = bytes(one.high, one.low, target.high, target.low)
      pair[1].givenAddresses = pair[0].givenAddresses
      #expect(merged(pair.map { $0.bytes() }).count == 1)
      pair[1].givenAddresses = bytes(other.high, other.low, twin.high, twin.low)
      #expect(merged(pair.map { $0.bytes() }).map { $0.packet } == pair.map { $0.bytes() })
    }
  }

  @Test func `takes what is no IP packet, and begins anew when emptied`() {
    var batch = MergeBatch(capacity: 2)
    for _ in 0..<3 {
      #expect(batch.count == 0 && batch.groupCount == 0 && !batch.isFull)
      for packet in [[0], Array(repeating: 0x60, count: 39)] as [[UInt8]] {
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 + packet.count, alignment: 16)
        defer { room.deallocate() }
        room.copyBytes(from: Array(repeating: 0, count: 16) + packet)
        batch.add(UnsafeMutableRawBufferPointer(rebasing: room[16...]))
        #expect(batch.pieces(of: batch.groupCount - 1).map { $0.count } == [10 + packet.count])
      }
      #expect(batch.isFull && batch.groupCount == 2)
      batch.removeAll()
    }
  }
}
