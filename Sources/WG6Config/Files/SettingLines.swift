import WG6Protocol

/// Where settings stand in their file, for messages about what a machine makes of them.
public struct SettingLines: Sendable {
  /// The first [Interface].
  public var interface = 1
  /// The first name server, and the first domain behind `~`.
  public var server: Int?
  public var routingDomain: Int?
  /// The first domain of either kind.
  var domain: Int?
  public var listenPort: Int?
  public var killSwitch: Int?
  public var acceptRA: Int?
  var routeSync: Int?
  /// The first of them.
  var routeSyncFilter: Int?
  var deadAfter: Int?
  /// The first command.
  public var hook: Int?
}

extension ConfigurationFile {
  /// The first line that asks for IPv6 on the interface, and what it says: an address of it, or a route to a prefix.
  public var firstIPv6Setting: (line: Int, setting: String)? {
    if let index = addresses.firstIndex(where: \.address.isIPv6) {
      return (addressLines[index], setting(of: index))
    }
    guard table != .off else { return nil }
    for peer in peers {
      for case (.add(let prefix), let line) in zip(peer.allowedIPs, peer.allowedIPLines) where prefix.isIPv6 {
        return (line, "AllowedIPs = \(prefix)")
      }
    }
    return nil
  }
}
