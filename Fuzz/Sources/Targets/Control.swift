import WG6Config
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

extension FuzzTarget {
  /// What comes in by the control socket, and what a client of it gets to read. The input is a stream of lines.
  ///
  /// A request survives being written and read again; what it asks for is done as a whole or not at all; and what the
  /// device then says of itself reads as what it is.
  static let control = FuzzTarget("control") { input in
    var input = input
    let stream = input.rest()
    requests(stream)
    answers(stream)
  }

  private static let now = Now(monotonic: Limits.second, wall: 1_700_000_000 * Limits.second)

  private static func requests(_ stream: [UInt8]) {
    let first = Device(using: SeededRandom(seed: 1))
    let second = Device(using: SeededRandom(seed: 1))
    var parser = ControlRequestParser()
    for line in lines(stream) {
      guard let asked = parser.line(line.span.bytes) else { continue }
      switch asked {
      case .get, .drops, .keyLog: break
      case .capture(let filter):
        var plain = WipedBytes()
        filter.writeRequest(to: &plain)
        let again = plain.withBytes { bytes in FuzzTarget.request(bytes.withUnsafeBytes { Array($0) }) }
        guard case .capture(let read)? = again else { return claim(false, "its own request is understood") }
        claim(read == filter, "a filter survives its text")
      case .invalid(let error):
        claim(error.errno > 0, "a refusal has a number: \(error)")
        claim(error.message.utf8.count < 512, "a refusal is short: \(error)")
      case .set(let update):
        let plain = text(of: update)
        guard case .set(let again)? = request(plain) else { return claim(false, "its own request is understood") }
        claim(FuzzTarget.text(of: again) == plain, "a request survives its text")
        apply(update, again, to: first, and: second)
      }
    }
    let status = first.status()
    let plain = text(of: status)
    claim(plain == text(of: second.status()), "the same requests make the same device")
    guard case .done(let read)? = answer(plain) else { return claim(false, "its own answer is understood") }
    claim(text(of: read) == plain, "a status survives its text")
  }

  private static func apply(_ update: DeviceUpdate, _ again: DeviceUpdate, to first: Device, and second: Device) {
    first.apply(update, now: now)
    second.apply(again, now: now)
    let status = first.status()
    claim(Set(status.peers.map(\.publicKey)).count == status.peers.count, "a peer is there once")
    claim(!status.peers.contains { $0.publicKey == status.publicKey }, "nobody is his own peer")
    var owners: Set<IPPrefix> = []
    for peer in status.peers {
      for prefix in peer.allowedIPs { claim(owners.insert(prefix).inserted, "\(prefix) is one peer's, once") }
    }
  }

  private static func answers(_ stream: [UInt8]) {
    var parser = ControlAnswerParser()
    for line in lines(stream) {
      guard case .done(let status)? = parser.line(line.span.bytes) else { continue }
      let plain = text(of: status)
      guard case .done(let read)? = answer(plain) else { return claim(false, "its own answer is understood") }
      claim(text(of: read) == plain, "an answer survives its text")
      guard case .done(let read)? = answer(counters(of: status)) else { return claim(false, "counters are understood") }
      claim(FuzzTarget.counters(of: read) == counters(of: status), "counters survive their text")
    }
  }

  // MARK: Text

  /// As the server cuts them: what follows the last line feed is no line yet.
  private static func lines(_ stream: [UInt8]) -> [[UInt8]] {
    stream.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map(Array.init)
  }

  private static func request(_ stream: [UInt8]) -> ControlRequest? {
    var parser = ControlRequestParser()
    for line in lines(stream) {
      if let request = parser.line(line.span.bytes) { return request }
    }
    return nil
  }

  private static func answer(_ stream: [UInt8]) -> ControlAnswer? {
    var parser = ControlAnswerParser()
    for line in lines(stream) {
      if let answer = parser.line(line.span.bytes) { return answer }
    }
    return nil
  }

  private static func text(of update: DeviceUpdate) -> [UInt8] {
    var text = WipedBytes()
    update.writeRequest(to: &text)
    return text.withBytes { $0.array }
  }

  private static func text(of status: DeviceStatus) -> [UInt8] {
    var text = WipedBytes()
    status.writeAnswer(to: &text)
    return text.withBytes { $0.array }
  }

  private static func counters(of status: DeviceStatus) -> [UInt8] {
    var text = WipedBytes()
    status.writeDropsAnswer(to: &text)
    return text.withBytes { $0.array }
  }
}
