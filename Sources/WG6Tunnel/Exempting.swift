import Glibc
import WG6Linux

/// Tunnels that have default routes let each other's datagrams pass: without that, each would send those of the others
/// into itself.
///
/// Every tunnel's journal tells the mark of its datagrams (`exempt`) and its rules. From all journals of a namespace
/// follows which exemptions there must be, so each command that changes one tunnel can put those of all in order, and the
/// next one does where it was killed.
enum Exemptions {
  /// The exemptions that tunnels with these journals need of each other.
  static func needed(_ tunnels: [[Journal.Entry]]) -> Set<RuleExemption> {
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
}

extension Tunnel {
  /// Puts the exemptions of all tunnels of this namespace in order, when their turn comes. Returns whether any was missing.
  @discardableResult
  func exemptEachOther() throws(TunnelError) -> Bool {
    let turn = try takeTurn()
    let wasMissing = try arrangeExemptions()
    _ = consume turn
    return wasMissing
  }

  /// The same for a caller that has the turn (`takeTurn`): only under it do journals and rules belong together.
  @discardableResult
  func arrangeExemptions() throws(TunnelError) -> Bool {
    let needed = Exemptions.needed(journalsOfNamespace().map(\.entries))
    do {
      let netlink = try NetlinkSocket()
      let present = try netlink.exemptions(isIPv6: false).union(netlink.exemptions(isIPv6: true))
      let missing = needed.subtracting(present)
      // First where they jump to.
      for exemption in missing where exemption.mark == nil { try netlink.add(exemption) }
      for exemption in missing where exemption.mark != nil { try netlink.add(exemption) }
      for exemption in present.subtracting(needed) where exemption.mark != nil { try netlink.remove(exemption) }
      for exemption in present.subtracting(needed) where exemption.mark == nil { try netlink.remove(exemption) }
      return !missing.isEmpty
    } catch {
      throw TunnelError(error)
    }
  }

  /// Whether an exemption is missing, or one is too many.
  func lacksExemptions() throws(TunnelError) -> Bool {
    let turn = try takeTurn()
    let needed = Exemptions.needed(journalsOfNamespace().map(\.entries))
    do {
      let netlink = try NetlinkSocket()
      let present = try netlink.exemptions(isIPv6: false).union(netlink.exemptions(isIPv6: true))
      _ = consume turn
      return needed != present
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

  private func journalsOfNamespace() -> [(interface: String, entries: [Journal.Entry])] {
    StateDirectory.interfaces().compactMap { interface in
      guard let journal = try? Journal.read(interface, sharedOnly: true), journal.isOfThisNamespace else { return nil }
      return (interface, journal.entries)
    }
  }
}
