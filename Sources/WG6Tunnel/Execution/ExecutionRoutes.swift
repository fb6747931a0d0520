import WG6Linux
import WG6Protocol

/// The rule and the routing table that programs of one way have, in both families.
struct ExecutionRoutes {
  let link: Link
  let way: TunnelExecution.Way

  /// Makes them, or brings them up to date. The rule comes before all others, since those that send everything into a
  /// tunnel would take these packets as well.
  func establish(_ netlink: borrowing NetlinkSocket) throws(NetlinkError) {
    for isIPv6 in [false, true] {
      do throws(NetlinkError) {
        try fillTable(netlink, isIPv6: isIPv6)
        try putRuleFirst(netlink, isIPv6: isIPv6)
      } catch  where error.isUnsupported && isIPv6 {
        // Without IPv6 there is nothing that would have to be kept from it.
      }
    }
  }

  /// A rule that stands before all others but its like stays where it is.
  private func putRuleFirst(_ netlink: borrowing NetlinkSocket, isIPv6: Bool) throws(NetlinkError) {
    let places = try netlink.rulePlaces(isIPv6: isIPv6)
    let rules = places.compactMap(\.rule)
    let foremost = rules.drop { $0.priority == 0 }.prefix(while: \.isOfExecution)
    var present = rules.filter { $0.isRule(of: way, link.name) }
    if let first = present.first, foremost.contains(first) {
      present.removeFirst()
    } else {
      var rule = ExecutionRoutes.rule(of: way, link.name, isIPv6: isIPv6)
      rule.priority = RuleOrder(places).ofMarks
      try netlink.addRule(rule)
    }
    for rule in present { try ExecutionRoutes.remove(rule, netlink) }
  }

  static func remove(
    _ way: TunnelExecution.Way, of interface: String, _ netlink: borrowing NetlinkSocket
  ) throws(NetlinkError) {
    for isIPv6 in [false, true] {
      for rule in try netlink.rules(isIPv6: isIPv6) where rule.isRule(of: way, interface) {
        try remove(rule, netlink)
      }
    }
    try netlink.emptyTable(way.mark(of: interface))
  }

  private static func remove(_ rule: PolicyRule, _ netlink: borrowing NetlinkSocket) throws(NetlinkError) {
    do throws(NetlinkError) {
      try netlink.removeRule(rule)
    } catch  where error.isMissing {
    }
  }

  /// Nothing in this table ever leads on to the next rule.
  private func fillTable(_ netlink: borrowing NetlinkSocket, isIPv6: Bool) throws(NetlinkError) {
    let table = way.mark(of: link.name)
    try netlink.closeTable(table, isIPv6: isIPv6)
    switch way {
    case .outside:
      try netlink.copyMainTable(to: table, without: link.index, isIPv6: isIPv6)
    case .inside:
      // Without an address of its own in this family, the tunnel would be given packets from another interface's.
      guard try netlink.addresses(of: link).contains(where: { $0.address.isIPv6 == isIPv6 }) else { return }
      let everything = Route(IPPrefix(isIPv6 ? .v6(high: 0, low: 0) : .v4(0), length: 0), table: table)
      do throws(RouteError) {
        try netlink.addRoutes([everything], via: link)
      } catch  where error.reason.isExisting {
      } catch {
        throw error.reason
      }
    }
  }

  private static func rule(of way: TunnelExecution.Way, _ interface: String, isIPv6: Bool) -> PolicyRule {
    PolicyRule(isIPv6: isIPv6, mark: way.mark(of: interface), table: way.mark(of: interface))
  }
}

extension PolicyRule {
  /// Whether it is one of ours, of any tunnel.
  fileprivate var isOfExecution: Bool { mark == table && table >= ExecutionMark.lowest }

  fileprivate func isRule(of way: TunnelExecution.Way, _ interface: String) -> Bool {
    mark == way.mark(of: interface) && table == way.mark(of: interface)
  }
}
