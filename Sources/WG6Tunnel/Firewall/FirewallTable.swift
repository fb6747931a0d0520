import WG6Linux

/// A tunnel's table, put there and removed as the kernel allows.
///
/// From Linux 6.9 on a table can have an owner and outlive it. Such a table can't be made anew in one transaction by
/// libnftables of any age, so its contents are replaced instead. What older kernels have is made anew; an owner's end would
/// remove it there, so it has none.
extension Firewall {
  /// Puts the table of `rules` in the place of the one there may be, or removes it where there is nothing to filter. At no
  /// moment is there neither.
  public static func put(_ rules: FirewallRules) throws(FirewallError) {
    do throws(FirewallError) {
      try putTable(rules)
    } catch {
      // For want of a module for sockets, answers alone are marked.
      guard rules.savesMarks, rules.marksFirstDatagrams, error != .unsupported else { throw error }
      var less = rules
      less.marksFirstDatagrams = false
      try putTable(less)
    }
  }

  private static func putTable(_ rules: FirewallRules) throws(FirewallError) {
    guard !rules.isEmpty else { return try remove(rules) }
    let name = rules.tableName
    let state = try take(name, of: rules.interface)
    if let state {
      return try run(state.persists ? rules.replacement : rules.script)
    }
    if Fault.hasPlainTables { return try run(rules.script) }
    do throws(NetlinkError) {
      try FilterTables.createPersistent(name)
    } catch {
      // Older kernels refuse the flag, in one way or another; and what else is wrong, the script tells better.
      return try run(rules.script)
    }
    do throws(FirewallError) {
      try run(rules.replacement)
    } catch {
      try? run(FirewallRules.deletion(of: name))
      throw error
    }
  }

  /// Puts the guard of `rules` in the place of the one that the table has, which must be nobody's.
  static func putGuard(_ rules: FirewallRules) throws(FirewallError) {
    if rules.hasGuard { try run(rules.guardReplacement) }
  }

  /// Removes the tables of `rules`, whether they exist or not.
  public static func remove(_ rules: FirewallRules) throws(FirewallError) {
    var rules = rules
    rules.markedQuestions = []
    try? markQuestions(rules)
    let name = rules.tableName
    guard try take(name, of: rules.interface) != nil else { return }
    do throws(FirewallError) {
      try run(FirewallRules.deletion(of: name))
    } catch {
      if try take(name, of: rules.interface) != nil { throw error }
    }
  }

  /// How the table is kept, once the process that watches over it has let it go; `nil` where there is none.
  private static func take(_ name: String, of interface: String) throws(FirewallError) -> FilterTables.State? {
    try requireNetfilter()
    var state = try self.state(of: name)
    guard state?.isOwned == true else { return state }
    WatchingProcess.letGo(interface)
    let isFree = try wait(seconds: 2) { () throws(FirewallError) in
      state = try self.state(of: name)
      return state?.isOwned != true
    }
    guard isFree else {
      throw FirewallError(reason: "another process owns the table \(name), and does not let it go", details: "")
    }
    return state
  }

  private static func state(of name: String) throws(FirewallError) -> FilterTables.State? {
    do throws(NetlinkError) {
      return try FilterTables.state(of: name)
    } catch {
      throw FirewallError(reason: "\(error)", details: "")
    }
  }
}
