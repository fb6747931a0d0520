import CLinux
import Glibc
import Testing
import WG6Protocol
import WG6Simulation

@testable import WG6Linux

@Suite struct `Runs of datagrams` {
  private static let ways: [(Offloads, Offloads)] = [([], []), (.gso, []), ([], .gro), (.gso, .gro)]

  private func loopback(_ port: UInt16, isIPv6: Bool) -> PackedPath {
    PackedPath(Path(to: Endpoint(address: isIPv6 ? .v6(high: 0, low: 1) : .v4(0x7F00_0001), port: port)))
  }

  private func acrossVeth(_ port: UInt16, isIPv6: Bool) -> PackedPath {
    let address: IPAddress = isIPv6 ? .v6(high: 0xFD77 << 48, low: 2) : .v4(0x0A4D_0002)
    return PackedPath(Path(to: Endpoint(address: address, port: port)))
  }

  private func run(_ byteCount: Int, by size: Int, _ random: inout SeededRandom) -> Run {
    Run(byteCount, by: size, &random)
  }

  /// All that must hold of runs that were sent from one to the other.
  private func check(
    _ runs: [Run], from sender: Correspondent, to receiver: Correspondent, along path: PackedPath,
    _ context: Comment, areMerged: Bool? = nil
  ) {
    let datagrams = runs.flatMap(\.datagrams)
    let sent = sender.send(runs, along: path)
    #expect(sent.count == datagrams.count, context)
    #expect(sent.byteCount == datagrams.reduce(0) { $0 + $1.count }, context)
    #expect(!sent.sourceIsGone && !sent.endedSegmentation, context)
    let arrived = receiver.receive(datagrams.count, isIPv6: path.isIPv6)
    #expect(arrived.map(\.bytes) == datagrams, context)
    #expect(arrived.allSatisfy { !$0.isTruncated && $0.path.port == sender.port }, context)
    // Where it was sent to is where an answer is sent from.
    #expect(arrived.allSatisfy { $0.path.hasSource && $0.path.source == path.remote }, context)
    if let areMerged { #expect(arrived.contains(where: \.isMerged) == areMerged, context) }
  }

  @Test(arguments: ways, [false, true])
  func `arrive datagram by datagram, however they were sent and received`(
    way: (sending: Offloads, receiving: Offloads), isIPv6: Bool
  ) throws {
    let sender = try Correspondent(way.sending), receiver = try Correspondent(way.receiving)
    let path = loopback(receiver.port, isIPv6: isIPv6)
    let longest = DatagramRun.longest(isIPv6: isIPv6)
    var random = SeededRandom(seed: 1)
    let areMerged = sender.offloads.contains(.gso) && receiver.offloads.contains(.gro)
    for (byteCount, size) in [
      (1000, 1000), (1001, 1000), (2000, 1000), (64, 1), (63 * 1452 / 2, 1452), (longest, 1452), (longest, 1024),
      (longest, 32768), (45 * 1452, 1452), (65, 64), (3, 2),
    ] {
      // The kernel cuts what is longer than 65,535 bytes with a link's header before it crosses an interface.
      check(
        [run(byteCount, by: size, &random)], from: sender, to: receiver, along: path, "\(byteCount) by \(size)",
        areMerged: byteCount < longest ? areMerged && byteCount > size : nil)
    }
    // The longest there is, alone.
    check([run(longest, by: longest, &random)], from: sender, to: receiver, along: path, "alone", areMerged: false)
    for seed in 2...10 as ClosedRange<UInt64> {
      var random = SeededRandom(seed: seed)
      let runs = (0..<Int.random(in: 1...70, using: &random)).map { _ in
        let size = Int.random(in: 1...1500, using: &random)
        let most = min(longest, size * (Bool.random(using: &random) ? 1 : 64))
        return run(Int.random(in: 1...min(most, 8_000), using: &random), by: size, &random)
      }
      check(runs, from: sender, to: receiver, along: path, "seed \(seed)")
    }
    #expect(sender.sendsWhole(isIPv6: isIPv6) == sender.offloads.contains(.gso))
  }

  @Test(arguments: [false, true])
  func `come with the address that they were sent to, and answers leave from there`(isIPv6: Bool) throws {
    // IPv6 has one address on the loopback interface.
    let sender = try Correspondent(.all), receiver = try Correspondent(.all)
    var random = SeededRandom(seed: 3)
    let there = PackedPath(
      Path(to: Endpoint(address: isIPv6 ? .v6(high: 0, low: 1) : .v4(0x7F00_0203), port: receiver.port)))
    _ = sender.send([run(5000, by: 900, &random), run(700, by: 700, &random)], along: there)
    let arrived = receiver.receive(7, isIPv6: isIPv6)
    #expect(arrived.count == 7)
    for arrival in arrived {
      #expect(arrival.path.source == there.remote)
      #expect(arrival.path.sourceInterface == if_nametoindex("lo"))
    }
    let back = try #require(arrived.first).path
    _ = receiver.send([run(5000, by: 900, &random)], along: back)
    let answers = sender.receive(6, isIPv6: isIPv6)
    #expect(answers.count == 6 && answers.allSatisfy { $0.path.remote == there.remote })
  }

  @Test func `are marked where the buffer is too small for them together`() throws {
    let sender = try Correspondent(.gso), receiver = try Correspondent(.gro)
    var random = SeededRandom(seed: 4)
    let path = loopback(receiver.port, isIPv6: false)
    #expect(sender.send([run(5000, by: 1000, &random)], along: path).count == 5)
    #expect(sender.send([run(900, by: 900, &random)], along: path).count == 1)
    let arrived = receiver.receive(2, isIPv6: false, capacity: 1000)
    #expect(arrived.map(\.isTruncated) == [true, false] || !receiver.offloads.contains(.gro))
  }

  @Test(arguments: [false, true])
  func `leave from another address where theirs has gone, and stay together`(isIPv6: Bool) throws {
    let sender = try Correspondent(.gso), receiver = try Correspondent(.gro)
    var random = SeededRandom(seed: 5)
    let path = PackedPath(
      Path(
        to: Endpoint(address: isIPv6 ? .v6(high: 0, low: 1) : .v4(0x7F00_0001), port: receiver.port),
        from: isIPv6 ? .v6(high: 0x2001_0DB8 << 32, low: 7) : .v4(0xC633_6401), sourceInterface: 1))
    let runs = [run(5000, by: 1000, &random), run(6000, by: 1000, &random)]
    for _ in 0..<3 {
      let sent = sender.send(runs, along: path)
      #expect(sent.count == 11 && sent.sourceIsGone && !sent.endedSegmentation)
      #expect(receiver.receive(11, isIPv6: isIPv6).map(\.bytes) == runs.flatMap(\.datagrams))
    }
    // It was not taken for a refusal of runs.
    check(
      runs, from: sender, to: receiver, along: path.withoutSource, "without a source",
      areMerged: sender.offloads.contains(.gso) && receiver.offloads.contains(.gro))
  }

  @Test(arguments: [false, true])
  func `are not lost for news about others`(isIPv6: Bool) throws {
    let sender = try Correspondent(.gso), receiver = try Correspondent(.gro), closed = try Correspondent()
    try closed.sockets.close()
    var random = SeededRandom(seed: 6)
    for round in 0..<20 {
      _ = sender.send([run(3000, by: 1000, &random)], along: loopback(closed.port, isIPv6: isIPv6))
      check(
        [run(3000, by: 1000, &random)], from: sender, to: receiver, along: loopback(receiver.port, isIPv6: isIPv6),
        "round \(round)", areMerged: sender.offloads.contains(.gso) && receiver.offloads.contains(.gro))
    }
  }

  @Test(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence), arguments: ways, [false, true])
  func `cross a veth pair`(way: (sending: Offloads, receiving: Offloads), isIPv6: Bool) throws {
    let pair = try VethPair()
    let sender = try pair.left.inside { try Correspondent(way.sending) }
    let receiver = try pair.right.inside { try Correspondent(way.receiving) }
    let path = acrossVeth(receiver.port, isIPv6: isIPv6)
    for seed in 100...108 as ClosedRange<UInt64> {
      var random = SeededRandom(seed: seed)
      let runs = (0..<Int.random(in: 1...8, using: &random)).map { _ in
        let size = Int.random(in: 1...1452, using: &random)
        return run(Int.random(in: 1...min(size * 64, 65507), using: &random), by: size, &random)
      }
      check(runs, from: sender, to: receiver, along: path, "seed \(seed)")
    }
  }

