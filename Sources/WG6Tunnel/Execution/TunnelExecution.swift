import CLinux
import Glibc
import SystemPackage
import WG6Linux
import WG6Protocol

/// Programs that can use nothing but a tunnel, or that bypass it: `wg6 exec`.
///
/// A control group says which programs these are; the kernel marks their sockets, and a rule sends what has the mark to a
/// routing table of its own. Groups, marks, tables and filter follow from the interface's name, so that each of these
/// functions finds what another process made, and no note of it is kept. docs/split-tunnel.md tells the whole of it.
public enum TunnelExecution {
  public enum Way: String, Sendable, CaseIterable {
    case inside, outside

    func mark(of interface: String) -> UInt32 {
      self == .inside ? ExecutionMark.inside(of: interface) : ExecutionMark.outside(of: interface)
    }
  }

  /// Sends this process, and all that it starts, the given way from now on. Changes nothing about it unless all has
  /// succeeded; then the sockets that it makes are the tunnel's, or the machine's without it.
  ///
  /// - Parameter servers: the tunnel's DNS servers.
  public static func enter(_ way: Way, of link: Link, servers: [IPAddress]) throws(ExecutionError) {
    let lock = try lock(link.name)
    defer { lock.release() }
    let groups = try Groups(making: link.name)
    try attempt("mark the sockets of programs (BPF, CONFIG_CGROUP_BPF)") { () throws(Errno) in
      try groups.inside.markSockets(Way.inside.mark(of: link.name))
      try groups.outside.markSockets(Way.outside.mark(of: link.name))
    }
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      try ExecutionRoutes(link: link, way: way).establish(netlink)
    } catch {
      throw ExecutionError("\(error)")
    }
    allowMarkedAnswers(link.name)
    let filter = ExecutionFilter(
      interface: link.name, inside: groups.inside.firewallPath, outside: groups.outside.firewallPath, servers: servers)
    try run(filter.script)
    try attempt("enter the control group") { () throws(Errno) in
      if way == .inside { try groups.inside.join() } else { try groups.outside.join() }
    }
    // Until here the filter's paths had to lead somewhere.
    _ = consume groups
    // A tunnel that went down meanwhile took nothing of this away; its next `down` or `up` does.
    let now: Link?
    do throws(NetlinkError) {
      now = try NetlinkSocket().link(named: link.name)
    } catch {
      throw ExecutionError("\(error)")
    }
    guard now?.index == link.index else { throw ExecutionError("the tunnel went down") }
  }

  /// Puts rules and routes in order again, after a change to the machine's routes or rules or for a new interface of the
  /// same name; for programs that run already. Does nothing where there are none.
  public static func refresh(_ link: Link) throws(ExecutionError) {
    guard isUsed(link.name) else { return }
    let lock = try lock(link.name)
    defer { lock.release() }
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      for way in Way.allCases where Groups.exists(way, of: link.name) {
        try ExecutionRoutes(link: link, way: way).establish(netlink)
      }
    } catch {
      throw ExecutionError("\(error)")
    }
  }

  /// Removes all that was made for programs of a tunnel which is no more, or never was.
  ///
  /// Programs inside that still run are cut off and stay so: what keeps them from other ways goes only when they have
  /// ended, by a later call. Returns whether there are such programs.
  @discardableResult
  public static func remove(interface: String) throws(ExecutionError) -> Bool {
    // The groups go last: without one, nothing else is there.
    guard isUsed(interface) else { return false }
    let lock = try lock(interface)
    defer { lock.release() }
    let runsInside = Groups.runs(.inside, of: interface)
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      try ExecutionRoutes.remove(.outside, of: interface, netlink)
      if !runsInside { try ExecutionRoutes.remove(.inside, of: interface, netlink) }
    } catch {
      throw ExecutionError("\(error)")
    }
    if runsInside {
      let group = try Groups.find(.inside, of: interface)
      try run(ExecutionFilter(interface: interface, inside: group.firewallPath).script)
      // The path led over its descriptor.
      _ = consume group
    } else {
      try run(ExecutionFilter(interface: interface).removal)
    }
    for way in Way.allCases { try Groups.remove(way, of: interface) }
    return runsInside
  }

  /// Waits until nobody else changes what programs have of the tunnel. Not the tunnel's own lock, which `up` holds while
  /// it runs the file's commands, and one of those may be `wg6 exec`.
  private static func lock(_ interface: String) throws(ExecutionError) -> InterfaceLock {
    do throws(Errno) {
      return try InterfaceLock.take(interface, for: .programs, within: 5)
    } catch .wouldBlock {
      throw ExecutionError("another command is sending programs into \(interface) right now")
    } catch {
      throw ExecutionError("lock \(interface): \(error)")
    }
  }

  /// Whether programs were sent into the tunnel or around it since it came up.
  static func isUsed(_ interface: String) -> Bool {
    Way.allCases.contains { Groups.exists($0, of: interface) }
  }

  /// Strict reverse path filters look at the mark of an answer only if told to. What it was before goes into the tunnel's
  /// journal.
  private static func allowMarkedAnswers(_ interface: String) {
    let name = Setup.markedAnswers
    let tunnel = Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
    if var journal = (try? tunnel.readJournal()) ?? nil, !journal.entries.contains(where: { $0.isSetting(name) }) {
      try? tunnel.set(name, to: "1", &journal)
    } else {
      try? Sysctl.set(name, to: "1")
    }
  }

  private static func run(_ script: String) throws(ExecutionError) {
    do throws(FirewallError) {
      try Firewall.run(script)
    } catch {
      throw ExecutionError("\(error)")
    }
  }

  static func attempt<Value: ~Copyable>(
    _ operation: String, _ body: () throws(Errno) -> Value
  ) throws(ExecutionError) -> Value {
    do throws(Errno) {
      return try body()
    } catch {
      throw ExecutionError("\(operation): \(error)")
    }
  }
}

