import WG6Config
import WG6Linux
import WG6Protocol

/// What must be there for as long as a tunnel is up, by its journal, and what of it is.
///
/// Rules and routes that the file's own commands removed before are not missed: only what was there is restored. The
/// firewall table is, whoever removed it when.
struct GuardedState: ~Copyable {
  private let tunnel: Tunnel
  private var ownership: TableOwnership?
  /// The journal when it was last seen under the lock, and what was there then.
  private var entries: [Journal.Entry]?
  private var rules: [PolicyRule] = []
  private var routes: Set<Route> = []
  /// What is in the table.
  private var filter: FirewallRules?
  /// How nft lists a table with these rules. What it lists after it was put there again is not taken for that: another
  /// program may have changed it meanwhile.
  private var listing: (rules: FirewallRules, text: String)?
  /// Networks that the machine is in and that the tunnel does not leave outside; `nil` before the first look, when the
  /// command has just told of them.
  private var foreign: Set<IPPrefix>?
  /// Interfaces that have a guarded address and do not count; `nil` before the first look, when the command has told of them.
  private var ignored: Set<Sharer>?
  /// Why questions for link-layer addresses can't be marked.
  private var questionProblem: String?
  /// What `lan` stood for when a command asked last, and what it stands for now; `nil` for a file that does not say it.
  private(set) var lan: (before: Set<IPPrefix>, now: Set<IPPrefix>)?
  /// What changed besides, for people; whoever tells them takes it.
  private var news: [String] = []

  init(_ tunnel: Tunnel) {
    self.tunnel = tunnel
    ownership = nil
  }

  enum Assessment {
    case fine
    /// The tunnel is down, or nothing of it is left to be guarded.
    case over
    /// A command has changed what should be there.
    case changed
    /// Another program has deleted or changed something.
    case damaged
  }

  /// Lets a command change the table.
  mutating func letGo() { ownership = nil }

