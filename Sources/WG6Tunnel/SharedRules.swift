import Glibc
import WG6Linux
import WG6Protocol

/// What the rules of a namespace's tunnels have in common.
///
/// Tunnels that have default routes let each other's datagrams pass: without that, each would send those of the others
/// into itself. And routes that an endpoint lies in stand in tables that are asked in one block, the longest first, whichever
/// tunnel came up last.
///
/// Every tunnel's journal tells the mark of its datagrams (`exempt`) and its rules. From all journals of a namespace
/// follows what there must be, so each command that changes one tunnel can put that of all in order, and the next one does
/// where it was killed.
enum SharedRules {
  /// The exemptions that tunnels with these journals need of each other.
  static func exemptions(_ tunnels: [[Journal.Entry]]) -> Set<RuleExemption> {
    var marks: Set<UInt32> = []
    for case .exempt(let mark) in tunnels.joined() { marks.insert(mark) }
    var needed: Set<RuleExemption> = []
    for case .rule(let rule) in tunnels.joined() {
      guard rule.isOfDefaultRoute, let passed = rule.priority, passed > 0 else { continue }
      for mark in marks where mark != rule.mark {
        needed.insert(RuleExemption(isIPv6: rule.isIPv6, mark: mark, passed: passed))
        needed.insert(RuleExemption(isIPv6: rule.isIPv6, mark: nil, passed: passed))
      }
    }
    return needed
  }

  /// The rules into tables that the block has for tunnels with these journals, each with the prefixes of its length there.
  static func markedTables(_ tunnels: [[Journal.Entry]]) -> [PolicyRule: Set<IPPrefix>] {
    var tables: [PolicyRule: Set<IPPrefix>] = [:]
    for entries in tunnels {
      for case .rule(let rule) in entries where rule.isOfMarkedTable {
        let prefixes = entries.compactMap { entry in
          if case .route(let route) = entry, rule.leads(to: route) { route.prefix } else { nil }
        }
        tables[rule.withoutPriority, default: []].formUnion(prefixes)
      }
    }
    return tables
  }

  /// The marks that these journals tell of.
  static func marks(_ tunnels: [[Journal.Entry]]) -> Set<UInt32> {
    Set(
      tunnels.joined().compactMap { entry in
        switch entry {
        case .mark(let mark), .exempt(let mark): mark
        case .rule(let rule): rule.mark
        default: nil
        }
      })
  }
}

/// What makes of a family's block the one that is needed.
struct BlockChange: Equatable {
  /// To be added first, in this order.
  var added: [PolicyRule] = []
  var removed: [PolicyRule] = []
  /// What was not there at all.
  var missing: [PolicyRule] = []
  var isEmpty: Bool { added.isEmpty && removed.isEmpty }

  /// - Parameters:
  ///   - needed: the rules into tables, without priorities, and the prefixes that each is for.
  ///   - marks: those of tunnels that have a journal, or had one. Rules with others stay: the journal may be what is missing.
  ///   - limit: a priority that the block must stand before, where a default route is about to get one.
  init(_ order: RuleOrder, needed: [PolicyRule: Set<IPPrefix>], marks: Set<UInt32>, before limit: UInt32? = nil) {
    let present = order.block.map(\.withoutPriority)
    let unknown = present.filter { $0.isOfMarkedTable && !marks.contains($0.mark ?? 0) }
    var tables = needed
    for rule in unknown {
      let prefixes = present.compactMap(\.destination).filter { $0.length - 1 == rule.suppressedPrefixLength }
      tables[rule, default: []].formUnion(prefixes)
    }
    let wanted = RuleOrder.block(of: tables)
    missing = wanted.filter { $0.isOfMarkedTable && !present.contains($0) }
    let isInTime = limit.map { limit in order.block.allSatisfy { $0.priority ?? 0 < limit } } ?? true
    if order.isBlockFirst, isInTime, let needless = BlockChange.needless(in: order.block, for: wanted) {
      removed = needless
    } else {
      added = order.placing(block: wanted, before: limit)
      removed = order.block
    }
  }

  /// What is left of `present` when `wanted` is taken out of it in its order; `nil` where it is not all there.
  private static func needless(in present: [PolicyRule], for wanted: [PolicyRule]) -> [PolicyRule]? {
    var rest = wanted[...]
    let needless = present.filter { rule in
      guard rest.first == rule.withoutPriority else { return true }
      rest.removeFirst()
      return false
    }
    return rest.isEmpty ? needless : nil
  }
}

extension Tunnel {
  /// Puts the shared rules of all tunnels of this namespace in order, when their turn comes. Returns what was missing.
  @discardableResult
  func arrangeSharedRules(former: Set<UInt32> = []) throws(TunnelError) -> [String] {
    let turn = try takeTurn()
    let missing = try arrangeSharedRulesInTurn(former: former)
    _ = consume turn
    return missing
  }

