import WG6Config
import WG6Protocol

/// A captured packet for people: one line each, or one line as a comment and the bytes behind it.
public struct CapturedLine: Sendable {
  /// Of this time zone, `12:34:56.789012`; with the date for `text2pcap`.
  public let time: String
  public let record: CaptureRecord
  /// The peer's name; nil where no peer is known.
  public let peer: String?

  public init(_ record: CaptureRecord, time: String, peer: String?) {
    self.record = record
    self.time = time
    self.peer = peer
  }

  /// Appends the line, without its end.
  public func write(_ packet: UnsafeRawBufferPointer, to text: inout TextBuffer) {
    text.append("\(time) \(record.direction == .inbound ? "in " : "out") ")
    text.append(peer ?? "-", width: 12)
    text.append(" ")
    unsafe PacketSummary(packet).write(to: &text)
    guard let drop = record.drop else { return }
    text.append(": dropped, \(drop.name)")
    if record.count > 1 { text.append(" (\(record.count))") }
  }

  /// Appends the packet as `text2pcap -D -t "%Y-%m-%d %H:%M:%S.%f" -l 101` reads it: the line as a comment, a line with
  /// direction and time, then rows of 16 bytes behind their offsets, and a blank line. A packet without bytes is a comment.
  public func writeDump(_ packet: UnsafeRawBufferPointer, to text: inout TextBuffer) {
    text.append("# ")
    unsafe write(packet, to: &text)
    text.append("\n")
    guard unsafe !packet.isEmpty else { return }
    text.append("\(record.direction == .inbound ? "I" : "O") \(time)")
    let bytes = unsafe Array(packet)
    for (offset, byte) in bytes.enumerated() {
      if offset % 16 == 0 {
        text.append("\n")
        for shift in [16, 8, 0] { text.append(hexadecimal: UInt8(truncatingIfNeeded: offset >> shift)) }
      }
      text.append(" ")
      text.append(hexadecimal: byte)
    }
    text.append("\n\n")
  }
}