  /// What has become of it all. Changes nothing of it.
  mutating func assess() throws(TunnelError) -> Assessment {
    guard let now = try Present(tunnel) else { return .over }
    lan = now.lan
    if now.entries != entries || now.hasOtherNeighbours(than: filter) { return .changed }
    if now.filter?.killSwitch?.networks != filter?.killSwitch?.networks || now.foreign != foreign { return .changed }
    if Set(now.ignored) != ignored { return .changed }
    if isTableDamaged(now) { return .damaged }
    if now.filter != nil, ownership == nil, now.table?.persists == true { return .changed }
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      if try netlink.present(rules).count != rules.count { return .damaged }
      if try !missingRoutes(now, netlink).isEmpty { return .damaged }
    } catch {
      throw TunnelError(error)
    }
    return try tunnel.lacksSharedRules() ? .damaged : .fine
  }

  /// Restores what is missing, and says what that was; `nil` where there is nothing to guard any more. Nobody else changes
  /// the tunnel meanwhile.
  mutating func restore() throws(TunnelError) -> [String]? {
    guard let now = try Present(tunnel) else { return nil }
    var restored: [String] = []
    let isChanged = now.entries != entries
    lan = now.lan
    noteForeign(now.foreign)
    noteIgnored(Set(now.ignored), isChanged)
    if try restoreTable(now, isChanged) { restored.append("the firewall table") }
    // Before the rules that they lead past.
    let shared = try tunnel.arrangeSharedRules()
    if !isChanged { restored += shared }
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      if isChanged {
        rules = try netlink.present(now.rules)
        routes = try presentRoutes(now, netlink)
      }
      let present = try netlink.present(rules)
      for rule in rules where !present.contains(rule) {
        do throws(NetlinkError) {
          try netlink.addRule(rule)
        } catch  where error.isExisting {
        }
        restored.append("the rule '\(rule)'")
      }
      restored += restoreRoutes(try missingRoutes(now, netlink), now, netlink)
    } catch {
      throw TunnelError(error)
    }
    entries = now.entries
    return restored
  }

  // MARK: The table

  private func isTableDamaged(_ now: Present) -> Bool {
    guard let filter else { return false }
    guard now.table != nil, questionProblem != nil || now.marksQuestions == !filter.markedQuestions.isEmpty else {
      return true
    }
    return ownership == nil && listing?.rules == filter && listing?.text != list(filter)
  }

  /// Whether it had to be.
  private mutating func restoreTable(_ now: Present, _ isChanged: Bool) throws(TunnelError) -> Bool {
    guard let wanted = now.filter else {
      ownership = nil
      filter = nil
      return false
    }
    // A command that has changed the journal has put its table there, or, if it changed something else, left the one that
    // was put there before. The table stays as it is only if both would do.
    let before = filter
    if isChanged { filter = now.journalled }
    let possible = [filter] + (isChanged && before != nil ? [before] : [])
    let isDamaged = isChanged ? now.table == nil : isTableDamaged(now)
    let hasMoved = filter?.killSwitch?.networks != wanted.killSwitch?.networks
    let isWhole =
      !isDamaged
      && possible.allSatisfy { $0?.killSwitch?.networks == wanted.killSwitch?.networks && $0?.others == wanted.others }
    if !isWhole || possible.contains(where: { now.hasOtherNeighbours(than: $0) }) {
      ownership = nil
      do throws(FirewallError) {
        // A kill switch stays as it is where only the guard changes.
        if isWhole { try Firewall.putGuard(wanted) } else { try Firewall.put(wanted) }
      } catch {
        throw TunnelError("\(error)")
      }
    }
    markQuestions(wanted, now)
    if hasMoved, let killSwitch = wanted.killSwitch, killSwitch.lan != .closed {
      let list = killSwitch.networks.isEmpty ? "none" : IPPrefix.list(killSwitch.networks)
      news.append("the local networks that stay reachable past the tunnel are now: \(list)")
    }
    filter = wanted
    if ownership == nil {
      // Older kernels know no owner that a table outlives.
      ownership = try? TableOwnership(of: wanted.tableName)
      if listing?.rules != wanted { listing = list(wanted).map { (wanted, $0) } }
    }
    return isDamaged
  }

  /// Without it a tunnel is complete but for a peer on the link that asks first, and a strict filter.
  private mutating func markQuestions(_ wanted: FirewallRules, _ now: Present) {
    guard wanted.markedQuestions != filter?.markedQuestions || now.marksQuestions == wanted.markedQuestions.isEmpty,
      questionProblem == nil
    else { return }
    do throws(FirewallError) {
      try Firewall.markQuestions(wanted)
    } catch {
      questionProblem = "\(error)"
      news.append(
        "\(error): with rp_filter = 1, ARP requests from \(IPPrefix.list(wanted.markedQuestions)) are not answered")
    }
  }

  /// What is to be said besides what was restored.
  mutating func takeNews() -> [String] {
    defer { news = [] }
    return news
  }

  private mutating func noteIgnored(_ now: Set<Sharer>, _ isChanged: Bool) {
    if let ignored, !isChanged {
      for sharer in now.subtracting(ignored).sorted() {
        news.append(
          "\(sharer.interface) has the tunnel's address \(sharer.address) too now; packets to it are not taken from there "
            + "unless 'wg6 reload \(tunnel.interface)' is run")
      }
    }
    ignored = now
  }

  private mutating func noteForeign(_ now: Set<IPPrefix>) {
    if let foreign {
      let new = now.subtracting(foreign).sorted()
      if let first = new.first {
        news.append(
          "this machine is in \(IPPrefix.list(new)) now, which is no local network by its address and stays in the tunnel; "
            + "ExcludedIPs = \(first) leaves it outside")
      }
    }
    foreign = now
  }

  /// `nil` if it is deleted in this moment: the next event tells.
  private func list(_ rules: FirewallRules) -> String? { try? Firewall.listing(of: rules.tableName) }

  // MARK: Routes

  private func presentRoutes(
    _ now: Present, _ netlink: borrowing NetlinkSocket
  ) throws(NetlinkError) -> Set<Route> {
    guard let link = now.link, !now.routes.isEmpty else { return [] }
    return try netlink.routes(via: link).intersection(now.routes)
  }

  /// A link that is down has no routes.
  private func missingRoutes(
    _ now: Present, _ netlink: borrowing NetlinkSocket
  ) throws(NetlinkError) -> Set<Route> {
    guard let link = now.link, link.isUp, !routes.isEmpty else { return [] }
    return routes.subtracting(try netlink.routes(via: link))
  }

  private mutating func restoreRoutes(
    _ missing: Set<Route>, _ now: Present, _ netlink: borrowing NetlinkSocket
  ) -> [String] {
    guard let link = now.link else { return [] }
    var restored = 0
    for route in missing {
      do throws(RouteError) {
        try netlink.addRoutes([route], via: link)
        restored += 1
      } catch {
        // Somebody's own stands there now.
        if error.reason.isExisting { routes.remove(route) }
      }
    }
    return restored == 0 ? [] : ["\(restored) \(restored == 1 ? "route" : "routes")"]
  }
}

