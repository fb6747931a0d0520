import WG6Protocol

/// The addresses that a local network can have: `lan` stands for no others, whatever a DHCP server or a router says.
///
/// A prefix that is on-link is a claim of the network that the machine is in, and so is a route from DHCP (option 121,
/// RFC 3442) or from a router advertisement. Believed without limit, such a claim leads all traffic past a tunnel. Only
/// addresses that mean nothing outside a site are believed.
public enum LocalScope {
  /// Private (RFC 1918), shared (RFC 6598) and link-local (RFC 3927) IPv4; unique local (RFC 4193) and link-local
  /// (RFC 4291 §2.5.6) IPv6. IPv4 first, ascending.
  public static let networks = [
    IPPrefix(.v4(10 << 24), length: 8), IPPrefix(.v4(100 << 24 | 64 << 16), length: 10),
    IPPrefix(.v4(169 << 24 | 254 << 16), length: 16), IPPrefix(.v4(172 << 24 | 16 << 16), length: 12),
    IPPrefix(.v4(192 << 24 | 168 << 16), length: 16), IPPrefix(.v6(high: 0xFC << 56, low: 0), length: 7),
    IPPrefix(.v6(high: 0xFE80 << 48, low: 0), length: 10),
  ]

  /// What stays on the link or in the site without being any network's: link-local addresses, the broadcast address, and
  /// multicast of these scopes.
  ///
  /// Of IPv4 that is the local network control block (RFC 5771 §4) and the local scope, 239.255.0.0/16 (RFC 2365 §6.1). Of
  /// IPv6 the scopes from link-local to site-local, 2 to 5 (RFC 4291 §2.7, RFC 7346 §2), with each combination of flags that
  /// RFC 4291, 3306 and 3956 define. Routers keep these inside the site. Organisation-local groups (239.192.0.0/14, scope
  /// 8) span several sites, the wider ones the internet.
  public static let groups =
    [
      IPPrefix(.v4(169 << 24 | 254 << 16), length: 16), IPPrefix(.v4(224 << 24), length: 24),
      IPPrefix(.v4(239 << 24 | 255 << 16), length: 16), IPPrefix(.v4(.max), length: 32),
      IPPrefix(.v6(high: 0xFE80 << 48, low: 0), length: 10),
    ]
    + [0xFF00, 0xFF10, 0xFF30, 0xFF70].flatMap { (flags: UInt64) in
      (2...5).map { (scope: UInt64) in IPPrefix(.v6(high: (flags | scope) << 48, low: 0), length: 16) }
    }
}

extension LocalScope {
  /// What of `connected`, the networks that a machine is in, is local. What is also in `inner`, the networks of a tunnel's own
  /// addresses, is not: a network outside that has it as well would lead past the tunnel what is for its other end.
  public static func networks(among connected: [IPPrefix], besides inner: [IPPrefix]) -> [IPPrefix] {
    connected.filter(\.isLocalNetwork).flatMap { network in
      guard inner.contains(where: network.overlaps) else { return [network] }
      var rest = PrefixSet([network])
      for prefix in inner { rest.subtract(prefix) }
      return rest.prefixes
    }
  }
}

extension ConfigurationFile {
  /// The networks of the interface's own addresses, which are never local ones outside. An address alone has none.
  public var innerNetworks: [IPPrefix] { addresses.compactMap(\.innerNetwork) }
}

extension InterfaceAddress {
  /// The network that the address is in on its interface; `nil` for an address alone, and for a link-local one.
  public var innerNetwork: IPPrefix? {
    let network = IPPrefix(address, length: prefixLength)
    let isLinkLocal = [LocalScope.networks[2], LocalScope.networks[6]].contains { $0.contains(address) }
    return prefixLength < address.bitWidth && !isLinkLocal ? network : nil
  }
}

extension IPPrefix {
  /// Whether any address is in both.
  public func overlaps(_ other: IPPrefix) -> Bool {
    length <= other.length ? contains(other.address) : other.contains(address)
  }

  /// Whether it lies inside a range that local networks have their addresses from. A wider prefix does not, even where it
  /// has such a range in it.
  public var isLocalNetwork: Bool {
    LocalScope.networks.contains { $0.length <= length && $0.contains(address) }
  }
}
