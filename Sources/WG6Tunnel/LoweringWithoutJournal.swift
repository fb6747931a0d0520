import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Takes down a tunnel whose journal is lost: by what the daemon, the kernel's rules and the firewall say. All that could
  /// stop this is looked at before the first change, and the firewall table with the kill switch is removed last.
  func lowerWithoutJournal() throws(TunnelError) {
    let isServed = try isServedFromHere()
    let hasTable = try hasTable()
    guard isServed || hasTable else {
      defer { releasePrograms() }
      if try removeJournal() { return }
      throw TunnelError(absence())
    }
    let rules = try lostRules(of: marksOfLost(isServed: isServed, hasTable: hasTable))
    endWatching()
    endAsking()
    if hasTable || !rules.isEmpty {
      warn(
        "its journal is lost: name servers and kernel settings stay as 'up' set them, and no PreDown or PostDown runs")
    }
    for rule in rules {
      tell("removing the rule \(rule)")
      do throws(NetlinkError) {
        try NetlinkSocket().removeRule(rule)
      } catch {
        if !error.isMissing { warn(error.description) }
      }
      Fault.point()
    }
    if isServed {
      tell("stopping the daemon, and its interface with it")
      try removeDevice()
      Fault.point()
    }
    if hasTable { try openFirewall() }
    if ControlSocket.removeStale(interface) { tell("removed the socket that a dead daemon left") }
    releasePrograms()
    _ = try removeJournal()
    tryToArrangeSharedRules()
  }

  /// Removes a journal without entries, and returns whether there was one.
  private func removeJournal() throws(TunnelError) -> Bool {
    guard let journal = try readJournal() else { return false }
    journal.remove()
    return true
  }

  /// Whether a daemon serves the interface and belongs to this network namespace, wherever the interface is by now. Throws
  /// if it belongs to another.
  private func isServedFromHere() throws(TunnelError) -> Bool {
    if try isHere() { return true }
    guard ControlSocket.isAlive(interface) else { return false }
    guard isDaemonOfThisNamespace() else { throw TunnelError(absence()) }
    return true
  }

  private func isDaemonOfThisNamespace() -> Bool {
    do throws(Errno) {
      let connection = try ControlConnection(to: interface, waits: false)
      return daemonProcess(connection).map { NetworkNamespace(of: $0.processID).isSame(as: .this) } ?? false
    } catch {
      return false
    }
  }

  /// A kernel without nftables has no table.
  private func hasTable() throws(TunnelError) -> Bool {
    do throws(FirewallError) {
      return try Firewall.hasTable(FirewallRules(interface: interface).tableName)
    } catch {
      if error == .unsupported { return false }
      throw TunnelError("\(error)")
    }
  }

  private func openFirewall() throws(TunnelError) {
    tell("removing the firewall table that it left")
    do throws(FirewallError) {
      try Firewall.remove(FirewallRules(interface: interface))
    } catch {
      throw TunnelError("\(error)")
    }
  }

  /// The marks of this tunnel's own datagrams: what the daemon says, and what the firewall table saves of them. The daemon may
  /// be gone, or may have been told another since.
  private func marksOfLost(isServed: Bool, hasTable: Bool) throws(TunnelError) -> Set<UInt32> {
    var marks: Set<UInt32> = []
    if isServed, let mark = try? RemoteDevice(interface: interface).status().firewallMark, mark != 0 {
      marks.insert(mark)
    }
    guard hasTable else { return marks }
    do throws(FirewallError) {
      let name = FirewallRules(interface: interface).tableName
      return marks.union(FirewallRules.savedMarks(in: try Firewall.listing(of: name)))
    } catch {
      throw TunnelError("\(error)")
    }
  }

  /// The rules that 'wg6 up' made for routes of this tunnel, known by their protocol number and its marks.
  /// Throws if another program made such rules, as wg-quick does: without the interface these would stay, and all else that
  /// the program changed.
  private func lostRules(of marks: Set<UInt32>) throws(TunnelError) -> [PolicyRule] {
    guard !marks.isEmpty else { return [] }
    let netlink = try openNetlink()
    var claimed: Set<PolicyRule> = []
    for case .rule(let rule) in entriesOfOthers() { claimed.insert(rule) }
    var lost: [PolicyRule] = []
    for isIPv6 in [false, true] {
      let all: [PolicyRule], own: [PolicyRule]
      do throws(NetlinkError) {
        (all, own) = (try netlink.rules(isIPv6: isIPv6), try netlink.ownRules(isIPv6: isIPv6))
      } catch {
        throw TunnelError(error)
      }
      for rule in all where rule.isInverted && rule.mark.map(marks.contains) == true {
        guard own.contains(rule) else {
          throw TunnelError(
            "it has rules that 'wg6 up' did not make; if wg-quick brought it up, use 'wg-quick down'. Nothing was changed"
          )
        }
        lost += rule.pair(among: own.filter { !claimed.contains($0) })
      }
    }
    return lost
  }
}

extension PolicyRule {
  /// The rules of a route of which this is the one that leads into the tunnel, in the order in which they are removed: those
  /// that ask the main table first are the next before it.
  func pair(among own: [PolicyRule]) -> [PolicyRule] {
    // What stands before it may be another tunnel's as well, and is put in order in the end.
    if isOfMarkedTable { return [self] }
    let before = own.filter { $0.isIPv6 == isIPv6 && ($0.priority ?? 0) < (priority ?? 0) }
      .sorted { ($0.priority ?? 0) < ($1.priority ?? 0) }
    let next = before.reversed().prefix { !$0.isInverted }.filter { other in
      other.mark == nil
        && (other.destination != nil
          || other.table == NetlinkSocket.mainTable
            && other.suppressedPrefixLength == (suppressedPrefixLength ?? -1) + 1)
    }
    return next.reversed() + [self]
  }
}