  @Test(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence), arguments: [false, true])
  func `whose datagrams are longer than the path's packets go one by one, and only they`(isIPv6: Bool) throws {
    let pair = try VethPair(mtu: 1280)
    let sender = try pair.left.inside { try Correspondent(.gso) }
    let receiver = try pair.right.inside { try Correspondent(.gro) }
    let path = acrossVeth(receiver.port, isIPv6: isIPv6)
    var random = SeededRandom(seed: 7)
    for round in 0..<5 {
      check(
        [run(1000, by: 1000, &random), run(14_500, by: 1452, &random), run(9500, by: 1000, &random)], from: sender,
        to: receiver, along: path, "round \(round)")
      // It is remembered, so that the next run is not tried in vain; smaller ones are.
      #expect(sender.sendsWhole(isIPv6: isIPv6))
      #expect(!sender.sendsWhole(1452, along: path))
      #expect(sender.sendsWhole(1451, along: path))
    }
    // As the first are longest, they alone tell.
    check([run(1300, by: 1253, &random)], from: sender, to: receiver, along: path, "a few bytes too long")
    #expect(!sender.sendsWhole(1253, along: path))
    #expect(sender.sendsWhole(1200, along: path))
  }

  private static let hasUDPLite: Bool = {
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), Int32(IPPROTO_UDPLITE))
    close(descriptor)
    return descriptor >= 0
  }()

  /// No network card here lacks checksums, but UDP-Lite is refused with the same error, by the same lines of the kernel.
  @Test(.enabled(if: hasUDPLite, "SKIPPED: this kernel has no UDP-Lite to say EIO"))
  func `go one by one from the first EIO on, which is told once`() throws {
    let sender = try Correspondent(.gso), receiver = try Correspondent()
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = receiver.port.bigEndian
    for number in [sender.sockets.descriptor(isIPv6: false), receiver.sockets.descriptor(isIPv6: false)] {
      let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), Int32(IPPROTO_UDPLITE))
      try #require(linux_put_under(descriptor, number) == 0)
      close(descriptor)
    }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(receiver.sockets.descriptor(isIPv6: false), $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(bound == 0)
    var random = SeededRandom(seed: 8)
    let path = loopback(receiver.port, isIPv6: false)
    let isOn = sender.sendsWhole(isIPv6: false)
    #expect(isOn == sender.offloads.contains(.gso))
    for round in 0..<3 {
      let runs = [run(7000, by: 1000, &random), run(800, by: 800, &random), run(9100, by: 1000, &random)]
      let sent = sender.send(runs, along: path)
      #expect(sent.count == 18)
      #expect(sent.endedSegmentation == (round == 0 && isOn))
      #expect(!sender.sendsWhole(isIPv6: false))
      #expect(sender.sendsWhole(isIPv6: true) == isOn)
      #expect(receiver.receive(18, isIPv6: false).map(\.bytes) == runs.flatMap(\.datagrams))
    }
    // New sockets, a new attempt.
    _ = try sender.sockets.open(port: 0, mark: 0, offloads: .gso)
    #expect(sender.sendsWhole(isIPv6: false) == isOn)
  }

  @Test(arguments: [
    (EINVAL, SegmentationRefusal.size), (EMSGSIZE, .size), (EIO, .device), (EAGAIN, nil), (ECONNREFUSED, nil),
    (ENETUNREACH, nil), (ENOBUFS, nil), (EPERM, nil), (0, nil),
  ])
  func `are refused by errors of their own`(error: Int32, refusal: SegmentationRefusal?) {
    #expect(SegmentationRefusal(-error) == refusal)
  }

  @Test func `are tried again at a destination that refused them, after a thousand others`() {
    let segmentation = Held()
    let near = loopback(1, isIPv6: false), other = loopback(1, isIPv6: true)
    #expect(!segmentation.allows(1000, along: near))
    segmentation.set(true, isIPv6: false)
    segmentation.set(true, isIPv6: true)
    #expect(segmentation.allows(1000, along: near))
    segmentation.refused(1000, along: near)
    for _ in 0..<1000 {
      #expect(!segmentation.allows(1000, along: near))
      #expect(segmentation.allows(999, along: near))
      #expect(segmentation.allows(1000, along: other))
    }
    #expect(segmentation.allows(1000, along: near))
    #expect(segmentation.allows(1000, along: near))
  }
}

/// A `WholeSending` that can stand in an expectation.
private final class Held: Sendable {
  private let wholeSending = WholeSending()

  func set(_ isOn: Bool, isIPv6: Bool) { wholeSending.set(isOn, isIPv6: isIPv6) }
  func refused(_ size: Int, along path: PackedPath) { wholeSending.refused(size, along: path) }
  func allows(_ size: Int, along path: PackedPath) -> Bool { wholeSending.allows(size, along: path) }
}