/// What the journal says, and the kernel.
private struct Present {
  let entries: [Journal.Entry]
  /// But for those of the block, which all tunnels share.
  let rules: [PolicyRule]
  /// In the tables that the rules lead to.
  let routes: Set<Route>
  let link: Link?
  /// What the table was made from.
  let journalled: FirewallRules?
  /// What it should say by now.
  let filter: FirewallRules?
  let table: FilterTables.State?
  /// Whether there is a table that marks questions for link-layer addresses.
  let marksQuestions: Bool
  /// Interfaces that have a guarded address and do not count.
  let ignored: [Sharer]
  /// Networks that the machine is in, that the tunnel takes and that `lan` does not stand for; none without `lan`.
  let foreign: Set<IPPrefix>
  /// What `lan` stood for when a command asked last, and what it stands for now.
  let lan: (before: Set<IPPrefix>, now: Set<IPPrefix>)?

  /// `nil` where nothing is to be guarded: without its interface a tunnel has its kill switch, if that.
  init?(_ tunnel: Tunnel) throws(TunnelError) {
    guard let journal = try tunnel.readJournal(), !journal.contains(.leaving) else { return nil }
    var filter = journal.filter
    filter?.interface = tunnel.interface
    journalled = filter
    var ignored: [Sharer] = []
    if let following = filter?.followingAddresses() { (filter, ignored) = (following.rules, following.ignored) }
    self.ignored = ignored
    filter?.others = tunnel.othersWithDefaultRoutes()
    let mark = filter?.mark
    filter?.markedQuestions = MarkedRouting.markedQuestions(journal.entries, mark: mark)
    let followsLAN = filter.map { $0.killSwitch != nil } ?? false
    var networksBefore: [IPPrefix]?
    for case .lan(let networks) in journal.entries { networksBefore = networks }
    let believesLAN =
      filter?.killSwitch.map { $0.lan != .closed } ?? false || journal.rules.contains { $0.destination != nil }
    // What cannot be read is no network: nothing stays reachable then.
    let read = followsLAN || believesLAN || networksBefore != nil ? Present.connectedNetworks : nil
    let connected = read ?? []
    let inner = journal.entries.compactMap { entry in
      if case .address(let address) = entry { address.innerNetwork } else { nil }
    }
    let local = LocalScope.networks(among: connected, besides: inner)
    lan = read == nil ? nil : networksBefore.map { (Set($0), Set(local)) }
    filter?.killSwitch?.networks = local
    let isUp = journal.contains(.complete)
    do throws(NetlinkError) {
      link = isUp ? try NetlinkSocket().link(named: tunnel.interface) : nil
      table = try filter.flatMap { (rules) throws(NetlinkError) in try FilterTables.state(of: rules.tableName) }
      if let link, filter?.guardedSources.isEmpty == false {
        filter?.multipathRoutes = MultipathRoute.all(
          among: try NetlinkSocket().hops(ofRoutesVia: link), through: link.index)
      }
    } catch {
      throw TunnelError(error)
    }
    self.filter = filter
    marksQuestions = filter.map { Firewall.marksQuestions($0) } ?? false
    guard link != nil || filter?.killSwitch != nil else { return nil }
    entries = journal.entries
    rules = link == nil ? [] : journal.rules.filter { !$0.isOfMarkedTable }
    let tables = Set(journal.rules.filter(\.isInverted).map(\.table))
    routes = Set(
      journal.entries.compactMap { entry in
        if case .route(let route) = entry, tables.contains(route.table) { route } else { nil }
      })
    if believesLAN {
      let taken = PrefixSet(routes.map(\.prefix) + (filter?.killSwitch?.covered ?? []))
      foreign = Set(connected.filter { !$0.isLocalNetwork && taken.intersects($0) })
    } else {
      foreign = []
    }
  }

  /// `nil` where they can't be read.
  private static var connectedNetworks: [IPPrefix]? { try? NetlinkSocket().connectedNetworks(except: nil) }

  /// Whether other tunnels, addresses or routes have come or gone that the tables know.
  func hasOtherNeighbours(than rules: FirewallRules?) -> Bool {
    guard let filter, let rules else { return filter != rules }
    return filter.others != rules.others || filter.sharers != rules.sharers
      || filter.guardedAddresses != rules.guardedAddresses || filter.groupAddresses != rules.groupAddresses
      || filter.multipathRoutes != rules.multipathRoutes || filter.markedQuestions != rules.markedQuestions
  }
}