/// Why a program could not be sent its way, in one line.
public struct ExecutionError: Error, Sendable, CustomStringConvertible {
  public let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// The control groups of a tunnel's programs.
private struct Groups: ~Copyable {
  let inside: ControlGroup
  let outside: ControlGroup

  init(making interface: String) throws(ExecutionError) {
    let first = try Groups.make(.inside, of: interface)
    let second = try Groups.make(.outside, of: interface)
    inside = first
    outside = second
  }

  private static func make(_ way: TunnelExecution.Way, of interface: String) throws(ExecutionError) -> ControlGroup {
    do throws(Errno) {
      return try ControlGroup(making: name(way, of: interface))
    } catch .operationNotSupportedByDevice, .noFunction {
      throw ExecutionError("this kernel has no control groups of version 2 (CONFIG_CGROUPS, Linux 5.13)")
    } catch {
      throw ExecutionError("make a control group: \(error)")
    }
  }

  static func exists(_ way: TunnelExecution.Way, of interface: String) -> Bool {
    (try? find(way, of: interface)) != nil
  }

  /// Whether programs of the group run.
  static func runs(_ way: TunnelExecution.Way, of interface: String) -> Bool {
    do {
      return try find(way, of: interface).isPopulated()
    } catch {
      return false
    }
  }

  static func find(_ way: TunnelExecution.Way, of interface: String) throws(ExecutionError) -> ControlGroup {
    try TunnelExecution.attempt("find a control group") { () throws(Errno) in
      try ControlGroup(named: name(way, of: interface))
    }
  }

  /// Leaves a group whose programs run.
  static func remove(_ way: TunnelExecution.Way, of interface: String) throws(ExecutionError) {
    do throws(Errno) {
      _ = try ControlGroup(named: name(way, of: interface)).remove()
    } catch .noSuchFileOrDirectory {
      return
    } catch {
      throw ExecutionError("remove a control group: \(error)")
    }
  }

  private static func name(_ way: TunnelExecution.Way, of interface: String) throws(Errno) -> String {
    "\(interface)-\(try ControlGroup.networkNamespace())-\(way.rawValue)"
  }
}
