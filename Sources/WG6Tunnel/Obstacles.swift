import Glibc
import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

/// What keeps a tunnel from coming up and is known before anything is changed. `up` refuses by this list, and `check`
/// prints it.
public struct Obstacle: Sendable {
  public enum Kind: CaseIterable, Sendable {
    case hooks, resolver, routingDomains, ipv6, device, port, firewall, setting
  }

  public let kind: Kind
  /// Of the file.
  public let line: Int
  public let message: String

  /// Whether a PreUp command may remove it: then only what is left after that one counts.
  var isLeftToPreUp: Bool { kind != .hooks }
}

/// What there is to know of a machine before a tunnel comes up on it.
struct Conditions: Sendable {
  var service: ResolverService?
  /// Whether a new interface may have IPv6 addresses.
  var hasIPv6 = true
  /// Why no TUN device can be made.
  var deviceProblem: String?
  /// Why the kernel cannot have firewall rules; found out as root only.
  var firewallProblem: String?
  /// Why the answers of an IPv4 default route's peers would be dropped.
  var settingProblem: String?
  var isPortFree: @Sendable (UInt16) -> Bool = { _ in true }

  /// This machine.
  static func here() -> Conditions {
    Conditions(
      service: .find(), hasIPv6: Conditions.newInterfacesHaveIPv6, deviceProblem: Conditions.tunProblem,
      firewallProblem: Firewall.absence, settingProblem: MarkedAnswers.problem, isPortFree: { Conditions.isFree($0) })
  }

  private static var newInterfacesHaveIPv6: Bool {
    let descriptor = socket(AF_INET6, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    close(descriptor)
    return (try? Sysctl.value(of: "net.ipv6.conf.default.disable_ipv6")) != "1"
  }

  private static var tunProblem: String? {
    let path = "/dev/net/tun"
    let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC)
    if descriptor >= 0 {
      close(descriptor)
      return nil
    }
    let error = Errno(rawValue: errno)
    // A person without rights learns nothing of what root may do.
    if geteuid() != 0, error == .permissionDenied { return nil }
    return "\(path): \(error); 'modprobe tun' makes it, and a container needs '--device \(path)'"
  }

  private static func isFree(_ port: UInt16) -> Bool {
    do throws(Errno) {
      _ = try UDPSockets().open(port: port, mark: 0)
      return true
    } catch {
      return error != .addressInUse
    }
  }
}

extension TunnelFile {
  /// What keeps this file from coming up, in the order of its lines.
  func obstacles(_ conditions: Conditions) -> [Obstacle] {
    var obstacles: [Obstacle] = []
    let lines = configuration.linesOfSettings
    func add(_ kind: Obstacle.Kind, _ line: Int?, _ message: String) {
      obstacles.append(Obstacle(kind: kind, line: line ?? lines.interface, message: message))
    }
    if let hooksProblem, !hooks.isEmpty { add(.hooks, lines.hook, hooksProblem) }
    if !configuration.resolver.servers.isEmpty {
      if let service = conditions.service {
        do {
          try service.check(ResolverRequest(configuration.resolver))
        } catch {
          add(.routingDomains, lines.routingDomain, "\(error)")
        }
      } else {
        add(.resolver, lines.server, "DNS: \(ResolverService.absence)")
      }
    }
    if !conditions.hasIPv6, let (line, setting) = configuration.firstIPv6Setting {
      add(
        .ipv6, line,
        "\(setting): IPv6 is off for new interfaces here (net.ipv6.conf.default.disable_ipv6); "
          + "turn it on, or leave out what is IPv6")
    }
    if let problem = conditions.deviceProblem { add(.device, nil, problem) }
    if let port = configuration.listenPort, port != 0, !conditions.isPortFree(port) {
      add(
        .port, lines.listenPort,
        "ListenPort = \(port) is in use by \(PortHolder.describe(port: port) ?? "another program or tunnel")")
    }
    if let problem = conditions.firewallProblem, configuration.killSwitch != .off || configuration.clampsMSS {
      add(.firewall, configuration.killSwitch != .off ? lines.killSwitch : nil, problem)
    }
    if let problem = conditions.settingProblem, configuration.table == .automatic,
      Coverage(configuration, connected: []).hasDefaultRoute(isIPv6: false)
    {
      add(.setting, nil, problem)
    }
    return obstacles.sorted { $0.line < $1.line }
  }
}

extension Firewall {
  /// What to say where the kernel has no nftables; `nil` where it has, or where only root could tell.
  static var absence: String? {
    guard geteuid() == 0 else { return nil }
    do throws(FirewallError) {
      _ = try hasTable("wg6")
      return nil
    } catch {
      return "\(error)"
    }
  }
}

