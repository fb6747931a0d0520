import WG6Config
import WG6Protocol

/// The kill switch: what is meant for the tunnel leaves through the tunnel, or not at all.
///
/// Every packet to a covered address that would leave by another interface is stopped, with few exceptions:
///
/// - UDP datagrams of this machine with the tunnel's mark, which are the tunnel's own, and whatever has the mark of programs
///   that were started to bypass it (`ExecutionMark`). Setting a mark takes CAP_NET_ADMIN or CAP_NET_RAW;
/// - what an IPv6 link can't do without: router and neighbour solicitations, neighbour advertisements, multicast listener
///   reports;
/// - a DHCP client's requests, to everybody on the link or to a server in a local network at hand;
/// - with `lan`, what stays in the local networks at hand;
/// - what came in through the tunnel and is forwarded;
/// - the datagrams of other tunnels of wg6 that have default routes, and what goes through them.
///
/// docs/split-tunnel.md says what no filter of IP packets can stop.
public struct KillSwitchRules: Hashable, Sendable {
  /// The addresses that are reached through the tunnel, in as few prefixes as possible; a family without any is left alone.
  public var covered: [IPPrefix]
  /// The local networks at hand (`IPPrefix.isLocalNetwork`). The process that watches over the table keeps them up to date.
  public var networks: [IPPrefix]
  public var lan: LAN

  /// What stays reachable past the tunnel, besides what is not covered.
  public enum LAN: String, Sendable {
    /// Nothing.
    case closed
    /// The local networks at hand.
    case networks
    /// These, link-local addresses, the broadcast address, and multicast that stays in the site (`LocalScope.groups`).
    case networksAndGroups = "groups"
  }

  public init(covered: [IPPrefix], networks: [IPPrefix] = [], lan: LAN = .closed) {
    self.covered = covered
    self.networks = networks
    self.lan = lan
  }

  /// Sets and chains. `postrouting` is where it is decided: it sees the interface by which a packet really leaves, also
  /// when marks or address translation have sent it another way since `output`. That comes first only to answer: a program
  /// is told at once, where a packet dropped later would let its connections hang. Both are late, behind everybody else.
  ///
  /// - Parameters:
  ///   - interfaces: this tunnel's, and those of others that may be used beside it.
  ///   - marks: those of these tunnels' own datagrams.
  func sections(interfaces: [String], marks: [UInt32], outsideMark: UInt32) -> String {
    let interface = "\"\(interfaces[0])\"", tunnels = interfaces.map { "\"\($0)\"" }.joined(separator: ", ")
    let own = marks.map { "    meta l4proto udp meta mark \($0) accept\n" }.joined()
    return """
      \(sets)  chain within {
          oifname { "lo", \(tunnels) } accept
      \(families)  }
        chain without {
      \(own)    meta mark \(outsideMark) accept
      \(dhcp)\(KillSwitchRules.link)  }
        chain forward {
          type filter hook forward priority 300; policy accept;
          iifname \(interface) accept
          jump within
          drop
        }
        chain output {
          type filter hook output priority 300; policy accept;
          jump within
          jump without
          reject with icmpx type admin-prohibited
        }
        chain postrouting {
          type filter hook postrouting priority 300; policy accept;
          iifname \(interface) accept
          jump within
          jump without
          drop
        }

      """
  }

  /// All chains that it may have.
  static let chains = ["forward", "output", "postrouting", "within", "without"]
  /// All sets that it may have.
  static let sets = ["covered", "lan"].flatMap { [("\($0)4", "ipv4_addr"), ("\($0)6", "ipv6_addr")] }
    .map { (name: $0.0, type: $0.1) }

  /// What a machine must be able to say on a link. A hop limit of 255 has come from no other link; type 143 is RFC 3810's.
  private static let link = """
        ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
        ip6 hoplimit 1 ip6 daddr ff00::/8 icmpv6 type { mld-listener-report, mld-listener-done, 143 } accept

    """

  /// A DHCP client's requests: to everybody on the link, where any server hears them, and to a server that gave an address
  /// before, if that is in a local network at hand. Anywhere else they could carry whatever a program puts in them.
  private var dhcp: String {
    [(false, "255.255.255.255", 68, 67), (true, "ff02::1:2", 546, 547)].map { isIPv6, group, client, server in
      if case .nothing = cover(isIPv6: isIPv6) { return "" }
      let (field, set) = isIPv6 ? ("ip6", "@lan6") : ("ip", "@lan4")
      return (lanElements(isIPv6: isIPv6).isEmpty ? [group] : [group, set]).map {
        "    \(field) daddr \($0) udp sport \(client) udp dport \(server) accept\n"
      }.joined()
    }.joined()
  }

  private var sets: String {
    [false, true].map { isIPv6 in
      switch cover(isIPv6: isIPv6) {
      case .nothing: ""
      case .everything: lanSet(isIPv6: isIPv6)
      case .part(let prefixes):
        set("covered", prefixes.map(\.filterText), isIPv6: isIPv6) + lanSet(isIPv6: isIPv6)
      }
    }.joined()
  }

  private func lanSet(isIPv6: Bool) -> String {
    let elements = lanElements(isIPv6: isIPv6)
    return elements.isEmpty ? "" : set("lan", elements, isIPv6: isIPv6)
  }

  private func lanElements(isIPv6: Bool) -> [String] {
    let all = networks + (lan == .networksAndGroups ? LocalScope.groups : [])
    return all.filter { $0.address.isIPv6 == isIPv6 }.map(\.filterText)
  }

  private func set(_ name: String, _ elements: [String], isIPv6: Bool) -> String {
    """
      set \(name)\(isIPv6 ? 6 : 4) {
        type \(isIPv6 ? "ipv6_addr" : "ipv4_addr"); flags interval; auto-merge
        elements = { \(elements.joined(separator: ", ")) }
      }

    """
  }

  private var families: String {
    [false, true].map { isIPv6 in
      let (version, field) = isIPv6 ? (6, "ip6") : (4, "ip")
      let local =
        lan == .closed || lanElements(isIPv6: isIPv6).isEmpty ? "" : "    \(field) daddr @lan\(version) accept\n"
      return switch cover(isIPv6: isIPv6) {
      case .nothing: "    meta nfproto ipv\(version) accept\n"
      case .everything: local
      case .part: "    \(field) daddr != @covered\(version) accept\n" + local
      }
    }.joined()
  }

  private enum Cover {
    case nothing, everything
    case part([IPPrefix])
  }

  private func cover(isIPv6: Bool) -> Cover {
    let prefixes = covered.filter { $0.address.isIPv6 == isIPv6 }
    if prefixes.isEmpty { return .nothing }
    return prefixes.contains { $0.length == 0 } ? .everything : .part(prefixes)
  }
}
