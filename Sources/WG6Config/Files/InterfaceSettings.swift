import WG6Protocol

/// `DNS`: who is asked for names, and for which.
public struct ResolverSettings: Hashable, Sendable {
  public var servers: [NameServer] = []
  /// Tried behind names that have no dot.
  public var searchDomains: [String] = []
  /// Domains whose names are asked of these servers alone, written `~domain`; here without the `~`.
  public var routingDomains: [String] = []

  public init() {}

  public var isEmpty: Bool { servers.isEmpty && searchDomains.isEmpty && routingDomains.isEmpty }
}

/// A name server: an address and, where it is link-local, perhaps the interface that it is on.
public struct NameServer: Hashable, Sendable, CustomStringConvertible {
  public let address: IPAddress
  public let zone: String?

  public init(_ address: IPAddress, zone: String? = nil) {
    self.address = address
    self.zone = zone
  }

  /// Reads `192.0.2.53`, `2001:db8::53` or `fe80::1%eth0`.
  init?(_ text: RawSpan) {
    let percent = text.firstIndex(of: UInt8(ascii: "%")) ?? text.byteCount
    guard let address = IPAddress(text: text.extracting(0..<percent)) else { return nil }
    self.address = address
    guard percent < text.byteCount else {
      zone = nil
      return
    }
    let name = text.extracting(percent + 1..<text.byteCount)
    guard address.isLinkLocal, EndpointName.isInterface(name) else { return nil }
    zone = name.string
  }

  public init?(_ text: String) {
    unsafe self.init(Array(text.utf8).span.bytes)
  }

  public var description: String { zone.map { "\(address)%\($0)" } ?? "\(address)" }
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
  /// `lan`: the local networks that the machine is directly connected to.
  public var includesLAN = false

  public init() {}

  public var isEmpty: Bool { prefixes.isEmpty && !includesLAN }

  /// Adds what a further line says.
  mutating func add(_ other: Exclusions) {
    prefixes += other.prefixes
    includesLAN = includesLAN || other.includesLAN
  }
}

extension ConfigurationFile {
  /// Whether packets to the local networks are kept out of the tunnel, for one peer or for all.
  public var excludesLAN: Bool { excludedIPs.includesLAN || peers.contains { $0.excludedIPs.includesLAN } }

  /// The first line that says `lan`; `nil` without one.
  public var lineOfLAN: Int? {
    let lines = [exclusionLines.lan] + peers.map(\.exclusionLines.lan)
    return lines.first { $0 > 0 } ?? (killSwitch == .exceptLAN ? linesOfSettings.killSwitch : nil)
  }
}

/// Whether packets that belong into the tunnel may leave outside of it.
public enum KillSwitch: Hashable, Sendable {
  case off
  case on
  /// As `on`, but for the local networks that the machine is directly connected to.
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
