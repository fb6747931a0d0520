import CLinux
import Glibc
import SystemPackage
import Testing
import WG6Linux
import WG6Protocol
import WG6Simulation

/// Each in a network namespace of its own, where the interface has 10.78.0.1 and the network behind it is the test.
@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence)) struct `A TUN interface` {
  private static let wishes: [Offloads] = [
    [], .tun, [.tun, .tso], [.tun, .uso], [.tun, .tso, .uso], .all, .tso, [.tso, .uso], [.gso, .gro],
  ]

  /// An interface that can be asked in an expectation.
  private final class Interface: Sendable {
    let tun: TUN

    init(_ tun: consuming TUN) { self.tun = tun }

    var offloads: Offloads { tun.offloads }
    var hasHeader: Bool { tun.hasVirtioHeader }
    func name() throws -> String { try tun.name() }

    func write(_ packet: [UInt8]) -> Int32 { packet.withUnsafeBytes { tun.write($0) } }

    /// Writes `pieces`, the first of which begins with a virtio header.
    func write(pieces: [[UInt8]]) -> Int32 {
      let copies = pieces.map { piece in
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
        copy.copyBytes(from: piece)
        return copy
      }
      defer { for copy in copies { copy.deallocate() } }
      let described = copies.map { iovec(iov_base: $0.baseAddress!, iov_len: $0.count) }
      let result = described.withUnsafeBufferPointer {
        $0.withMemoryRebound(to: MergeBatch.Piece.self) { tun.write($0) }
      }
      // What was written belongs to the caller, and is as it was.
      #expect(zip(copies, pieces).allSatisfy { Array($0) == $1 })
      return result
    }

    /// The next IPv4 packet with UDP in it, and what stands before it; `nil` when there is none for a second.
    func read() -> (header: VirtioHeader?, headerBytes: [UInt8], packet: [UInt8])? {
      var waiting = pollfd(fd: tun.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      return withUnsafeTemporaryAllocation(byteCount: TUN.longestRead, alignment: 16) { buffer in
        let length = hasHeader ? VirtioHeader.length : 0
        for _ in 0..<100 {
          guard poll(&waiting, 1, 1000) > 0 else { return nil }
          let count = tun.read(into: buffer)
          // The kernel greets IPv6 routers of its own accord.
          guard count > length + 28, buffer[length] >> 4 == 4, buffer[length + 9] == UInt8(IPPROTO_UDP) else {
            continue
          }
          return (
            hasHeader ? try? VirtioHeader(UnsafeRawBufferPointer(buffer)) : nil, Array(buffer[..<length]),
            Array(buffer[length..<count])
          )
        }
        return nil
      }
    }
  }

  private func open(_ wanted: Offloads, in namespace: NetworkNamespace, up: Bool = true) throws -> Interface {
    let interface = try namespace.inside { Interface(try TUN(named: "t0", offloads: wanted)) }
    if up {
      try namespace.ip("address add 10.78.0.1/24 dev t0")
      try namespace.ip("link set t0 mtu 1420 up")
    }
    return interface
  }

  @Test(arguments: wishes) func `is opened with what is wanted, and says what it has`(wanted: Offloads) throws {
    let namespace = try NetworkNamespace()
    let interface = try open(wanted, in: namespace)
    #expect(try interface.name() == "t0")
    var expected = wanted.without([]).intersection([.tun, .tso, .uso])
    if linux_kernel_is_at_least(6, 2) == 0 { expected.remove(.uso) }
    #expect(interface.offloads == expected)
    #expect(interface.hasHeader == wanted.contains(.tun))
  }

  /// The packet on its way back. Sums of addresses and ports are the same then, and so are checksums, open or complete.
  private func turned(_ packet: [UInt8]) -> [UInt8] {
    let order = Array(0..<12) + [16, 17, 18, 19, 12, 13, 14, 15, 22, 23, 20, 21]
    return order.map { packet[$0] } + packet[24...]
  }

  @Test(arguments: wishes, 0..<4 as Range<UInt64>)
  func `hands out what was sent as one, whole or cut, and takes it back`(wanted: Offloads, seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let namespace = try NetworkNamespace()
    let interface = try open(wanted, in: namespace)
    let host = try namespace.inside { try Correspondent(.gso) }
    let size = [1392, 1000, 100, 7][Int(seed)]
    let run = Run(size * 40 + 3, by: size, &random)
    let path = PackedPath(Path(to: Endpoint(address: .v4(0x0A4E_0002), port: 9)))
    #expect(host.send([run], along: path).count == 41)

    var packets: [(header: VirtioHeader?, headerBytes: [UInt8], packet: [UInt8])] = []
    let isWhole = interface.offloads.contains(.uso) && host.offloads.contains(.gso)
    while packets.count < (isWhole ? 1 : 41), let packet = interface.read() { packets.append(packet) }
    #expect(packets.allSatisfy { ($0.header != nil) == interface.hasHeader })
    if isWhole {
      let (header, _, packet) = try #require(packets.first)
      #expect(header?.segmentation == .udp && header?.segmentSize == UInt16(size) && header?.needsChecksum == true)
      #expect(Array(packet.dropFirst(28)) == run.bytes)
    } else {
      #expect(packets.map { Array($0.packet.dropFirst(28)) } == run.datagrams)
      #expect(packets.allSatisfy { $0.header == nil || $0.header?.segmentation == VirtioHeader.Segmentation.none })
    }

    // Back, in pieces: where there is no header, what stands in its place is nobody's business.
    for (_, headerBytes, packet) in packets {
      let header = interface.hasHeader ? headerBytes : (0..<10).map { _ in UInt8.random(in: 0...255, using: &random) }
      let back = turned(packet)
      let cut = interface.hasHeader ? Int.random(in: 28..<back.count, using: &random) : back.count
      let pieces = [header + back[..<cut], Array(back[cut...])].filter { !$0.isEmpty }
      #expect(interface.write(pieces: pieces) == 0)
    }
    let arrived = host.receive(41, isIPv6: false)
    #expect(arrived.map(\.bytes) == run.datagrams)
    #expect(arrived.allSatisfy { $0.path.remote == path.remote && $0.path.port == 9 })
  }

  @Test(arguments: [[], .all] as [Offloads])
  func `takes a plain packet as it is`(wanted: Offloads) throws {
    let namespace = try NetworkNamespace()
    let interface = try open(wanted, in: namespace)
    let host = try namespace.inside { try Correspondent() }
    let path = PackedPath(Path(to: Endpoint(address: .v4(0x0A4E_0002), port: 9)))
    for size in [1, 100, 1392] {
      let run = Run(bytes: (0..<size).map { UInt8(truncatingIfNeeded: $0) }, size: size)
      #expect(host.send([run], along: path).count == 1)
      var packet = turned(try #require(interface.read()).packet)
      // No checksum at all, for nobody will complete it.
      packet[26] = 0
      packet[27] = 0
      #expect(interface.write(packet) == 0)
      #expect(host.receive(1, isIPv6: false).map(\.bytes) == [run.bytes])
    }
  }

  @Test func `tells packets that the kernel won't take from those that were lost`() throws {
    let namespace = try NetworkNamespace()
    let interface = try open(.all, in: namespace, up: false)
    let packet = [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0] + [UInt8](repeating: 1, count: 17)
    #expect(interface.write(packet) == -EIO)
    #expect(!TUN.isRefusal(-EIO) && !TUN.isRefusal(-EAGAIN) && !TUN.isRefusal(0))
    try namespace.ip("link set t0 up")
    #expect(interface.write(packet) == 0)
    // Segments of TCP, for what is UDP.
    let header: [UInt8] = [1, VirtioHeader.Segmentation.tcpv4.rawValue, 0, 0, 1, 0, 20, 0, 6, 0]
    let result = interface.write(pieces: [header + packet])
    #expect(TUN.isRefusal(result), "\(result)")
  }

  @Test func `takes no merged packet without a virtio header`() throws {
    let namespace = try NetworkNamespace()
    let interface = try open([], in: namespace)
    let header = [UInt8](repeating: 0, count: 10)
    #expect(TUN.isRefusal(interface.write(pieces: [header + [0x45], [1, 2, 3]])))
    #expect(TUN.isRefusal(interface.write(pieces: [header])))
  }

  @Test(
    arguments: [(0, [], []), (0, .all, []), (1, [], .tun), (1, .all, [.tun, .tso, .uso]), (1, .tso, .tun)]
      as [(Int32, Offloads, Offloads)])
  func `is taken over with the header that it has`(hasHeader: Int32, wanted: Offloads, expected: Offloads) throws {
    let namespace = try NetworkNamespace()
    let interface = try namespace.inside {
      let raw = linux_tun_open("t0", hasHeader)
      try #require(raw >= 0)
      return Interface(try TUN(takingOver: raw, offloads: wanted))
    }
    #expect(interface.hasHeader == (hasHeader == 1))
    #expect(interface.offloads == (linux_kernel_is_at_least(6, 2) == 1 ? expected : expected.subtracting(.uso)))
    // As it was.
    #expect(linux_tun_has_header(interface.tun.descriptor.rawValue) == hasHeader)
  }

  @Test func `finds no offloads left behind at an interface that others had`() throws {
    let namespace = try NetworkNamespace()
    do {
      let before = try open(.all, in: namespace)
      try #require(before.hasHeader)
      try #require(ioctl(before.tun.descriptor.rawValue, Request.persist, 1) == 0)
    }
    // A program that another test starts has the descriptor too, until it is that program.
    var after: Interface?
    for _ in 0..<1000 where after == nil {
      do { after = try open([], in: namespace, up: false) } catch Errno.resourceBusy { usleep(10_000) }
    }
    let interface = try #require(after)
    let host = try namespace.inside { try Correspondent(.gso) }
    let run = Run(bytes: [UInt8](repeating: 1, count: 3000), size: 1000)
    let path = PackedPath(Path(to: Endpoint(address: .v4(0x0A4E_0002), port: 9)))
    #expect(host.send([run], along: path).count == 3)
    for datagram in run.datagrams { #expect(interface.read()?.packet.dropFirst(28).elementsEqual(datagram) == true) }
    try #require(ioctl(interface.tun.descriptor.rawValue, Request.persist, 0) == 0)
  }

  private enum Request {
    static let persist: UInt = 0x4004_54CB
    static let setInterface: UInt = 0x4004_54CA
    static let setHeaderLength: UInt = 0x4004_54D8
    static let tun: Int16 = 1
    static let tap: Int16 = 2
    static let noPacketInformation: Int16 = 0x1000
    static let virtioHeader: Int16 = 0x4000
  }

  @Test(
    arguments: [
      (Request.tap | Request.noPacketInformation, 10),
      (Request.tun | Request.virtioHeader | Request.noPacketInformation, 12),
    ] as [(Int16, Int32)])
  func `is not taken over with anything else before its packets`(flags: Int16, headerLength: Int32) throws {
    let namespace = try NetworkNamespace()
    let error: Errno? = try namespace.inside {
      let raw = Glibc.open("/dev/net/tun", O_RDWR | O_CLOEXEC)
      try #require(raw >= 0)
      var request = ifreq()
      request.ifr_ifru.ifru_flags = flags
      var length = headerLength
      try #require(ioctl(raw, Request.setInterface, &request) == 0)
      try #require(ioctl(raw, Request.setHeaderLength, &length) == 0)
      do {
        let interface = Interface(try TUN(takingOver: raw, offloads: .all))
        Issue.record("\(flags): \(interface.offloads)")
        return nil
      } catch let error as Errno {
        return error
      }
    }
    #expect(error == .protocolNotSupported)
    #expect(throws: (any Error).self) { _ = Interface(try TUN(takingOver: Glibc.open("/dev/null", O_RDWR))) }
  }
}
