import WG6Config
import WG6Protocol

/// A packet in a few words: where from, where to, what it carries. Read from bytes that anyone may have sent.
struct PacketSummary {
  private let packet: [UInt8]
  private let headers: PacketHeaders?

  init(_ packet: UnsafeRawBufferPointer) {
    unsafe self.packet = Array(packet)
    headers = unsafe PacketHeaders(packet)
  }

  func write(to text: inout TextBuffer) {
    guard let headers else {
      if packet.isEmpty { return text.append("no packet") }
      text.append("\(counted(packet.count, "byte")) that are no IP packet:")
      for byte in packet.prefix(16) {
        text.append(" ")
        text.append(hexadecimal: byte)
      }
      return
    }
    let carried = carried(headers)
    text.append(PacketSummary.end(headers.source, carried.ports?.source))
    text.append(" > ")
    text.append(PacketSummary.end(headers.destination, carried.ports?.destination))
    text.append(" \(carried.text)")
    if let offset = headers.fragmentOffset { text.append(", fragment at \(offset)") }
    text.append(", \(counted(headers.length, "byte"))")
  }

  private static func end(_ address: IPAddress, _ port: Int?) -> String {
    guard let port else { return address.description }
    return address.isIPv6 ? "[\(address)]:\(port)" : "\(address):\(port)"
  }

  private typealias Carried = (text: String, ports: (source: Int, destination: Int)?)

  private func carried(_ headers: PacketHeaders) -> Carried {
    let name = ProtocolName.name(of: headers.carried)
    guard let offset = headers.carriedOffset, offset + 4 <= headers.length else { return (name, nil) }
    switch headers.carried {
    case ProtocolName.tcp: return (name + segment(at: offset, headers), (half(offset), half(offset + 2)))
    case ProtocolName.udp, ProtocolName.sctp: return (name, (half(offset), half(offset + 2)))
    case ProtocolName.icmp:
      return ("\(name) \(message(at: offset, headers, PacketSummary.icmpNames, echo: [0, 8]))", nil)
    case ProtocolName.icmpv6:
      return ("\(name) \(message(at: offset, headers, PacketSummary.icmpv6Names, echo: [128, 129]))", nil)
    default: return (name, nil)
    }
  }

  /// Flags and numbers of a TCP segment (RFC 9293 §3.1).
  private func segment(at offset: Int, _ headers: PacketHeaders) -> String {
    guard offset + 20 <= headers.length else { return "" }
    let bits = packet[offset + 13]
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"]
    let flags = names.indices.filter { bits >> $0 & 1 == 1 }.map { names[$0] }
    let length = headers.length - offset - Int(packet[offset + 12] >> 4) * 4
    return " [\(flags.joined(separator: " "))] seq \(word(offset + 4))"
      + (bits & 0x10 != 0 ? " ack \(word(offset + 8))" : "") + (length > 0 ? " data \(length)" : "")
  }

  /// The kind of an ICMP or ICMPv6 message.
  private func message(at offset: Int, _ headers: PacketHeaders, _ names: [UInt8: String], echo: [UInt8]) -> String {
    let type = packet[offset], code = packet[offset + 1]
    let name = names[type] ?? "type \(type)"
    if echo.contains(type), offset + 8 <= headers.length {
      return "\(name) id \(half(offset + 4)) seq \(half(offset + 6))"
    }
    return code == 0 ? name : "\(name) code \(code)"
  }

  private func half(_ offset: Int) -> Int { Int(packet[offset]) << 8 | Int(packet[offset + 1]) }

  private func word(_ offset: Int) -> UInt32 { UInt32(half(offset)) << 16 | UInt32(half(offset + 2)) }

  /// IANA, "ICMP Type Numbers".
  private static let icmpNames: [UInt8: String] = [
    0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded", 12: "parameter problem",
  ]

  /// IANA, "ICMPv6 type Numbers".
  private static let icmpv6Names: [UInt8: String] = [
    1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request",
    129: "echo reply", 130: "listener query", 131: "listener report", 133: "router solicitation",
    134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement", 137: "redirect",
    143: "listener report v2",
  ]
}

/// Names of protocols that packets carry (IANA, "Protocol Numbers").
public enum ProtocolName {
  static let icmp: UInt8 = 1, tcp: UInt8 = 6, udp: UInt8 = 17, icmpv6: UInt8 = 58, sctp: UInt8 = 132

  private static let names: [(number: UInt8, name: String)] = [
    (0, "hop-by-hop options"), (icmp, "ICMP"), (2, "IGMP"), (4, "IPv4"), (tcp, "TCP"), (udp, "UDP"), (41, "IPv6"),
    (43, "routing header"), (44, "fragment header"), (47, "GRE"), (50, "ESP"), (51, "AH"), (icmpv6, "ICMPv6"),
    (59, "nothing"), (60, "destination options"), (89, "OSPF"), (103, "PIM"), (112, "VRRP"), (sctp, "SCTP"),
  ]

  /// What people call it, or its number.
  static func name(of number: UInt8) -> String {
    names.first { $0.number == number }?.name ?? "protocol \(number)"
  }

  /// Words for options: of one word, lower-case.
  public static let words = names.map { $0.name.lowercased() }.filter { !$0.contains(" ") && $0 != "nothing" }

  /// The number of a protocol that `text` names, in any case, or is; nil where it does neither.
  public static func number(_ text: String) -> UInt8? {
    if let number = UInt8(text), text.allSatisfy(\.isNumber) { return number }
    let word = text.lowercased()
    guard words.contains(word) else { return nil }
    return names.first { $0.name.lowercased() == word }?.number
  }
}
