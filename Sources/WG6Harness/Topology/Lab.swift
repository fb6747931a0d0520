import Foundation
import Synchronization

/// A laboratory: network namespaces, the links between them and the programs in them, all under one recognisable name.
///
/// `Lab.open` builds it, runs a scenario in it, collects the evidence when the scenario fails, and always clears it away.
/// What a crash leaves behind carries the dead owner's pid in its name, and the next lab sweeps it out.
public final class Lab {
  /// How the lab is called on this machine, for example `4242a`: the owner's pid and a letter.
  public let name: String
  /// Logs, captures, key files, the hosts' own `/run/wireguard`, and the `enter` script.
  public let directory: String
  /// Which implementation the scenario is about.
  public let implementation: Implementation
  /// Tells the person in front of the screen what happens.
  public let say: @Sendable (String) -> Void
  /// The hosts in the order in which they were made.
  public private(set) var hosts: [Host] = []
  /// How long a scenario that can go on for long shall do so; its own choice without.
  public let minutes: Double?
  /// Whether everything stays for a person to look around.
  let stays: Bool
  /// What has been shown so far.
  private(set) var report = Scenario.Report()
  private var logCount = 0
  private var switches: Set<String> = []
  private(set) var captures: [Capture] = []
  private(set) var guests: [Guest] = []

  private static let letters = Mutex(0)

  private init(
    implementation: Implementation, stays: Bool, minutes: Double?, say: @escaping @Sendable (String) -> Void
  ) throws {
    let number = Self.letters.withLock { number in
      defer { number += 1 }
      return number
    }
    name = "\(getpid())" + LabName.letters(number)
    directory = LabName.directory(name)
    self.implementation = implementation
    self.stays = stays
    self.minutes = minutes
    self.say = say
    try Files.makeDirectory(directory + "/logs")
    if stays { try Files.write("", to: directory + "/kept") }
    try writeEnterScript()
  }

  /// Builds a lab, runs `body` in it and clears it away, whatever happens.
  ///
  /// When `body` throws, the evidence goes to a directory of its own and the error names that. With `stays`, the
  /// namespaces and the programs outlive this process; `Sweep.everything()` removes them.
  public static func open<Result>(
    _ title: String, implementation: Implementation = .wg6, stays: Bool = false, minutes: Double? = nil,
    say: @escaping @Sendable (String) -> Void = { _ in }, _ body: (Lab) throws -> Result
  ) throws -> Result {
    Sweep.abandoned()
    let lab = try Lab(implementation: implementation, stays: stays, minutes: minutes, say: say)
    defer { if !stays { Sweep.clear(lab.name) } }
    do {
      return try body(lab)
    } catch {
      let evidence = Evidence.collect(from: lab, title: title, error: error)
      if stays { lab.explain() }
      throw ScenarioFailed(title: title, reason: error, evidence: evidence)
    }
  }

  /// A new host: a network namespace with nothing but its loopback interface, which is up.
  public func host(_ name: String) throws -> Host {
    let host = Host(name, in: self)
    try command("ip", "netns", "add", host.namespace)
    // The control sockets, the configuration and the journals of each host are its own, as on two real machines.
    for place in LabName.privatePlaces { try Files.makeDirectory(host.privateDirectory(place)) }
    hosts.append(host)
    try host.ip("link", "set", "lo", "up")
    return host
  }

  /// Ends a host's programs and takes it away, where a scenario makes too many to keep them all.
  public func remove(_ host: Host) {
    Sweep.clear(namespaces: [host.namespace])
    Files.remove("\(directory)/hosts/\(host.name)")
    hosts.removeAll { $0 === host }
  }

  /// Joins two hosts by a cable. The ports come up with their addresses, usable at once.
  public func cable(_ first: Port, _ second: Port, mtu: Int = 1500) throws {
    try command(
      "ip", "link", "add", first.interface, "netns", first.host.namespace, "mtu", "\(mtu)",
      "type", "veth", "peer", "name", second.interface, "netns", second.host.namespace, "mtu", "\(mtu)")
    for port in [first, second] { try port.raise() }
    // A fresh veth loses its first neighbour solicitations: who needs the path waits with `Host.reach`.
  }

  /// A switch with the given ports plugged in; it lives in a namespace of its own.
  @discardableResult
  public func plug(_ ports: [Port], into name: String) throws -> Host {
    let device = try hosts.first { $0.name == name } ?? host(name)
    if switches.insert(name).inserted {
      try device.ip("link", "add", "bridge", "type", "bridge")
      try device.ip("link", "set", "bridge", "up")
    }
    for port in ports {
      let plug = String((port.host.name + "-" + port.interface).suffix(15))
      try command(
        "ip", "link", "add", port.interface, "netns", port.host.namespace,
        "type", "veth", "peer", "name", plug, "netns", device.namespace)
      try device.ip("link", "set", plug, "master", "bridge", "up")
      try port.raise()
    }
    return device
  }

