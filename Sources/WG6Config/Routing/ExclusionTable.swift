import WG6Crypto
import WG6Protocol

/// What the interface and its peers exclude, and where that was written.
struct ExclusionTable: Sendable {
  /// An element of ExcludedIPs; `lan` is one for each network.
  struct Element: Sendable {
    let prefix: IPPrefix
    let isLAN: Bool
    let line: Int
  }

  /// Everything that one of them excludes.
  struct Part: Sendable {
    var addresses = PrefixSet()
    var elements: [Element] = []

    var isEmpty: Bool { elements.isEmpty }

    func element(with address: IPAddress) -> Element? {
      guard addresses.contains(address) else { return nil }
      return elements.first { $0.prefix.contains(address) }
    }

    fileprivate mutating func add(_ exclusions: Exclusions, _ lines: ExclusionLines, connected: [IPPrefix]) {
      guard !exclusions.isEmpty else { return }
      elements += zip(exclusions.prefixes, lines.prefixes).map { Element(prefix: $0, isLAN: false, line: $1) }
      if exclusions.includesLAN {
        elements += connected.map { Element(prefix: $0, isLAN: true, line: lines.lan) }
      }
      addresses = PrefixSet(elements.lazy.map(\.prefix))
    }

    fileprivate mutating func add(_ more: [IPAddress]) {
      elements += more.map { Element(prefix: IPPrefix($0), isLAN: false, line: 0) }
      addresses = PrefixSet(elements.lazy.map(\.prefix))
    }
  }

  private(set) var interface = Part()
  /// By the place of a peer's last section in the file; only those that exclude anything.
  private(set) var peers: [Int: Part] = [:]

  /// With `addresses` left out as if [Interface] excluded them, on no line.
  init(_ configuration: ConfigurationFile, connected: [IPPrefix], leavingOut addresses: [IPAddress]) {
    let connected = LocalScope.networks(among: connected, besides: configuration.innerNetworks)
    interface.add(configuration.excludedIPs, configuration.exclusionLines, connected: connected)
    if !addresses.isEmpty { interface.add(addresses) }
    guard configuration.peers.contains(where: { !$0.excludedIPs.isEmpty }) else { return }
    let places = configuration.placesOfPeers
    for (index, peer) in configuration.peers.enumerated() where !peer.excludedIPs.isEmpty {
      peers[places[peer.publicKey] ?? index, default: Part()]
        .add(peer.excludedIPs, peer.exclusionLines, connected: connected)
    }
  }

  var isEmpty: Bool { interface.isEmpty && peers.isEmpty }

  /// The addresses of `range` that `peer` does not get.
  func blocked(for peer: Int, in range: AddressRange, isIPv6: Bool) -> AddressRanges {
    var blocked = interface.addresses[isIPv6].intersection(range)
    if let own = peers[peer] { blocked.formUnion(own.addresses[isIPv6].intersection(range)) }
    return blocked
  }
}
