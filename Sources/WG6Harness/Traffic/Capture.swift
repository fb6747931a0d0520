import Foundation

/// A packet capture on one interface, bounded in length, written by `tcpdump`.
public final class Capture {
  public let host: Host
  public let interface: String
  public let path: String
  private let program: Program

  init(on host: Host, interface: String, filter: String, packets: Int, bytes: Int) throws {
    self.host = host
    self.interface = interface
    path = "\(host.lab.directory)/\(host.name)-\(interface)-\(host.lab.captures.count).pcap"
    program = try host.start(
      [
        "tcpdump", "-i", interface, "-n", "-U", "-s", "\(bytes)", "-c", "\(packets)", "-w", path, "-Z", "root",
        "--immediate-mode",
      ] + (filter.isEmpty ? [] : [filter]))
    try waitUntil("tcpdump listens on \(interface) of \(host.name)") {
      program.complaints.contains("listening on") || !program.isRunning
    }
  }

  /// Ends the capture; what it saw is in the file from then on.
  public func stop() {
    program.stop(SIGINT)
  }

  /// Packets that came too fast to be looked at; known once it has been stopped.
  public var missedCount: Int? {
    // "0 packets dropped by kernel"
    let line = program.complaints.split(separator: "\n").first { $0.contains("dropped by kernel") }
    return line?.split(separator: " ").first.flatMap { Int($0) }
  }

  /// The packets so far, oldest first.
  public func packets() throws -> [CapturedPacket] {
    let bytes = [UInt8](FileManager.default.contents(atPath: path) ?? Data())
    return CapturedPacket.all(inPCAP: bytes)
  }

  /// The capture as lines of text.
  public func digest() -> String {
    (try? host.attempt(["tcpdump", "-n", "-tt", "-r", path], within: 30).output) ?? ""
  }
}

extension Host {
  /// Starts to capture on `interface`; returns once it listens. Ends by itself after `packets` packets.
  public func capture(
    on interface: String, _ filter: String = "", packets: Int = 50_000, bytes: Int = 256
  ) throws -> Capture {
    let capture = try Capture(on: self, interface: interface, filter: filter, packets: packets, bytes: bytes)
    lab.add(capture)
    return capture
  }
}

/// A UDP datagram that a capture saw, or another packet without ports.
public struct CapturedPacket: Sendable, Equatable {
  /// Seconds since 1970.
  public let time: Double
  public let source: String
  public let sourcePort: Int
  public let destination: String
  public let destinationPort: Int
  /// 17 is UDP.
  public let transport: UInt8
  /// What follows the UDP header, as far as it was captured.
  public let payload: [UInt8]
  /// Bytes of the whole frame, captured or not.
  public let length: Int

  /// The type of the WireGuard message in it, 1 to 4.
  public var messageType: UInt8? { transport == 17 ? payload.first : nil }

  /// Reads a capture of Ethernet frames in the classic format, this machine's byte order, microseconds.
  static func all(inPCAP bytes: [UInt8]) -> [CapturedPacket] {
    var packets: [CapturedPacket] = []
    var offset = 24
    func word(_ at: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) } }
    while offset + 16 <= bytes.count {
      let time = Double(word(offset)) + Double(word(offset + 4)) / 1e6
      let length = word(offset + 8)
      guard offset + 16 + length <= bytes.count else { break }
      let frame = Array(bytes[offset + 16..<offset + 16 + length])
      if let packet = CapturedPacket(frame: frame, time: time, length: word(offset + 12)) { packets.append(packet) }
      offset += 16 + length
    }
    return packets
  }

  private init?(frame: [UInt8], time: Double, length: Int) {
    func short(_ at: Int) -> Int { Int(frame[at]) << 8 | Int(frame[at + 1]) }
    guard frame.count > 14 else { return nil }
    let start: Int
    switch short(12) {
    case 0x0800 where frame.count >= 34:
      source = frame[26..<30].map(String.init).joined(separator: ".")
      destination = frame[30..<34].map(String.init).joined(separator: ".")
      transport = frame[23]
      start = 14 + Int(frame[14] & 15) * 4
    case 0x86DD where frame.count >= 54:
      source = Self.text(v6: frame[22..<38])
      destination = Self.text(v6: frame[38..<54])
      transport = frame[20]
      start = 54
    default: return nil
    }
    self.time = time
    self.length = length
    let hasPorts = transport == 17 && frame.count >= start + 8
    sourcePort = hasPorts ? short(start) : 0
    destinationPort = hasPorts ? short(start + 2) : 0
    payload = hasPorts ? Array(frame[(start + 8)...]) : []
  }

  private static func text(v6 bytes: ArraySlice<UInt8>) -> String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    _ = Array(bytes).withUnsafeBytes { inet_ntop(AF_INET6, $0.baseAddress, &text, socklen_t(text.count)) }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