  /// The same for a caller that has the turn (`takeTurn`): only under it do journals and rules belong together.
  ///
  /// - Parameters:
  ///   - places: priorities that rules of a default route are about to get, by family (`isIPv6`).
  ///   - isLeaving: whether this tunnel needs none any more, although its journal is still there.
  ///   - former: marks that this tunnel had.
  @discardableResult
  func arrangeSharedRulesInTurn(
    before places: [Bool: UInt32] = [:], isLeaving: Bool = false, former: Set<UInt32> = []
  ) throws(TunnelError) -> [String] {
    do {
      let netlink = try NetlinkSocket()
      let shared = try SharedState(self, netlink, before: places, isLeaving: isLeaving, former: former)
      for change in shared.block {
        // A rule that is there with the same priority is one that stays.
        for rule in change.added {
          do throws(NetlinkError) {
            try netlink.addRule(rule)
          } catch  where error.isExisting {
          }
        }
        for rule in change.removed where !change.added.contains(rule) {
          do throws(NetlinkError) {
            try netlink.removeRule(rule)
          } catch  where error.isMissing {
          }
        }
      }
      // First where they jump to.
      for exemption in shared.missing where exemption.mark == nil { try netlink.add(exemption) }
      for exemption in shared.missing where exemption.mark != nil { try netlink.add(exemption) }
      for exemption in shared.needless where exemption.mark != nil { try netlink.remove(exemption) }
      for exemption in shared.needless where exemption.mark == nil { try netlink.remove(exemption) }
      return shared.losses
    } catch {
      throw TunnelError(error)
    }
  }

  /// Whether a shared rule is missing, in the wrong place, or one too many.
  func lacksSharedRules() throws(TunnelError) -> Bool {
    let turn = try takeTurn()
    do throws(NetlinkError) {
      let shared = try SharedState(self, NetlinkSocket())
      _ = consume turn
      return !shared.isInOrder
    } catch {
      throw TunnelError(error)
    }
  }

  /// The other tunnels of this namespace that have default routes, in an order that stays the same.
  func othersWithDefaultRoutes() -> [OtherTunnel] {
    var others: [OtherTunnel] = []
    for (interface, entries) in journalsOfNamespace() where interface != self.interface {
      for case .exempt(let mark) in entries { others.append(OtherTunnel(interface: interface, mark: mark)) }
    }
    return others.sorted { ($0.mark, $0.interface) < ($1.mark, $1.interface) }
  }

  fileprivate func journalsOfNamespace() -> [(interface: String, entries: [Journal.Entry])] {
    StateDirectory.interfaces().compactMap { interface in
      guard let journal = try? Journal.read(interface, sharedOnly: true), journal.isOfThisNamespace else { return nil }
      return (interface, journal.entries)
    }
  }
}

/// What the journals want of the shared rules, and what there is.
private struct SharedState {
  var block: [BlockChange]
  var missing: Set<RuleExemption>
  var needless: Set<RuleExemption>

  init(
    _ tunnel: Tunnel, _ netlink: borrowing NetlinkSocket, before places: [Bool: UInt32] = [:], isLeaving: Bool = false,
    former: Set<UInt32> = []
  ) throws(NetlinkError) {
    let all = tunnel.journalsOfNamespace()
    let journals = all.filter { !isLeaving || $0.interface != tunnel.interface }.map(\.entries)
    let tables = SharedRules.markedTables(journals)
    let marks = SharedRules.marks(all.map(\.entries)).union(former)
    block = []
    for isIPv6 in [false, true] {
      let order = RuleOrder(try netlink.rulePlaces(isIPv6: isIPv6))
      block.append(
        BlockChange(
          order, needed: tables.filter { $0.key.isIPv6 == isIPv6 }, marks: marks, before: places[isIPv6]))
    }
    let needed = SharedRules.exemptions(journals)
    let present = try netlink.exemptions(isIPv6: false).union(netlink.exemptions(isIPv6: true))
    missing = needed.subtracting(present)
    needless = present.subtracting(needed)
  }

  var isInOrder: Bool { block.allSatisfy(\.isEmpty) && missing.isEmpty && needless.isEmpty }

  /// What was deleted, for people.
  var losses: [String] {
    block.flatMap(\.missing).map { "the rule '\($0)'" }
      + (missing.isEmpty ? [] : ["what leads other tunnels' datagrams past this one"])
  }
}

extension PolicyRule {
  /// Whether it finds `route` in its table.
  fileprivate func leads(to route: Route) -> Bool {
    route.table == table && route.prefix.address.isIPv6 == isIPv6 && route.prefix.length - 1 == suppressedPrefixLength
  }
}
