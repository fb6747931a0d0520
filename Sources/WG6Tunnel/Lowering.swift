import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

extension Tunnel {
  /// Takes the tunnel down: undoes what the journal says, in the opposite order, so that the kill switch goes last. Needs
  /// neither the file nor the daemon nor DNS, and stops at nothing; what went wrong is told at the end.
  ///
  /// - Parameter reading: reads a configuration file, for one that is to be saved.
  public func down(
    runsHooks: Bool, reading: (_ path: String) throws(TunnelError) -> ConfigurationFile
  ) throws(TunnelError) {
    try alone { () throws(TunnelError) in
      try enterAbandonedNamespace()
      // One without entries is of another version, or was cut off: it says nothing of what is to be undone.
      guard var journal = try readJournal(), !journal.entries.isEmpty else { return try lowerWithoutJournal() }
      endWatching()
      let hooks = runsHooks && journal.contains(.complete)
      if hooks, !journal.contains(.leaving) { tryHooks(journal.entries.compactMap(\.preDown), of: journal) }
      if journal.contains(.complete), !journal.contains(.leaving) {
        if journal.contains(.saves), ControlSocket.isAlive(interface) { trySaving(journal, reading) }
        do throws(TunnelError) {
          try write(.leaving, to: &journal)
        } catch {
          warn("\(error)")
        }
      }
      let remains = undo(journal)
      releasePrograms()
      if hooks { tryHooks(journal.entries.compactMap(\.postDown), of: journal) }
      end(journal, remains)
      if remains.hasKillSwitch { warn("the kill switch stays in force until a 'down' ends the daemon") }
      if let first = remains.problems.first { throw TunnelError(first) }
    }
  }

  /// Goes where `up` ran, if that is another network namespace whose name was deleted: only the tunnel's own programs are
  /// left there, and nobody else could enter it. Refuses if somebody can.
  private func enterAbandonedNamespace() throws(TunnelError) {
    guard let journal = try anyJournal(), let namespace = journal.namespace, !namespace.isSame(as: .this),
      !namespace.isGone
    else {
      return
    }
    guard namespace.isAbandoned(to: interface) else {
      let way =
        namespace.name.map { "ip netns exec \($0)" } ?? "nsenter --net=/proc/\(namespace.processes.first ?? 1)/ns/net"
      throw TunnelError(
        "it was brought up in another network namespace; take it down there: \(way) wg6 down \(interface)")
    }
    tell("entering the network namespace that it was brought up in, whose name was deleted")
    do {
      try namespace.enter()
    } catch {
      throw TunnelError("cannot enter the network namespace that it was brought up in: \(error)")
    }
  }

  /// The journal of this tunnel, whatever network namespace it tells of.
  private func anyJournal() throws(TunnelError) -> Journal? {
    do {
      return try Journal.read(interface)
    } catch {
      throw TunnelError("\(error)")
    }
  }

  /// Cleans up behind a daemon that ended and was this process's child, unless whoever ended it has. One that ended
  /// `unexpectedly` leaves the kill switch in force, for the next `up` or `down`.
  public func daemonEnded(runsHooks: Bool, unexpectedly: Bool) throws(TunnelError) {
    try alone { () throws(TunnelError) in
      // A new tunnel may have come up under the name meanwhile.
      guard try !isHere(), let journal = try readJournal(), journal.contains(.complete) else { return }
      if !unexpectedly || journal.filter?.killSwitch == nil { endWatching() }
      let remains = undo(journal, keepingKillSwitch: unexpectedly)
      if remains.hasKillSwitch { warn("the kill switch stays in force until the next 'up' or 'down'") }
      releasePrograms()
      if runsHooks { tryHooks(journal.entries.compactMap(\.postDown), of: journal) }
      end(journal, remains)
      if let first = remains.problems.first { throw TunnelError(first) }
    }
  }

  private func trySaving(
    _ journal: borrowing Journal, _ reading: (String) throws(TunnelError) -> ConfigurationFile
  ) {
    do throws(TunnelError) {
      for case .file(let path) in journal.entries { try save(reading(path), to: path) }
    } catch {
      warn("the file is not saved: \(error)")
    }
  }

  /// Cleans up after a command or a daemon that died, as `down` would, so that an `up` begins afresh. The firewall
  /// with the kill switch stays in force where the next one takes its place.
  func recover(keepingFirewall: Bool, _ program: String) throws(TunnelError) -> Remains {
    guard let journal = try anyJournal() else {
      endWatching()
      return Remains()
    }
    guard journal.isOfThisNamespace else {
      // Where the directory outlives the machine, as a container's may, the namespace is gone and all that was in it.
      guard journal.namespace?.isGone == false else {
        tell("the journal is of a network namespace that is gone")
        journal.remove()
        return Remains()
      }
      throw TunnelError("\(journal.path) says that it is up in another network namespace; take it down there")
    }
    if journal.isWhole {
      if try isHere() {
        // The command that brought it up may have been killed before it came to that.
        if journal.isGuarded { watchOver(program) }
        throw TunnelError("it is up already")
      }
      // A daemon whose interface was deleted takes a moment to end.
      let hasEnded = try wait(seconds: 1) { () throws(TunnelError) in !ControlSocket.isAlive(interface) }
      guard hasEnded else {
        throw TunnelError(
          "it is up already, and its interface is not here: it was renamed, or moved to another network namespace. "
            + "'wg6 down \(interface)' takes it down")
      }
    }
    endWatching()
    tell("cleaning up after a command or a daemon that died")
    let remains = undo(journal, keepingKillSwitch: keepingFirewall)
    for problem in remains.problems { warn(problem) }
    if journal.contains(.complete) { tryHooks(journal.entries.compactMap(\.postDown), of: journal) }
    end(journal, remains)
    return remains
  }

