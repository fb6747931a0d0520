import Benchmark

@testable import WG6Protocol

/// Splitting super-packets and merging their segments again, a super-packet an operation; and the checksum under both.
func benchmarkOffload() {
  for isIPv6 in [false, true] {
    for kind in [SuperPacket.Kind.tcp, .udp] {
      let name = "\(kind), \(isIPv6 ? "IPv6" : "IPv4"), \(SuperPacket.segments) segments of 1,420 bytes"
      Benchmark.measure("split \(name)", of: { SuperPacket(kind, isIPv6: isIPv6) }) { packet, operations in
        for _ in 0..<operations { packet.split() }
      }
      Benchmark.measure("merge \(name)", of: { SuperPacket(kind, isIPv6: isIPv6) }) { packet, operations in
        for _ in 0..<operations { packet.merge() }
        precondition(packet.groups == 1, "one super-packet becomes of the segments")
      }
    }
  }
  for length in [64, 1420, 65_000] {
    Benchmark.measure("checksum of \(length) bytes", of: { [UInt8](repeating: 0xA5, count: length) }) {
      bytes, operations in
      bytes.withUnsafeBytes { bytes in
        for _ in 0..<operations {
          var checksum = InternetChecksum()
          checksum.add(bytes)
          blackHole(checksum.value)
        }
      }
    }
  }
}

/// A super-packet as a TUN device hands it over, room for its segments, and a batch to merge them in.
private final class SuperPacket {
  enum Kind: String { case tcp, udp }

  static let segments = 45
  private static let segmentLength = 1420
  /// Before each segment, where the virtio header of what is merged goes.
  private static let stride = 1440, room = 16

  private let header: VirtioHeader
  private let packet: UnsafeMutableRawBufferPointer
  private let trains: UnsafeMutableRawBufferPointer
  private var batch = MergeBatch()
  private var firstHeaders: [UInt8] = []
  private let headerLength: Int
  /// What the last merging made.
  private(set) var groups = 0

  init(_ kind: Kind, isIPv6: Bool) {
    let network = isIPv6 ? 40 : 20
    headerLength = network + (kind == .tcp ? 20 : 8)
    let payload = Self.segmentLength - headerLength
    packet = .allocate(byteCount: headerLength + Self.segments * payload, alignment: 16)
    packet.initializeMemory(as: UInt8.self, repeating: 0x5A)
    trains = .allocate(byteCount: Self.segments * Self.stride, alignment: 16)
    header = VirtioHeader(
      kind == .udp ? .udp : isIPv6 ? .tcpv6 : .tcpv4, hasECN: false, segmentSize: payload, headerLength: headerLength,
      checksumStart: network, checksumOffset: kind == .tcp ? 16 : 6)
    let transport =
      kind == .tcp
      ? [0xC0, 1, 0x01, 0xBB] + [0, 0, 0, 9, 0, 0, 0, 7] + [0x50, 0x10, 1, 0xF5, 0, 0, 0, 0]
      : [0xC0, 1, 0x01, 0xBB] + Self.half(packet.count - network) + [0, 0]
    packet.copyBytes(from: Self.networkHeader(kind, isIPv6: isIPv6, length: packet.count) + transport)
    split()
    firstHeaders = Array(segment(0).prefix(headerLength))
  }

  deinit {
    packet.deallocate()
    trains.deallocate()
  }

  private static func half(_ value: Int) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }

  private static func networkHeader(_ kind: Kind, isIPv6: Bool, length: Int) -> [UInt8] {
    let number: UInt8 = kind == .tcp ? 6 : 17
    return isIPv6
      ? [0x60, 0, 0, 0] + half(length - 40) + [number, 64] + [UInt8](1...32)
      : [0x45, 0] + half(length) + [0, 1, 0x40, 0, 64, number, 0, 0] + [10, 0, 0, 1, 10, 0, 0, 2]
  }

  private func segment(_ index: Int) -> UnsafeMutableRawBufferPointer {
    let start = index * Self.stride + Self.room
    return UnsafeMutableRawBufferPointer(rebasing: trains[start..<start + Self.segmentLength])
  }

  func split() {
    guard let segments = try? Segmentation(header, packet: packet), segments.count == Self.segments else {
      preconditionFailure("a good super-packet is split")
    }
    for index in 0..<segments.count { segments.write(index, to: segment(index).baseAddress!) }
  }

  /// The first segment's headers become the super-packet's and are put back before.
  func merge() {
    segment(0).copyBytes(from: firstHeaders)
    for index in 0..<Self.segments { batch.add(segment(index)) }
    groups = batch.groupCount
    for index in 0..<groups { blackHole(batch.pieces(of: index).count) }
    batch.removeAll()
  }
}
