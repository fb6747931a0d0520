import Foundation
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Capture

@Suite struct `A pcapng section` {
  private func record(
    _ direction: CaptureRecord.Direction, drop: DropReason? = nil, count: Int = 1, missed: UInt64 = 0
  ) -> CaptureRecord {
    CaptureRecord(time: 0, direction: direction, drop: drop, count: count, missed: missed)
  }

  private func write(
    _ writer: inout PcapngWriter, _ record: CaptureRecord, _ packet: [UInt8], time: UInt64, peer: String? = nil
  ) {
    packet.withUnsafeBytes { writer.write(record, $0, time: time, peer: peer) }
  }

  /// By hand, after the draft's figures.
  @Test func `is laid out byte by byte as the format says`() {
    var writer = PcapngWriter(interface: "wg0", application: "wg6")
    write(&writer, record(.inbound, missed: 5), [0x45, 1, 2], time: 0x0102_0304_0506_0708, peer: "bob")
    writer.finish(missed: 6, time: 0x0A0B_0C0D_0E0F_1011)
    let expected: [[UInt8]] = [
      // Section Header Block: byte-order magic, version 1.0, length unknown, shb_userappl, opt_endofopt.
      [0x0A, 0x0D, 0x0D, 0x0A, 40, 0, 0, 0, 0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0],
      [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 4, 0, 3, 0, 0x77, 0x67, 0x36, 0, 0, 0, 0, 0, 40, 0, 0, 0],
      // Interface Description Block: LINKTYPE_RAW, no limit, if_name, if_tsresol 10^-9.
      [1, 0, 0, 0, 40, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0x77, 0x67, 0x30, 0],
      [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0],
      // Enhanced Packet Block: interface 0, time, lengths, packet; comment, epb_flags inbound, epb_dropcount 5.
      [6, 0, 0, 0, 68, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 0, 0, 3, 0, 0, 0, 0x45, 1, 2, 0],
      [1, 0, 3, 0, 0x62, 0x6F, 0x62, 0, 2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0],
      [0, 0, 0, 0, 68, 0, 0, 0],
      // Interface Statistics Block: isb_starttime, isb_endtime, isb_ifrecv 7, isb_ifdrop 6.
      [5, 0, 0, 0, 76, 0, 0, 0, 0, 0, 0, 0, 0x0D, 0x0C, 0x0B, 0x0A, 0x11, 0x10, 0x0F, 0x0E],
      [2, 0, 8, 0, 4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 8, 0, 0x0D, 0x0C, 0x0B, 0x0A, 0x11, 0x10, 0x0F, 0x0E],
      [4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 76, 0, 0, 0],
    ]
    #expect(writer.output.bytes == expected.flatMap { $0 })
  }

  @Test func `has its secrets in a block of their own`() {
    var lines = WipedBytes(), block = WipedBytes()
    lines.append("A = b\n")
    PcapngWriter.writeSecrets(lines, to: &block)
    let bytes = block.withBytes { $0.withUnsafeBytes { Array($0) } }
    #expect(
      bytes == [10, 0, 0, 0, 28, 0, 0, 0, 0x4C, 0x4B, 0x47, 0x57, 6, 0, 0, 0, 0x41, 0x20, 0x3D, 0x20, 0x62, 0x0A, 0, 0]
        + [28, 0, 0, 0])
  }

  @Test(.enabled(if: Tools.areThere, Tools.absence))
  func `is read by tshark: packets, directions, comments, times, and by capinfos what is missing`() throws {
    var writer = PcapngWriter(interface: "wgnet", application: "wg6 test")
    let start: UInt64 = 1_700_000_000_123_456_789
    write(&writer, record(.outbound), Samples.udp, time: start, peer: "laptop")
    write(&writer, record(.inbound, missed: 3), Samples.echo, time: start + 1_000_000_001, peer: "laptop")
    write(
      &writer, record(.inbound, drop: .sourceNotAllowed, count: 2, missed: 3), Samples.syn, time: start + 2_000_000_000,
      peer: "k")
    write(&writer, record(.inbound, drop: .unknownReceiver, missed: 3), [], time: start + 3_000_000_000)
    writer.finish(missed: 4, time: start + 4_000_000_000)
    let fields = [
      "frame.time_epoch", "frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.len",
      "_ws.col.Protocol",
    ].flatMap { ["-e", $0] }
    let printed = try Tools.run(
      ["tshark", "-r", "FILE", "-T", "fields", "-E", "aggregator=;"] + fields, on: writer.output.bytes)
    let lines = printed.split(separator: "\n").map {
      $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    }
    #expect(lines.count == 4, "\(printed)")
    guard lines.count == 4 else { return }
    #expect(
      lines.map { $0[0] } == [
        "1700000000.123456789", "1700000001.123456790", "1700000002.123456789", "1700000003.123456789",
      ])
    #expect(lines.allSatisfy { $0[1] == "wgnet" })
    #expect(lines.map { $0[2].suffix(1) } == ["2", "1", "1", "1"])
    #expect(
      lines.map { $0[3] } == ["laptop", "laptop", "k;dropped: source not allowed (2)", "dropped: unknown receiver"])
    #expect(lines.map { $0[4] } == ["32", "64", "60", "0"])
    #expect(lines.prefix(3).map { $0[5] } == ["DNS", "ICMPv6", "TCP"], "\(printed)")
    let summary = try Tools.run(["capinfos", "FILE"], on: writer.output.bytes)
    #expect(summary.contains("Name = wgnet") && summary.contains("Number of packets = 4"), "\(summary)")
    #expect(summary.contains("Encapsulation = Raw IP"), "\(summary)")
  }
}
