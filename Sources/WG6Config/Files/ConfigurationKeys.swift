/// The keys of configuration files, as wg(8) and wg-quick(8) spell them, and ours.
enum ConfigurationKeys {
  /// wg's.
  private static let device = ["PrivateKey", "ListenPort", "FwMark"]
  private static let peer = ["PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"]
  /// What wg-quick keeps for itself.
  static let quick = [
    "Address", "DNS", "MTU", "Table", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig",
  ]
  /// What nobody knows but us.
  static let extensions = [
    "ExcludedIPs", "KillSwitch", "ClampMSS", "SpoofGuard", "Multicast", "LinkLocal", "AcceptRA", "RouteSync",
    "RouteSyncFilter", "DeadAfter", "Warnings",
  ]

  /// Of which several add up instead of the last one counting.
  static let repeatable = [
    "Address", "DNS", "PreUp", "PostUp", "PreDown", "PostDown", "AllowedIPs", "ExcludedIPs", "RouteSyncFilter",
    "Warnings",
  ]

  private static let ofPeers = peer + ["ExcludedIPs", "Multicast"]
  private static let ofInterface = device + quick + extensions

  static func known(in section: ConfigurationReader.Section, _ dialect: ConfigurationDialect) -> [String] {
    switch (section, dialect) {
    case (.peer, .plain): peer
    case (.peer, .quick): ofPeers
    case (_, .plain): device
    case (_, .quick): ofInterface
    }
  }

  static func ofOtherSection(_ word: String, section: ConfigurationReader.Section) -> String? {
    known(in: section == .peer ? .interface : .peer, .quick).first { $0.lowercased() == word }
  }

  static func list(_ keys: [String]) -> String {
    keys.dropLast().joined(separator: ", ") + " or " + keys.last!
  }
}

/// What a line has that plain WireGuard and wg-quick do not understand.
enum LanguageExtension: Sendable {
  /// A key of ours.
  case key
  /// `DNS` with domains behind `~`.
  case routingDomains
  /// `Address` with networks that addresses are derived in, as `ula:home`.
  case derivedAddresses
  /// A line that stands for another one, as `LinkLocal = auto`: which, without the comment.
  case line(String)
  /// A value that others spell in another way, as `PublicKey = @name` or `SaveConfig = yes`: how they do.
  case spelling(String)
}
