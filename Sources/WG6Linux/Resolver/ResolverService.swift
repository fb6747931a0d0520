import Glibc

/// What an interface wants of the system's resolver.
public struct ResolverRequest: Hashable, Sendable {
  /// Addresses of servers, as text.
  public var servers: [String]
  /// Tried behind a name that is not whole.
  public var searchDomains: [String]
  /// Domains of which alone the servers are asked, without `~`; without any they are asked everything.
  public var routingDomains: [String]

  public init(servers: [String], searchDomains: [String] = [], routingDomains: [String] = []) {
    self.servers = servers
    self.searchDomains = searchDomains
    self.routingDomains = routingDomains
  }

  /// Whether it changes nothing. Domains alone do not, as with wg-quick.
  public var isEmpty: Bool { servers.isEmpty }
}

/// Who looks after this machine's name servers.
public enum ResolverService: String, Sendable {
  /// systemd-resolved, told through `resolvectl`.
  case resolved
  /// openresolv or Debian's resolvconf, told through `resolvconf`.
  case resolvconf

  /// What to tell people where `find` finds nobody.
  public static let absence =
    "no service that manages name servers was found; install systemd-resolved, and have it run, or openresolv"

  /// systemd-resolved where it runs, else `resolvconf` where it is installed; `nil` where neither is.
  public static func find() -> ResolverService? {
    ResolverSurroundings.machine.service
  }

  /// Whether it can ask an interface's servers of some domains only. With `resolvconf` all names go to the servers of one
  /// interface, or to every server in turn: neither is what a routing domain says.
  public var keepsRoutingDomains: Bool { self == .resolved }

  /// Throws where it is asked for what it can't do, which `apply` would find out then.
  public func check(_ request: ResolverRequest) throws(ResolverError) {
    guard request.routingDomains.isEmpty || keepsRoutingDomains else {
      throw ResolverError(routingDomains: request.routingDomains)
    }
  }

  /// Has the system's resolver ask the request's servers, in the place of what `interface` asked for before. Changes nothing
  /// where it throws.
  public func apply(_ request: ResolverRequest, to interface: String) throws(ResolverError) {
    try apply(request, to: interface, on: .machine)
  }

  /// Takes back what was asked for `interface`, also where that is gone or never asked for anything.
  public func revert(_ interface: String) throws(ResolverError) {
    try revert(interface, on: .machine)
  }

  func apply(
    _ request: ResolverRequest, to interface: String, on machine: ResolverSurroundings
  ) throws(ResolverError) {
    guard !request.isEmpty else { return }
    switch self {
    case .resolved:
      do throws(ResolverError) {
        try Resolvectl(machine).apply(request, to: interface)
      } catch {
        try? revert(interface, on: machine)
        throw error
      }
    case .resolvconf:
      try check(request)
      do throws(ResolverError) {
        try Resolvconf(machine).apply(request, to: interface)
      } catch {
        // It may have kept what it was told before it failed.
        try? revert(interface, on: machine)
        throw error
      }
    }
  }

  func revert(_ interface: String, on machine: ResolverSurroundings) throws(ResolverError) {
    switch self {
    case .resolved: try Resolvectl(machine).revert(interface)
    case .resolvconf: try Resolvconf(machine).revert(interface)
    }
  }
}

/// Why name servers could not be set.
public struct ResolverError: Error, Sendable, Equatable, CustomStringConvertible {
  public let reason: String

  public var description: String { "DNS: \(reason)" }

  init(_ reason: String) {
    self.reason = reason
  }

  init(routingDomains: [String]) {
    let list = routingDomains.map { "~" + $0 }.joined(separator: ", ")
    self.init(
      "\(list): only systemd-resolved can ask a server about some domains alone, and here resolvconf is in charge; "
        + "install systemd-resolved, or leave the domain out to have the server asked about every name")
  }
}
