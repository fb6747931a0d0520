import WG6Capture
import WG6Config
import WG6Simulation

@testable import WG6Protocol

extension FuzzTarget {
  /// What a capture shows of packets that anyone may have sent, and how its reader takes memory that anyone may have written.
  /// The input's first byte chooses: a packet, or what is in the ring.
  static let capture = FuzzTarget("capture") { input in
    var input = input
    if input.below(2) == 0 { CapturePlay.show(input.rest()) } else { CapturePlay.read(input.rest()) }
  }
}

private enum CapturePlay {
  /// One line of printable characters; a dump of the same bytes; a block whose lengths are right.
  static func show(_ packet: [UInt8]) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: packet.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: packet)
    let bytes = UnsafeRawBufferPointer(copy)
    let reason = packet.count % 3 == 0 ? DropReason.allCases[packet.count % DropReason.allCases.count] : nil
    let record = CaptureRecord(time: 1, direction: .inbound, drop: reason)
    let headers = PacketHeaders(bytes)
    claim((headers == nil) == (InnerPacket(bytes) == nil), "headers are read of packets alone")
    if let headers, let offset = headers.carriedOffset {
      claim(offset < headers.length && headers.length <= packet.count, "what is carried is within the packet")
    }
    var line = TextBuffer(), dump = TextBuffer()
    CapturedLine(record, time: "12:00:00.000000", peer: "peer").write(bytes, to: &line)
    claim(line.bytes.allSatisfy { (32...126).contains($0) } && line.count < 400, "a line is one: \(line.string)")
    CapturedLine(record, time: "12:00:00.000000", peer: nil).writeDump(bytes, to: &dump)
    let rows = dump.string.split(separator: "\n").dropFirst(2)
    let shown = rows.flatMap { $0.split(separator: " ").dropFirst().compactMap { UInt8($0, radix: 16) } }
    claim(shown == packet, "a dump has the packet's bytes")
    var writer = PcapngWriter(interface: "wg0", application: "fuzz")
    writer.write(record, bytes, time: 1, peer: "peer")
    let written = writer.output.bytes
    var offset = 0
    while offset < written.count {
      func word(_ at: Int) -> Int { (0..<4).reduce(0) { $0 | Int(written[at + $1]) << (8 * $1) } }
      let length = word(offset + 4)
      claim(length % 4 == 0 && length >= 12 && offset + length <= written.count, "a block is whole")
      claim(word(offset + length - 4) == length, "a block says its length twice")
      offset += length
    }
  }

  /// The reader takes what is a record, stops at what is none, and looks at nothing outside the memory.
  static func read(_ ring: [UInt8]) {
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: CaptureRing.headerLength + (1 << 18), alignment: 4096)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    let writer = CaptureWriter(memory)
    withExtendedLifetime(writer) {}
    UnsafeMutableRawBufferPointer(rebasing: memory[CaptureRing.headerLength...]).copyBytes(from: ring.prefix(1 << 18))
    guard var reader = CaptureReader(memory) else { return claim(false, "it is a capture's memory") }
    var bytes = 0, steps = 0
    while reader.next({ _, packet in bytes += packet.reduce(0) { $0 + Int($1 & 1) } }) == .record, steps < 1 << 16 {
      steps += 1
    }
    claim(steps <= (1 << 18) / CaptureRing.recordHeader, "no record is taken twice")
  }
}
