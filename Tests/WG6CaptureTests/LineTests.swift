import Foundation
import Testing
import WG6Protocol

@testable import WG6Capture

@Suite struct `A captured packet's line` {
  private func line(_ packet: [UInt8], _ record: CaptureRecord? = nil, peer: String? = "laptop") -> String {
    var text = TextBuffer()
    let record = record ?? CaptureRecord(time: 0, direction: .inbound)
    packet.withUnsafeBytes { CapturedLine(record, time: "12:00:00.000001", peer: peer).write($0, to: &text) }
    return text.string
  }

  @Test func `says when, which way, whose, from where, where to, what and how long`() {
    #expect(line(Samples.udp) == "12:00:00.000001 in  laptop       10.0.0.1:1000 > 10.0.0.2:53 UDP, 32 bytes")
    #expect(
      line(Samples.echo, CaptureRecord(time: 0, direction: .outbound))
        == "12:00:00.000001 out laptop       fd66::2 > fd66::1 ICMPv6 echo request id 7 seq 3, 64 bytes")
    #expect(
      line(Samples.syn, peer: "a-name-that-is-longer")
        == "12:00:00.000001 in  a-name-that-is-longer [fd66::2]:40000 > [fd66::1]:443 TCP [SYN] seq 9, 60 bytes")
  }

  @Test func `says why a packet was dropped, and how many`() {
    let drop = CaptureRecord(time: 0, direction: .inbound, drop: .sourceNotAllowed)
    #expect(line(Samples.udp, drop).hasSuffix("UDP, 32 bytes: dropped, source not allowed"))
    let many = CaptureRecord(time: 0, direction: .outbound, drop: .handshakeUnanswered, count: 3)
    #expect(
      line([], many, peer: nil) == "12:00:00.000001 out -            no packet: dropped, handshake unanswered (3)")
  }

  @Test func `names what it cannot read`() {
    #expect(line([0x12, 0xFF]).hasSuffix(" 2 bytes that are no IP packet: 12 ff"))
    var other = Samples.udp
    other[9] = 200
    #expect(line(other).hasSuffix("10.0.0.1 > 10.0.0.2 protocol 200, 32 bytes"))
    var fragment = Samples.udp
    fragment[7] = 10
    #expect(line(fragment).hasSuffix("10.0.0.1 > 10.0.0.2 UDP, fragment at 80, 32 bytes"))
    var unreachable = Samples.echo
    unreachable[40] = 1
    unreachable[41] = 4
    #expect(line(unreachable).hasSuffix("ICMPv6 unreachable code 4, 64 bytes"))
  }

  @Test func `is one line of printable characters whatever the packet is`() {
    var generator = SystemRandomNumberGenerator()
    for sample in [Samples.udp, Samples.echo, Samples.syn] {
      for _ in 0..<3000 {
        var packet = sample
        for _ in 0..<Int.random(in: 0...6, using: &generator) {
          packet[Int.random(in: 0..<packet.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
        }
        packet.removeLast(Int.random(in: 0...packet.count, using: &generator))
        let text = line(packet)
        #expect(text.utf8.allSatisfy { (32...126).contains($0) } && text.count < 300, "\(packet)")
      }
    }
  }

  @Test func `takes protocols by name, in any case, and by number`() {
    #expect(
      ["tcp", "UDP", "icmpv6", "47", "ospf", "0", "255"].map { ProtocolName.number($0) } == [6, 17, 58, 47, 89, 0, 255])
    #expect(["", "256", "-1", "tcp ", "nothing", "٣"].allSatisfy { ProtocolName.number($0) == nil })
    #expect(ProtocolName.words.allSatisfy { ProtocolName.number($0) != nil })
  }

  private func dump(_ packets: [[UInt8]]) -> String {
    var text = TextBuffer()
    for (number, packet) in packets.enumerated() {
      let record = CaptureRecord(time: 0, direction: number % 2 == 0 ? .inbound : .outbound)
      packet.withUnsafeBytes {
        CapturedLine(record, time: "2026-11-30 12:00:0\(number % 10).000001", peer: "laptop").writeDump($0, to: &text)
      }
    }
    return text.string
  }

  @Test func `has its bytes in rows of sixteen behind their offsets in a dump`() {
    #expect(
      dump([Samples.udp]) == """
        # 2026-11-30 12:00:00.000001 in  laptop       10.0.0.1:1000 > 10.0.0.2:53 UDP, 32 bytes
        I 2026-11-30 12:00:00.000001
        000000 45 00 00 20 00 01 00 00 40 11 66 ca 0a 00 00 01
        000010 0a 00 00 02 03 e8 00 35 00 0c 00 00 de ad be ef


        """)
  }

  @Test(.enabled(if: Tools.areThere, Tools.absence))
  func `gives text2pcap the same packets, times and directions`() throws {
    let long = Array(Samples.udp.prefix(2)) + [0x05, 0xDC] + Samples.udp[4...] + [UInt8](repeating: 7, count: 1468)
    let text = dump([Samples.udp, Samples.echo, long, []])
    let printed = try Tools.run(
      ["text2pcap", "-q", "-D", "-t", "%Y-%m-%d %H:%M:%S.%f", "-l", "101", "FILE", "OUT"], on: Array(text.utf8))
    let lines = printed.split(separator: "\n").map {
      $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    }
    #expect(lines.count == 3, "\(printed)")
    guard lines.count == 3 else { return }
    #expect(lines.map { $0[1] } == ["10.0.0.1", "", "10.0.0.1"] && lines[1][2] == "fd66::1")
    #expect(lines.map { $0[3] } == ["32", "64", "1500"])
    #expect(lines.map { $0[4].suffix(1) } == ["1", "2", "1"], "\(printed)")
    #expect(lines.map { $0[0].hasSuffix(".000001000") } == [true, true, true], "\(printed)")
  }
}
