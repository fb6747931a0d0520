import WG6Protocol

/// `DNS`: who is asked for names, and for which.
public struct ResolverSettings: Hashable, Sendable {
  public var servers: [IPAddress] = []
  /// Tried behind names that have no dot.
  public var searchDomains: [String] = []
  /// Domains whose names are asked of these servers alone, written `~domain`; here without the `~`.
  public var routingDomains: [String] = []

  public init() {}

  public var isEmpty: Bool { servers.isEmpty && searchDomains.isEmpty && routingDomains.isEmpty }
}

/// Commands for the shell, in order; `%i` in them is not yet replaced by the interface's name.
public struct Hooks: Hashable, Sendable {
  public var preUp: [String] = []
  public var postUp: [String] = []
  public var preDown: [String] = []
  public var postDown: [String] = []

  public init() {}

  public var isEmpty: Bool { preUp.isEmpty && postUp.isEmpty && preDown.isEmpty && postDown.isEmpty }
}

/// `ExcludedIPs`: what stays out although AllowedIPs have it.
public struct Exclusions: Hashable, Sendable {
  public var prefixes: [IPPrefix] = []
  /// `lan`: the networks that the machine is directly connected to.
  public var includesLAN = false

  public init() {}

  public var isEmpty: Bool { prefixes.isEmpty && !includesLAN }

  /// Adds what a further line says.
  mutating func add(_ other: Exclusions) {
    prefixes += other.prefixes
    includesLAN = includesLAN || other.includesLAN
  }
}

/// Whether packets that belong into the tunnel may leave outside of it.
public enum KillSwitch: Hashable, Sendable {
  case off
  case on
  /// As `on`, but for the networks that the machine is directly connected to.
  case exceptLAN
}

/// Where exclusions were written.
struct ExclusionLines: Sendable {
  /// Of each prefix.
  var prefixes: [Int] = []
  /// Of the first `lan`; 0 without one.
  var lan = 0

  mutating func add(_ exclusions: Exclusions, _ line: Int) {
    prefixes += repeatElement(line, count: exclusions.prefixes.count)
    if exclusions.includesLAN, lan == 0 { lan = line }
  }
}
