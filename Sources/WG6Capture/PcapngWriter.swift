import WG6Config
import WG6Crypto
import WG6Protocol

/// Writes captured packets as a pcapng section (draft-ietf-opsawg-pcapng), in this machine's byte order: one interface of
/// raw IP packets, times in nanoseconds.
public struct PcapngWriter: Sendable {
  private enum BlockType {
    static let section: UInt32 = 0x0A0D_0D0A
    static let interface: UInt32 = 1
    static let statistics: UInt32 = 5
    static let packet: UInt32 = 6
    static let secrets: UInt32 = 10
  }

  private enum Option {
    static let end: UInt16 = 0
    static let comment: UInt16 = 1
    /// Of the section: the program. Of an interface: `if_name`, `if_tsresol`.
    static let application: UInt16 = 4
    static let interfaceName: UInt16 = 2
    static let resolution: UInt16 = 9
    /// Of a packet: `epb_flags`, `epb_dropcount`.
    static let flags: UInt16 = 2
    static let missed: UInt16 = 4
    /// Of statistics: `isb_starttime`, `isb_endtime`, `isb_ifrecv`, `isb_ifdrop`.
    static let start: UInt16 = 2
    static let stop: UInt16 = 3
    static let received: UInt16 = 4
    static let dropped: UInt16 = 5
  }

  /// LINKTYPE_RAW: an IPv4 or IPv6 header comes first.
  private static let rawIP: UInt16 = 101
  /// "WGKL": the key log of WireGuard.
  private static let wireGuardKeyLog: UInt32 = 0x5747_4B4C

  /// What is still to be written out.
  public var output = TextBuffer()
  private var missedSoFar: UInt64 = 0
  private var packetCount: UInt64 = 0
  private var started: UInt64?

  /// Writes the section's and the interface's header.
  public init(interface: String, application: String) {
    block(BlockType.section) { body in
      body.append(UInt32(0x1A2B_3C4D))
      body.append(UInt16(1))
      body.append(UInt16(0))
      // The section's length is not known yet.
      body.append(UInt64.max)
      body.append(option: Option.application, Array(application.utf8))
      body.append(option: Option.end, [])
    }
    block(BlockType.interface) { body in
      body.append(PcapngWriter.rawIP)
      body.append(UInt16(0))
      // Packets are never cut.
      body.append(UInt32(0))
      body.append(option: Option.interfaceName, Array(interface.utf8))
      body.append(option: Option.resolution, [9])
      body.append(option: Option.end, [])
    }
  }

  /// Writes a packet.
  ///
  /// - Parameters:
  ///   - time: nanoseconds since 1970.
  ///   - peer: for the comment.
  public mutating func write(
    _ record: CaptureRecord, _ packet: UnsafeRawBufferPointer, time: UInt64, peer: String?
  ) {
    packetCount += 1
    if started == nil { started = time }
    let missed = record.missed &- missedSoFar
    missedSoFar = record.missed
    block(BlockType.packet) { body in
      body.append(UInt32(0))
      body.append(UInt32(truncatingIfNeeded: time >> 32))
      body.append(UInt32(truncatingIfNeeded: time))
      body.append(UInt32(packet.count))
      body.append(UInt32(packet.count))
      unsafe body.append(padded: Array(packet))
      if let peer { body.append(option: Option.comment, Array(peer.utf8)) }
      if let drop = record.drop {
        let number = record.count > 1 ? " (\(record.count))" : ""
        body.append(option: Option.comment, Array("dropped: \(drop.name)\(number)".utf8))
      }
      body.append(option: Option.flags, number: UInt32(record.direction == .inbound ? 1 : 2))
      if missed > 0 { body.append(option: Option.missed, number: missed) }
      body.append(option: Option.end, [])
    }
  }

  /// Appends a block with lines of a key log to `block`, which is to be written before the packets that follow. Apart from
  /// `output`, which is not wiped.
  public static func writeSecrets(_ keyLog: borrowing WipedBytes, to block: inout WipedBytes) {
    let padding = (4 - keyLog.count % 4) % 4
    let length = UInt32(keyLog.count + padding + 20)
    for word in [BlockType.secrets, length, wireGuardKeyLog, UInt32(keyLog.count)] { block.append(word: word) }
    keyLog.withBytes { block.append($0) }
    for _ in 0..<padding { block.append(0) }
    block.append(word: length)
  }

  /// Writes how many packets there were, and how many the capture missed.
  ///
  /// - Parameter time: nanoseconds since 1970.
  public mutating func finish(missed: UInt64, time: UInt64) {
    let received = packetCount + missed
    let start = started ?? time
    block(BlockType.statistics) { body in
      body.append(UInt32(0))
      body.append(UInt32(truncatingIfNeeded: time >> 32))
      body.append(UInt32(truncatingIfNeeded: time))
      body.append(option: Option.start, timestamp: start)
      body.append(option: Option.stop, timestamp: time)
      body.append(option: Option.received, number: received)
      body.append(option: Option.dropped, number: missed)
      body.append(option: Option.end, [])
    }
  }

  /// Appends a block: its type, its length, `body`, its length again.
  private mutating func block(_ type: UInt32, _ body: (inout BlockBody) -> Void) {
    var content = BlockBody()
    body(&content)
    let length = UInt32(content.bytes.count + 12)
    var whole = BlockBody()
    whole.append(type)
    whole.append(length)
    whole.bytes += content.bytes
    whole.append(length)
    output.append(whole.bytes)
  }
}

/// The inside of a block.
private struct BlockBody {
  var bytes: [UInt8] = []

  mutating func append<Number: FixedWidthInteger>(_ number: Number) {
    unsafe withUnsafeBytes(of: number) { unsafe bytes.append(contentsOf: $0) }
  }

  /// Up to a multiple of 4 bytes.
  mutating func append(padded more: [UInt8]) {
    bytes += more
    bytes += [UInt8](repeating: 0, count: (4 - more.count % 4) % 4)
  }

  mutating func append(option: UInt16, _ value: [UInt8]) {
    // No option of ours is longer than its length field can say.
    let value = Array(value.prefix(Int(UInt16.max)))
    append(option)
    append(UInt16(value.count))
    append(padded: value)
  }

  mutating func append<Number: FixedWidthInteger>(option: UInt16, number: Number) {
    append(option: option, unsafe withUnsafeBytes(of: number) { unsafe Array($0) })
  }

  /// Two words, the upper one first.
  mutating func append(option: UInt16, timestamp time: UInt64) {
    append(option)
    append(UInt16(8))
    append(UInt32(truncatingIfNeeded: time >> 32))
    append(UInt32(truncatingIfNeeded: time))
  }
}

extension WipedBytes {
  fileprivate mutating func append(word: UInt32) {
    unsafe withUnsafeBytes(of: word) { unsafe append($0.bytes) }
  }
}
