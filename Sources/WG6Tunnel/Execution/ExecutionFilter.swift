import WG6Linux
import WG6Protocol

/// What the packet filter does for programs of `wg6 exec`: a table of its own, `inet wg6exec-IF`.
///
/// Their sockets are marked when they are made, so routing and source addresses are right from the first packet. Here are
/// the rest and the guarantee: what the kernel sends for such a connection without its socket gets the same mark, and what
/// of a program inside would leave by another way than the tunnel is refused.
struct ExecutionFilter {
  let interface: String
  /// The control group of programs inside, as a path for nft; `nil` without any.
  var inside: String?
  /// The control group of programs outside, as a path for nft; `nil` without any.
  var outside: String?
  /// The tunnel's DNS servers: of these, one on this machine may be asked from inside.
  var servers: [IPAddress] = []

  var tableName: String {
    // As the tunnel's own table has the name.
    "wg6exec-" + FirewallRules(interface: interface).tableName.dropFirst("wg6-".count)
  }

  /// Puts the table in the place of the one there may be, in one transaction.
  var script: String {
    removal + "table inet \(tableName) {\n" + marking + (inside == nil ? "" : guarding) + "}\n"
  }

  /// Removes the table, whether it exists or not.
  var removal: String { "table inet \(tableName)\ndelete table inet \(tableName)\n" }

  private var ways: [(group: String, mark: UInt32, arrival: String)] {
    let quoted = "\"\(interface)\""
    return [
      inside.map { ("\"\($0)\"", ExecutionMark.inside(of: interface), "iifname \(quoted)") },
      outside.map { ("\"\($0)\"", ExecutionMark.outside(of: interface), "iifname != \(quoted)") },
    ].compactMap { $0 }
  }

  /// A socket that a program was handed, or marked otherwise itself, is marked here; so are a reset and the last
  /// acknowledgements, which have no socket, by their connection. Answers are, for the sake of reverse path filters.
  private var marking: String {
    let output = ways.map { way in
      """
          socket cgroupv2 level 2 \(way.group) meta mark set \(way.mark)
          meta mark 0 ct mark \(way.mark) meta mark set \(way.mark)
          meta mark \(way.mark) ct mark set \(way.mark)

      """
    }
    let input = ways.map { "    \($0.arrival) ct mark \($0.mark) meta mark set \($0.mark)\n" }
    return """
        chain mark-output {
          type route hook output priority -150; policy accept;
      \(output.joined())  }
        chain mark-answers {
          type filter hook prerouting priority -150; policy accept;
      \(input.joined())  }

      """
  }

  /// A resolver on this machine asks others, and not through the tunnel: it would tell them all names.
  private var guarding: String {
    let mark = ExecutionMark.inside(of: interface)
    let own = servers.map { server in
      "    oifname \"lo\" \(server.isIPv6 ? "ip6" : "ip") daddr \(server) meta l4proto { tcp, udp } th dport 53 accept\n"
    }
    return """
        chain inside {
          oifname "\(interface)" accept
      \(own.joined())    oifname "lo" meta l4proto { tcp, udp } th dport { 53, 853 } reject with icmpx type admin-prohibited
          oifname "lo" accept
          reject with icmpx type admin-prohibited
        }
        chain guard-output {
          type filter hook output priority 200; policy accept;
          meta mark \(mark) jump inside
          socket cgroupv2 level 2 "\(inside!)" jump inside
        }
        chain guard-leaving {
          type filter hook postrouting priority 200; policy accept;
          meta mark \(mark) oifname != { "lo", "\(interface)" } drop
        }
        chain guard-input {
          type filter hook input priority 0; policy accept;
          iifname != { "lo", "\(interface)" } socket cgroupv2 level 2 "\(inside!)" drop
        }

      """
  }
}
