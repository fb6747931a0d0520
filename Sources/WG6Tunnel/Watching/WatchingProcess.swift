import Glibc
import SystemPackage
import WG6Linux

/// The process that watches over a tunnel's firewall table, rules and routes (`wg6 watch`): one a tunnel, known by a locked
/// file with its process ID, so that it is found for as long as it lives, and no longer.
public enum WatchingProcess {
  /// Where the process has the lock.
  public static let lockDescriptor: Int32 = 3

  /// Has the table's owner let it go for a moment. The caller has the tunnel's lock, without which it is not taken again.
  static func letGo(_ interface: String) { find(interface)?.send(signal: SIGUSR1) }

  static func isRunning(_ interface: String) -> Bool { find(interface) != nil }

  /// Starts the process, or has the one that there is look at what has changed, and waits until it has looked. The caller
  /// has the tunnel's lock.
  static func start(_ program: String, _ interface: String, keepsErrors: Bool) throws(Errno) {
    if let process = find(interface) {
      let before = note(interface)
      process.send(signal: SIGUSR2)
      if wait(seconds: 2, { note(interface) != before || process.words.isEmpty }), !process.words.isEmpty { return }
    }
    let lock = try InterfaceLock.take(interface, for: .watching, within: 1)
    // The process has the lock from its first moment; this one's descriptor is closed without giving it back.
    try lock.pass { (descriptor: Int32) throws(Errno) in
      try Child(
        program, ["watch"] + Child.argument(interface), outlivesCaller: true, silentOutput: !keepsErrors,
        passing: (descriptor, lockDescriptor))
    }
    // Not by its words: it has none for a moment.
    _ = wait(seconds: 2) {
      !note(interface).isEmpty || InterfaceLock.holder(of: interface, for: .watching) == nil
    }
  }

  /// Ends the process, and waits until it has. The caller has the tunnel's lock.
  static func end(_ interface: String) {
    if let process = find(interface) {
      process.send(signal: SIGTERM)
      if !process.waitForEnd(milliseconds: 2000) {
        process.send(signal: SIGKILL)
        _ = process.waitForEnd(milliseconds: 2000)
      }
    }
    // It leaves its files.
    (try? InterfaceLock(interface, for: .watching))?.release()
    Restorations.remove(interface)
  }

  private static func note(_ interface: String) -> String { InterfaceLock.note(of: interface, for: .watching) }

  /// The process; nil if there is none.
  private static func find(_ interface: String) -> ForeignProcess? {
    guard let process = InterfaceLock.holder(of: interface, for: .watching),
      process.words.dropFirst().first == "watch", process.words.last == interface
    else { return nil }
    return process
  }
}

extension Tunnel {
  /// Has a process watch over what keeps traffic in the tunnel, until `down`.
  func watchOver(_ program: String, staysHere: Bool = false) {
    tell("watching over firewall and rules in the background")
    do {
      try WatchingProcess.start(program, interface, keepsErrors: staysHere)
    } catch {
      warn("\(program): \(error); firewall and rules that somebody deletes are not restored")
    }
  }

  /// Ends the process that watches, before what it watches over is changed for good.
  func endWatching() { WatchingProcess.end(interface) }

  /// Waits until the kill switches of other tunnels let datagrams with `mark` pass, which the processes that watch over
  /// them see to.
  func awaitPassage(of mark: UInt32, _ program: String) {
    for other in StateDirectory.interfaces() where other != interface {
      guard let journal = try? Journal.read(other), journal.isOfThisNamespace, journal.filter?.killSwitch != nil else {
        continue
      }
      let name = FirewallRules(interface: other).tableName, text = FirewallRules.listed(mark)
      func passes() -> Bool { (try? Firewall.listing(of: name))?.contains(text) ?? true }
      if passes() { continue }
      tell("waiting for the kill switch of \(other)")
      if !WatchingProcess.isRunning(other), let lock = try? InterfaceLock(other) {
        try? WatchingProcess.start(program, other, keepsErrors: false)
        lock.release()
      }
      if !wait(seconds: 2, passes) { warn("the kill switch of \(other) does not let this tunnel's datagrams pass") }
    }
  }
}
