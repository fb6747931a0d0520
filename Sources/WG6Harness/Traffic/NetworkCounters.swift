/// What a host's kernel has counted, from the host's start on; the difference of two looks is what happened between them.
struct NetworkCounters {
  private var counts: [String: Int] = [:]

  /// Reads the counters of the protocols (`/proc/net/snmp`, `/proc/net/snmp6`), and packets and bytes of `interfaces`.
  init(of host: Host, interfaces: [String] = []) throws {
    let names = interfaces.flatMap { interface in
      ["tx_packets", "tx_bytes", "tx_dropped", "rx_packets", "rx_bytes", "rx_dropped"].map {
        "\(interface)/statistics/\($0)"
      }
    }
    let lines = try host.run(
      ["cat"] + names.map { "/sys/class/net/" + $0 } + ["/proc/net/snmp", "/proc/net/snmp6"]
    ).lines
    for (name, line) in zip(names, lines) { counts[name] = Int(line) }
    var columns: [Substring] = []
    for line in lines.dropFirst(names.count) {
      let words = line.split(whereSeparator: \.isWhitespace)
      // "Udp: InDatagrams NoPorts …", and below it the numbers; of IPv6 "Udp6InDatagrams 12".
      if !line.contains(":") {
        counts[String(words[0])] = Int(words[1])
      } else if columns.first == words[0] {
        for (column, word) in zip(columns, words).dropFirst() {
          counts[String(words[0].dropLast() + column)] = Int(word)
        }
      } else {
        columns = words
      }
    }
  }

  /// A counter by its name, such as `UdpInCsumErrors`, `Udp6InCsumErrors` or `wg0/statistics/tx_packets`.
  subscript(name: String) -> Int { counts[name] ?? 0 }

  /// Bytes in a packet that left through `interface` or came in through it, in the mean; 0 without packets. What crosses
  /// the interface as one packet is one, however long.
  func meanSize(on interface: String, _ direction: Direction) -> Double {
    let place = "\(interface)/statistics/\(direction.rawValue)"
    return Double(self[place + "_bytes"]) / Double(max(1, self[place + "_packets"]))
  }

  /// Packets that were dropped because a queue or a buffer was full, of `interfaces` and of UDP sockets.
  func overflows(on interfaces: [String]) -> Int {
    let ofInterfaces = interfaces.flatMap { ["\($0)/statistics/tx_dropped", "\($0)/statistics/rx_dropped"] }
    let ofSockets = [
      "UdpRcvbufErrors", "UdpSndbufErrors", "UdpMemErrors", "Udp6RcvbufErrors", "Udp6SndbufErrors", "Udp6MemErrors",
    ]
    return (ofInterfaces + ofSockets).reduce(0) { $0 + self[$1] }
  }

  enum Direction: String { case sent = "tx", received = "rx" }

  /// What was counted since `earlier`.
  static func - (now: NetworkCounters, earlier: NetworkCounters) -> NetworkCounters {
    var difference = now
    for (name, count) in earlier.counts { difference.counts[name, default: 0] -= count }
    return difference
  }
}
