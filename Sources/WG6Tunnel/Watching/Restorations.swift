import Glibc
import SystemPackage
import WG6Config
import WG6Linux

/// What the watching process of a tunnel has restored since `up`, kept in a file for `show` and `check`.
struct Restorations: Equatable {
  var count = 0
  /// When it was restored last, in seconds since 1970.
  var last: Int = 0
  /// What was restored last.
  var what = ""
  /// Why the last try failed; empty if it did not.
  var failure = ""

  mutating func restored(_ what: String, at now: Int) {
    count += 1
    last = now
    self.what = what
    failure = ""
  }

  // MARK: The file

  private static func path(_ interface: String, _ directory: String) -> String { "\(directory)/\(interface).restored" }

  /// What the watching process has written down; `nil` if it has restored nothing.
  static func read(_ interface: String, in directory: String = StateDirectory.path) -> Restorations? {
    let file = unsafe open(path(interface, directory), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return nil }
    return Restorations(text: OwnedDescriptor(file).text())
  }

  /// A line for each.
  var text: String {
    ["\(count)", "\(last)", what, failure].map { $0.replacing("\n", with: " ") + "\n" }.joined()
  }

  init() {}

  init?(text: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count >= 4, let count = Int(lines[0]), let last = Int(lines[1]) else { return nil }
    (self.count, self.last, what, failure) = (count, last, lines[2], lines[3])
  }

  /// Writes it down, in one step. One that can't be written is lost; the log has it too.
  func write(_ interface: String, in directory: String = StateDirectory.path) {
    let file = Restorations.path(interface, directory), draft = file + ".new"
    let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return }
    let text = text
    let isWhole = unsafe Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count
    close(descriptor)
    if !isWhole || (unsafe rename(draft, file)) != 0 { unsafe unlink(draft) }
  }

  /// Forgets it all, with the tunnel.
  static func remove(_ interface: String, in directory: String = StateDirectory.path) {
    unsafe unlink(path(interface, directory))
    unsafe unlink(path(interface, directory) + ".new")
  }
}

extension Restorations {
  /// A sentence for each thing that is amiss, in the words of `show` and `check`.
  func findings(now: Int) -> [String] {
    var findings: [String] = []
    if count > 0 {
      let times = count == 1 ? "once" : "\(count) times"
      findings.append(
        "another program deleted or changed what keeps traffic in the tunnel; it was restored \(times)"
          + " since 'up', \(Restorations.age(now - last)) ago: \(what)")
    }
    if !failure.isEmpty { findings.append("what another program deleted cannot be restored: \(failure)") }
    return findings
  }

  /// A time span in its largest unit.
  private static func age(_ seconds: Int) -> String {
    let units = [(86400, "day"), (3600, "hour"), (60, "minute")]
    for (length, name) in units where seconds >= length { return counted(seconds / length, name) }
    return counted(max(seconds, 0), "second")
  }
}

extension Tunnel {
  /// What is amiss with firewall table, rules and watching process of a tunnel that `up` made and nothing changes at the
  /// moment, a sentence each; none if all is well, or the tunnel or this process's right to look is missing.
  public func watchFindings() -> [String] {
    guard let journal = try? Journal.read(interface, sharedOnly: true), journal.isOfThisNamespace, journal.isWhole
    else { return [] }
    if InterfaceLock.holder(of: interface, for: .change) != nil { return [] }
    var findings: [String] = []
    let hasTable = journal.entries.contains { if case .firewall = $0 { true } else { false } }
    let table = FirewallRules(interface: interface).tableName
    if hasTable, (try? FilterTables.state(of: table)) == .some(nil) {
      findings.append("the firewall table \(table) is missing")
    }
    let isWatched = WatchingProcess.isRunning(interface)
    let rules = journal.rules
    // Rules that the file's own commands removed are known to the watching process alone.
    if !isWatched, let present = try? NetlinkSocket().present(rules), present.count < rules.count {
      let missing = rules.filter { !present.contains($0) }.map { "'\($0)'" }
      findings.append("missing: the \(missing.count == 1 ? "rule" : "rules") \(missing.joined(separator: ", "))")
    }
    if !isWatched, hasTable || !rules.isEmpty {
      findings.append("no process watches over its firewall table and rules: 'wg6 reload \(interface)' starts one")
    }
    return findings + (Restorations.read(interface)?.findings(now: time(nil)) ?? [])
  }
}
