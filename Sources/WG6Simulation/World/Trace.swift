import WG6Protocol

/// The last few hundred things that happened, or those around what went wrong, told in words when somebody asks.
public struct Trace: Sendable {
  static let capacity = 400
  private var entries: [Entry] = []
  private var next = 0
  /// How many more are taken down, once what matters has happened.
  private var left = Int.max
  private static let aftermath = 60

  /// What is said of a datagram.
  enum Fate {
    case arrives(after: Nanoseconds, twice: Bool, isFlipped: Bool)
    case lost, tooBig, noAddress, nobodyThere, asleep, refusedByNAT
  }

  private enum Entry {
    case datagram(Datagram, at: Nanoseconds, number: Int, from: String, to: String, Fate)
    case note(String, at: Nanoseconds, of: String)
  }

  mutating func add(
    _ datagram: Datagram, at instant: Nanoseconds, number: Int, from: String, to: String, _ fate: Fate
  ) {
    add(.datagram(datagram, at: instant, number: number, from: from, to: to, fate))
  }

  mutating func add(_ note: String, at instant: Nanoseconds, of host: String) {
    add(.note(note, at: instant, of: host))
  }

  /// Something went wrong: what led there shall not be written over.
  mutating func keep() { left = min(left, Trace.aftermath) }

  private mutating func add(_ entry: Entry) {
    guard left > 0 else { return }
    left -= 1
    if entries.count < Trace.capacity {
      entries.append(entry)
    } else {
      entries[next] = entry
      next = (next + 1) % Trace.capacity
    }
  }

  /// A line for each, oldest first, instants counted from `start`.
  func lines(since start: Nanoseconds) -> [String] {
    (entries[next...] + entries[..<next]).map { entry in
      switch entry {
      case .datagram(let datagram, let instant, let number, let from, let to, let fate):
        let what = Trace.name(datagram)
        return
          "\(Trace.seconds(instant - start))  \(from) → \(to)  \(what) #\(number) (\(datagram.bytes.count) bytes), \(Trace.words(fate))"
      case .note(let note, let instant, let host):
        return "\(Trace.seconds(instant - start))  \(host): \(note)"
      }
    }
  }

  /// "12.345 s", aligned for worlds of less than three hours.
  static func seconds(_ duration: Nanoseconds) -> String {
    let milliseconds = String(duration / Limits.millisecond % 1000)
    let text =
      "\(duration / Limits.second).\(String(repeating: "0", count: 3 - milliseconds.count))\(milliseconds) s"
    return String(repeating: " ", count: max(0, 11 - text.count)) + text
  }

  private static func name(_ datagram: Datagram) -> String {
    switch datagram.type {
    case 1: "initiation"
    case 2: "response"
    case 3: "cookie reply"
    case 4: datagram.carriesPacket ? "data \(datagram.counter ?? 0)" : "keepalive \(datagram.counter ?? 0)"
    default: "junk"
    }
  }

  private static func words(_ fate: Fate) -> String {
    switch fate {
    case .arrives(let time, let twice, let isFlipped):
      "arrives after \(time / Limits.millisecond) ms\(twice ? ", twice" : "")\(isFlipped ? ", corrupted" : "")"
    case .lost: "lost by link"
    case .tooBig: "too big for the link"
    case .noAddress: "not sent: the host has no address"
    case .nobodyThere: "finds nobody there"
    case .asleep: "finds its host asleep"
    case .refusedByNAT: "refused by NAT"
    }
  }
}
