import WG6Linux
import WG6Protocol

/// Where wg6's rules stand among all rules of a family, so that of several tunnels the longest prefix wins, as it would in one
/// table.
///
/// In the order in which the kernel asks them: programs of `wg6 exec`, by their mark; the block, which is the routes of all
/// tunnels that an endpoint lies in, the longest first; tunnels whose table has narrower routes than a default one; default
/// routes. The last two stand before what is there of their kind, and default routes before the rules of other programs too, as
/// wg-quick's do. Each has room to grow, as there is no number between two that follow each other.
///
/// Among rules of one priority, a new one stands behind the others. So rules are added in the order in which they are asked,
/// which is right where no room is left, too.
struct RuleOrder {
  /// In their order.
  private(set) var block: [PolicyRule] = []
  /// Whether no table that takes a default route, or narrower ones, is asked before any rule of the block.
  private(set) var isBlockFirst = true
  /// The first priority of default routes and of other programs' rules.
  private var ceiling = RuleOrder.main
  /// Where tables of narrower routes stand.
  private var narrow: ClosedRange<UInt32>?

  /// The priority of the rule that every machine has for its main table.
  private static let main: UInt32 = 32766

  /// - Parameter places: all rules of the family, in the kernel's order.
  init(_ places: [RulePlace]) {
    var hasGroups = false
    // Where the group begins that goes on.
    var start: UInt32?
    for place in places {
      guard place.isOwn else {
        // 0 is the local table's, and nothing gets before it.
        if place.priority > 0 { ceiling = min(ceiling, place.priority) }
        start = nil
        continue
      }
      // What an exemption consists of belongs to the rule that it stands beside.
      guard let rule = place.rule, !rule.isOfMark else { continue }
      if rule.isOfBlock {
        block.append(rule)
        isBlockFirst = isBlockFirst && !hasGroups
        continue
      }
      hasGroups = true
      let begun = start ?? place.priority
      start = rule.isOfDefaultRoute ? nil : begun
      guard rule.isOfDefaultRoute else { continue }
      if rule.isOfNarrowTable {
        narrow = (narrow?.lowerBound ?? begun)...place.priority
      } else {
        ceiling = min(ceiling, begun)
      }
    }
  }

  /// Priorities for the rules of one tunnel's table, given in the order in which they are asked.
  func placing(_ group: [PolicyRule]) -> [PolicyRule] {
    if group.allSatisfy(\.isOfMark) { return RuleOrder.place(group, last: ofMarks) }
    guard group.contains(where: \.isOfNarrowTable) else { return RuleOrder.place(group, last: ceiling.less(1)) }
    return RuleOrder.place(group, last: narrow.map { $0.lowerBound.less(1) } ?? ceiling / 4 * 3)
  }

  /// Priorities for a new block in the place of the one there is, which stays until the new one is whole.
  ///
  /// - Parameter limit: a priority that it must stand before.
  func placing(block rules: [PolicyRule], before limit: UInt32?) -> [PolicyRule] {
    let middle = min(ceiling, narrow?.lowerBound ?? ceiling, limit ?? ceiling) / 2
    let placed = RuleOrder.place(rules, last: middle)
    guard let first = block.first?.priority, let last = block.last?.priority, let begin = placed.first?.priority,
      first <= middle, begin <= last
    else { return placed }
    return RuleOrder.place(rules, last: first.less(1))
  }

  /// The priority of a rule about packets of one mark, before all rules of tunnels.
  var ofMarks: UInt32 {
    min(ceiling, narrow?.lowerBound ?? ceiling, block.first?.priority ?? ceiling) / 4
  }

  private static func place(_ rules: [PolicyRule], last: UInt32) -> [PolicyRule] {
    rules.enumerated().map { place, rule in
      var rule = rule
      rule.priority = last.less(UInt32(rules.count - 1 - place))
      return rule
    }
  }

  /// The block for these rules into tables: before those of a length, the main table is asked for longer prefixes in each of
  /// their own, and of no other address, which may be one that it is not to be asked of.
  static func block(of tables: [PolicyRule: Set<IPPrefix>]) -> [PolicyRule] {
    let lengths = Set(tables.keys.map(\.suppressedLength)).sorted(by: >)
    return lengths.flatMap { suppressed in
      let same = tables.keys.filter { $0.suppressedLength == suppressed }
        .sorted { ($0.table, $0.mark ?? 0) < ($1.table, $1.mark ?? 0) }
      let prefixes = same.reduce(into: Set()) { $0.formUnion(tables[$1] ?? []) }
      return prefixes.sorted().map {
        PolicyRule(
          isIPv6: $0.address.isIPv6, to: $0, table: NetlinkSocket.mainTable, suppressedPrefixLength: $0.length)
      } + same
    }
  }
}

extension UInt32 {
  fileprivate func less(_ other: UInt32) -> UInt32 { self > other ? self - other : 0 }
}

extension PolicyRule {
  /// Whether it sends all but a tunnel's own datagrams into a table of that tunnel.
  var isOfDefaultRoute: Bool { isInverted && suppressedPrefixLength == nil }

  /// Whether that table has narrower routes than a default one.
  var isOfNarrowTable: Bool { isOfDefaultRoute && mark.map { table == MarkedRouting.table(of: $0) } ?? false }

  /// Whether it is one of the block that sends all but a tunnel's own datagrams into a table of that tunnel.
  var isOfMarkedTable: Bool { isInverted && suppressedPrefixLength != nil }

  /// Whether it asks the main table for longer prefixes in one that such a table has. With `lan` it is asked for prefixes
  /// of the same length, too.
  private var isBeforeMarkedTable: Bool {
    table == NetlinkSocket.mainTable && destination.map { $0.length == suppressedPrefixLength } ?? false
  }

  var isOfBlock: Bool { isOfMarkedTable || isBeforeMarkedTable }

  /// Whether it is about packets of one mark, as those of programs are.
  fileprivate var isOfMark: Bool { mark != nil && !isInverted }

  fileprivate var suppressedLength: Int { suppressedPrefixLength ?? -1 }

  var withoutPriority: PolicyRule {
    var rule = self
    rule.priority = nil
    return rule
  }
}