  /// Fails the scenario unless `claim` holds.
  public func require(_ condition: Bool, _ claim: String, _ detail: @autoclosure () throws -> String = "") throws {
    guard condition else { throw Disproved(claim: claim, detail: try detail()) }
    report.claimCount += 1
    say("  ✓ \(claim)")
  }

  /// Tells a figure that was measured. The first of a name is the one that a table of many scenarios shows.
  func measured(_ name: String, _ value: String) {
    if !report.figures.contains(where: { $0.name == name }) { report.figures.append((name, value)) }
    say("  · \(name): \(value)")
  }

  /// Says that another implementation cannot take a part in it, and why.
  func cannotBeOthers(_ reason: String) {
    report.wg6Alone = reason
    say("no other implementation can play a part here: \(reason)")
  }

  /// Runs a program outside of any host and returns what it printed; its failure is the scenario's.
  @discardableResult
  public func command(_ words: String..., input: String? = nil, within seconds: Double = 30) throws -> String {
    let program = try start(words, title: words.joined(separator: " "), input: input)
    return try program.wait(within: seconds).orThrow().output
  }

  /// Starts a program of this lab: its streams lead to numbered files under `logs`, and it dies with its owner.
  func start(
    _ words: [String], title: String, environment: [String: String] = [:], input: String? = nil
  ) throws -> Program {
    logCount += 1
    let short = (title.split(separator: " ").first.map(String.init) ?? "program").split(separator: "/").last ?? ""
    let log = "\(directory)/logs/\(String(format: "%04d", logCount))-\(short)"
    let lifeline = stays ? [] : ["setpriv", "--pdeathsig", "KILL"]
    return try Program(lifeline + words, title: title, environment: environment, input: input, output: log)
  }

  func add(_ capture: Capture) { captures.append(capture) }
  func add(_ guest: Guest) { guests.append(guest) }

  /// `enter HOST [COMMAND…]`: what the harness runs its programs through, and what a person types.
  private func writeEnterScript() throws {
    let mounts = LabName.privatePlaces.map { place in
      "mkdir -p \(place); mount --bind \"$here\(place)\" \(place)"
    }
    let script = """
      #!/bin/sh
      # Enters a host of this lab: enter HOST [COMMAND…]. A shell without a command.
      host=${1:-}
      here=\(directory)/hosts/$host
      [ -n "$host" ] && [ -d "$here" ] && shift || { echo "hosts: $(ls \(directory)/hosts | xargs)" >&2; exit 1; }
      [ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"
      exec ip netns exec \(LabName.namespace(name, ""))$host /bin/sh -c '
        here=$1; shift
        \(mounts.joined(separator: "\n  "))
        exec "$@"' sh "$here" "$@"

      """
    try Files.write(script, to: directory + "/enter", mode: 0o755)
  }
}

/// How labs and their parts are called on this machine.
enum LabName {
  static let root = "/run/wg6-lab"
  /// Directories that every host has for itself.
  static let privatePlaces = ["/run/wireguard", "/run/wg6", "/etc/wireguard"]

  static func directory(_ lab: String) -> String { "\(root)/\(lab)" }
  static func namespace(_ lab: String, _ host: String) -> String { "wg6-\(lab)-\(host)" }

  /// The lab that a namespace belongs to, and `nil` when it is none of ours.
  static func lab(ofNamespace namespace: String) -> String? {
    let parts = namespace.split(separator: "-", maxSplits: 2)
    guard parts.count == 3, parts[0] == "wg6", owner(of: String(parts[1])) != nil else { return nil }
    return String(parts[1])
  }

  /// The pid in a lab's name.
  static func owner(of lab: String) -> pid_t? {
    let digits = lab.prefix { $0.isASCII && $0.isNumber }
    let rest = lab.dropFirst(digits.count)
    guard !rest.isEmpty, rest.allSatisfy({ $0.isASCII && $0.isLowercase }) else { return nil }
    return pid_t(digits)
  }

  /// 0 is a, 25 is z, 26 is ba.
  static func letters(_ number: Int) -> String {
    let letter = String(UnicodeScalar(UInt8(97 + number % 26)))
    return number < 26 ? letter : letters(number / 26) + letter
  }
}

/// A scenario that did not hold, and where its evidence lies.
public struct ScenarioFailed: Error, CustomStringConvertible {
  public let title: String
  public let reason: any Error
  public let evidence: String
  public var description: String { "\(title): \(reason)\nevidence: \(evidence)" }
}