extension Tunnel {
  /// Everything that is known of `file` before a tunnel comes up from it, and changes nothing: what keeps it from coming
  /// up, and the warnings that `up` prints. `failures` are the endpoints' names that have no address.
  ///
  /// Of a tunnel that is up already, from 'wg6 up', the next thing is a reload: only what concerns that is in it.
  public func review(
    _ file: TunnelFile, endpoints: [EndpointName: Endpoint], failures: [FileMistake]
  ) throws(TunnelError) -> (mistakes: [FileMistake], warnings: [FileMistake]) {
    let isRoot = geteuid() == 0
    let netlink = try openNetlink()
    let link = try link(netlink)
    let isOurs = link != nil && (!isRoot || ((try? readJournal())?.contains(.complete) ?? false))
    var mistakes = file.obstacles(.here()).filter { !isOurs || ![.device, .port].contains($0.kind) }.map { obstacle in
      FileMistake(file: file.shownPath, line: obstacle.line, message: obstacle.message)
    }
    if !isOurs, isRoot {
      do throws(TunnelError) {
        try requireAbsence(clearing: false)
      } catch {
        mistakes.append(
          FileMistake(
            file: file.shownPath, line: file.configuration.linesOfSettings.interface,
            message: "\(interface): \(error)"))
      }
    }
    var warnings: [FileMistake] = []
    if file.configuration.killSwitch == .off {
      warnings += file.configuration.withoutSilent(
        failures.map { FileMistake(file: $0.file, line: $0.line, message: $0.message, warning: .unknownName) })
    } else {
      mistakes += failures.map {
        FileMistake(file: $0.file, line: $0.line, message: "\($0.message); \(TunnelFile.needOfNames)")
      }
    }
    let setup: Setup
    do {
      let machine = try Machine.this(netlink, link: link, mark: 0, taken: [])
      setup = try Setup(file.configuration, interface: interface, endpoints: endpoints, machine: machine)
    } catch {
      throw TunnelError(error)
    }
    return (mistakes, warnings + self.warnings(of: file, setup, endpoints))
  }

  /// Refuses a file that cannot come up here. `commands` says that PreUp has commands that are still to run.
  func refuse(_ file: TunnelFile, beforePreUp commands: Bool) throws(TunnelError) {
    let obstacles = file.obstacles(.here()).filter { !commands || !$0.isLeftToPreUp }
    if obstacles.isEmpty { return }
    let lines = obstacles.map { "\(file.shownPath):\($0.line): \($0.message)" }
    throw TunnelError(lines.joined(separator: "\n\(interface): "))
  }

  /// What is to be said of a file on this machine, and stops nothing.
  func warnings(
    of file: TunnelFile, _ setup: Setup, _ endpoints: [EndpointName: Endpoint]
  ) -> [FileMistake] {
    let configuration = file.configuration
    var warnings = file.findings(setup.coverage, endpoints)
    if setup.firewall.hasGuard, !setup.firewall.isRequired, let problem = Firewall.absence {
      warnings += configuration.withoutSilent([
        FileMistake(
          file: file.shownPath, line: configuration.linesOfSettings.interface,
          message: "\(problem); other networks can send to the tunnel's addresses", warning: .noSpoofGuard)
      ])
    }
    if let warning = setup.mtuWarning {
      warnings += configuration.withoutSilent([
        FileMistake(
          file: file.shownPath, line: configuration.linesOfSettings.interface, message: warning, warning: .narrowPath)
      ])
    }
    warnings += configuration.withoutSilent(
      setup.foreignNetworkWarnings.map {
        FileMistake(
          file: file.shownPath, line: configuration.lineOfLAN ?? configuration.linesOfSettings.interface, message: $0,
          warning: .foreignNetwork)
      })
    return warnings
  }
}

extension Setup {
  /// What is on-link, or behind a router of the network that the machine is in, and not believed.
  fileprivate var foreignNetworkWarnings: [String] {
    var warnings: [String] = []
    if let first = foreign.connected.first {
      warnings.append(
        "lan does not stand for \(IPPrefix.list(foreign.connected)): this machine is in it, but only private and "
          + "link-local networks are local. It stays in the tunnel; ExcludedIPs = \(first) leaves it outside")
    }
    if !inTheTunnel.isEmpty {
      warnings.append(
        "this machine is in \(IPPrefix.list(inTheTunnel)), which the network of an Address overlaps: lan does not stand for "
          + "what both have, and it stays in the tunnel")
    }
    if let first = foreign.routed.first {
      warnings.append(
        "the main table's way to \(IPPrefix.list(foreign.routed)) is not taken: with lan its routes to local networks "
          + "count, and no others. It stays in the tunnel; ExcludedIPs = \(first) leaves it outside")
    }
    return warnings
  }
}

extension IPPrefix {
  /// The first few, and how many there are besides.
  static func list(_ prefixes: [IPPrefix]) -> String {
    let shown = prefixes.prefix(4).map(\.description).joined(separator: ", ")
    return prefixes.count > 4 ? "\(shown) and \(prefixes.count - 4) more" : shown
  }
}
