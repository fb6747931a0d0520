import Foundation

/// Looks at what a host sends on one of its links, and keeps what should not be there.
final class LeakWatch {
  let capture: Capture

  /// `allowed` is what may leave besides, in the language of pcap-filter(7).
  init(on interface: String, of host: Host, allowed: [String]) throws {
    let card = Files.address(ofCard: try host.ip("-o", "link", "show", "dev", interface))
    let harmless = (Self.ofTheLink + allowed).map { "(\($0))" }.joined(separator: " or ")
    capture = try host.capture(
      on: interface, "ether src \(card) and (ip or ip6) and not (\(harmless))", packets: 1_000_000, bytes: 128)
  }

  /// What an IPv6 link needs: NS, NA and RS with a hop limit of 255; listener reports, which have a hop-by-hop header.
  /// Nobody here asks by DHCP, so what looks like it is somebody who pretends to.
  private static let ofTheLink = [
    "icmp6 and ip6[7] = 255 and (ip6[40] = 133 or ip6[40] = 135 or ip6[40] = 136)",
    "ip6[6] = 0 and ip6[7] = 1 and ip6[40] = 58 and (ip6[48] = 131 or ip6[48] = 132 or ip6[48] = 143)",
  ]

  /// What left between two instants, in seconds since 1970.
  func leaks(from start: Double = 0, to end: Double = .infinity) throws -> [CapturedPacket] {
    try capture.packets().filter { $0.time >= start && $0.time < end }
  }
}

extension Files {
  /// The hardware address in what `ip -o link` says of an interface.
  fileprivate static func address(ofCard line: String) -> String {
    let words = line.split(separator: " ")
    return words.firstIndex(of: "link/ether").map { String(words[$0 + 1]) } ?? ""
  }
}
