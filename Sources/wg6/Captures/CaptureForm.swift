import Glibc
import WG6Capture
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// What captured packets are written as: lines, dumps or pcapng.
struct CaptureForm {
  private enum Kind { case lines, dumps, pcapng(PcapngWriter) }

  private var kind: Kind
  private let book: AddressBook
  private var text = TextBuffer()
  private var clock = LocalTime()
  /// Nanoseconds from the machine's start to 1970, as both clocks say now.
  private var sinceEpoch: UInt64 = 0
  private(set) var packetCount = 0

  init(of command: Capture, _ book: AddressBook) {
    self.book = book
    if command.file != nil {
      kind = .pcapng(PcapngWriter(interface: command.interface, application: "wg6 \(WG6.version)"))
    } else {
      kind = command.hex ? .dumps : .lines
    }
  }

  /// Looks at how both clocks stand to each other: the time of day may have been set meanwhile.
  mutating func updateClock() {
    let now = Clock.now
    sinceEpoch = now.wall &- now.monotonic
  }

  mutating func append(_ record: CaptureRecord, _ packet: UnsafeRawBufferPointer) {
    packetCount += 1
    let time = record.time &+ sinceEpoch
    let peer = record.peer.map { book.name(of: $0) }
    switch kind {
    case .pcapng(var writer):
      // Moved out and back, so that its buffer is not copied.
      kind = .lines
      unsafe writer.write(record, packet, time: time, peer: peer.map { $0 ?? record.peer!.base64 })
      kind = .pcapng(writer)
    case .lines:
      unsafe line(record, time, peer, withDate: false).write(packet, to: &text)
      text.append("\n")
    case .dumps:
      unsafe line(record, time, peer, withDate: true).writeDump(packet, to: &text)
    }
  }

  private mutating func line(
    _ record: CaptureRecord, _ time: UInt64, _ peer: String??, withDate: Bool
  ) -> CapturedLine {
    CapturedLine(
      record, time: clock.text(time, withDate: withDate),
      peer: peer.map { $0 ?? "\(record.peer!.base64.prefix(8))…" })
  }

  /// Whether there is so much to write out that it should be done.
  var isLong: Bool {
    if case .pcapng(let writer) = kind { return writer.output.count >= 65536 }
    return text.count >= 65536
  }

  /// Writes out what there is.
  mutating func flush(to output: CaptureOutput) throws {
    if case .pcapng(var writer) = kind {
      kind = .lines
      try output.write(writer.output.bytes)
      writer.output.removeAll()
      kind = .pcapng(writer)
    } else {
      try output.write(text.bytes)
      text.removeAll()
    }
  }

  /// Writes out what there is, and what stands at the end.
  mutating func finish(missed: UInt64, _ output: CaptureOutput) throws {
    if case .pcapng(var writer) = kind {
      updateClock()
      writer.finish(missed: missed, time: Clock.now.wall)
      kind = .pcapng(writer)
    }
    try flush(to: output)
  }

  func summary(_ missed: UInt64) -> String { "\(counted(packetCount, "packet")), \(missed) missed" }
}

/// Times of this time zone.
private struct LocalTime {
  private var second: Int?
  private var date = ""
  private var day = ""

  /// - Parameter nanoseconds: since 1970.
  mutating func text(_ nanoseconds: UInt64, withDate: Bool) -> String {
    let whole = Int(nanoseconds / 1_000_000_000)
    if second != whole {
      var time = time_t(whole)
      var parts = unsafe tm()
      unsafe localtime_r(&time, &parts)
      date = unsafe "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
      day = unsafe "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))."
      second = whole
    }
    let fraction = String(nanoseconds % 1_000_000_000 / 1000)
    return (withDate ? date : "") + day + String(repeating: "0", count: 6 - fraction.count) + fraction
  }

  private func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
