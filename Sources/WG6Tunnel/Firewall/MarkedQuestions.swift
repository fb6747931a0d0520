import WG6Linux
import WG6Protocol

/// Questions for this machine's link-layer addresses (ARP) that get the tunnel's mark.
///
/// A peer on the link whose address is among the allowed IPs asks for the address of this machine before it sends anything. Where
/// a strict reverse path filter is set, the kernel answers only if the way back to it is the interface that the question came
/// by. It looks at the question's mark, too (`arp_process`, `fib_validate_source` with `src_valid_mark`), as it does with
/// packets. Neighbour discovery of IPv6 has no such filter.
extension FirewallRules {
  /// Puts the table of the family `arp` in the place of the one there may be, or removes it.
  var questionScript: String {
    let removal = "table arp \(tableName)\ndelete table arp \(tableName)\n"
    guard let mark, !markedQuestions.isEmpty else { return removal }
    return removal + """
      table arp \(tableName) {
        set sources {
          type ipv4_addr; flags interval; auto-merge
          elements = { \(markedQuestions.map(\.filterText).joined(separator: ", ")) }
        }
        chain mark-questions {
          type filter hook input priority 0; policy accept;
          arp operation request arp saddr ip @sources meta mark set \(mark)
        }
      }

      """
  }
}

extension Firewall {
  /// Marks the questions of `rules` for this machine's link-layer addresses, or no longer does. Throws where the kernel has no
  /// packet filter for these (CONFIG_NF_TABLES_ARP).
  static func markQuestions(_ rules: FirewallRules) throws(FirewallError) {
    if rules.markedQuestions.isEmpty, !marksQuestions(rules) { return }
    try run(rules.questionScript)
  }

  static func marksQuestions(_ rules: FirewallRules) -> Bool {
    ((try? FilterTables.state(of: rules.tableName, family: .arp)) ?? nil) != nil
  }
}

extension MarkedRouting {
  /// The IPv4 sources that a tunnel's own routes lead elsewhere than to the link that they are on: those of routes that are
  /// asked before the main table's shorter ones, and with `lan` all that go through the tunnel.
  static func markedQuestions(_ entries: [Journal.Entry], mark: UInt32?) -> [IPPrefix] {
    guard let mark else { return [] }
    var tables = [table(of: mark)]
    for case .rule(let rule) in entries where rule.destination != nil && !rule.isIPv6 { tables.append(mark) }
    let prefixes = entries.compactMap { entry -> IPPrefix? in
      guard case .route(let route) = entry, !route.prefix.address.isIPv6, tables.contains(route.table) else {
        return nil
      }
      return route.prefix
    }
    return Set(prefixes).sorted()
  }
}