  /// What is still there when a journal has been undone.
  struct Remains {
    /// The kill switch where it stays in force, and what could not be undone.
    var entries: [Journal.Entry] = []
    /// Why not.
    var problems: [String] = []
    /// What names were found to be before, while the kill switch keeps everybody from asking.
    var known: [String: Endpoint] = [:]
    var hasKillSwitch: Bool { entries.contains(where: \.isKillSwitch) }
  }

  /// Undoes what the journal says, the last first, whatever happens; but as long as the daemon runs, its kill switch stays
  /// in force.
  func undo(_ journal: borrowing Journal, keepingKillSwitch: Bool = false) -> Remains {
    endAsking()
    var remains = Remains()
    let others = entriesOfOthers()
    for entry in journal.entriesToUndo {
      if keepingKillSwitch || remains.entries.contains(.daemon), entry.isKillSwitch {
        remains.entries.insert(entry, at: 0)
        continue
      }
      do throws(TunnelError) {
        if try undo(entry, others) { Fault.point() }
      } catch {
        remains.entries.insert(entry, at: 0)
        remains.problems.append("\(error)")
      }
    }
    if remains.hasKillSwitch {
      if let filter = journal.filter { remains.entries.append(.filter(filter)) }
      for case .found(let name, let endpoint) in journal.entries { remains.known[name] = endpoint }
    }
    return remains
  }

  /// Leaves a journal of what remains, for the next command to try again, or none.
  ///
  /// What it shares with other tunnels goes before the journal does, and in one turn: where a command is killed in between,
  /// the next one knows of it.
  func end(_ journal: consuming Journal, _ remains: Remains) {
    let turn = try? takeTurn()
    do throws(TunnelError) {
      try arrangeSharedRulesInTurn(isLeaving: true)
    } catch {
      warn("\(error)")
    }
    if remains.entries.isEmpty {
      journal.remove()
    } else {
      let context = journal.entries.filter { $0.isContext }
      do {
        try journal.replace(with: context + remains.entries)
      } catch {
        warn("\(journal.path): \(error)")
      }
    }
    _ = consume turn
  }

  func tryToArrangeSharedRules() {
    do throws(TunnelError) {
      try arrangeSharedRules()
    } catch {
      warn("\(error)")
    }
  }

  /// Whether there was anything to undo.
  private func undo(_ entry: Journal.Entry, _ others: [Journal.Entry]) throws(TunnelError) -> Bool {
    switch entry {
    // One that was not added any more may have become another tunnel's. Those of the block go with the journal.
    case .rule(let rule) where !others.contains(entry) && !rule.isOfMarkedTable:
      tell("removing the rule \(rule)")
      let netlink = try openNetlink()
      do {
        try netlink.removeRule(rule)
      } catch {
        if !error.isMissing { throw TunnelError(error) }
      }
    case .setting(let name, let before):
      try restore(name, before)
    case .resolver(let service):
      tell("giving DNS back to \(service.rawValue)")
      do {
        try service.revert(interface)
      } catch {
        throw TunnelError("\(error)")
      }
    case .daemon:
      tell("stopping the daemon, and its interface with it")
      try removeDevice()
    case .firewall:
      tell("removing the firewall table")
      do {
        try Firewall.remove(FirewallRules(interface: interface))
      } catch {
        // What could not be put in is not there; `up` said so.
        guard entry.isKillSwitch, error != .unsupported else { return false }
        throw TunnelError("\(error)")
      }
    default: return false
    }
    return true
  }

  /// Whether the interface is in this namespace, and its daemon answers.
  func isHere() throws(TunnelError) -> Bool {
    guard try link(openNetlink()) != nil else { return false }
    return ControlSocket.isAlive(interface)
  }

  /// Why there is nothing to take down.
  func absence() -> String {
    if ControlSocket.removeStale(interface) { tell("removed the socket that a dead daemon left") }
    if ControlSocket.isAlive(interface) { return "it is not up here; its daemon serves another network namespace" }
    let isPresent = (try? link(openNetlink())) != nil
    return isPresent ? "it is not a WireGuard interface: no daemon answers for it" : "it is not up"
  }
}

extension Journal.Entry {
  /// Whether it tells of no change, but of what tunnel the changes are.
  fileprivate var isContext: Bool {
    switch self {
    case .namespace, .file, .found: true
    default: false
    }
  }
  func isSetting(_ name: String) -> Bool { if case .setting(name, _) = self { true } else { false } }
  var isKillSwitch: Bool { if case .firewall(_, true) = self { true } else { false } }
  fileprivate var preDown: String? { if case .preDown(let command) = self { command } else { nil } }
  fileprivate var postDown: String? { if case .postDown(let command) = self { command } else { nil } }
}
