/// Whose data plane is measured.
public enum Contender: String, CaseIterable, Codable, Sendable {
  /// Ours, with the cipher that it chooses for this machine.
  case wg6
  /// Ours, with libsodium's.
  case wg6Sodium = "wg6-sodium"
  /// Debian's wireguard-go: the yardstick that everybody can install.
  case wireguardGo = "wireguard-go"
  /// The cable itself, without a tunnel: the limit.
  case plain

  /// Whom the others' ratios are to.
  static let yardstick = wireguardGo

  /// As a table's heading.
  var title: String {
    switch self {
    case .wg6: "wg6"
    case .wg6Sodium: "wg6, libsodium"
    case .wireguardGo: "wireguard-go"
    case .plain: "no tunnel"
    }
  }

  var implementation: Implementation? {
    switch self {
    case .wg6, .wg6Sodium: .wg6
    case .wireguardGo: .wireguardGo
    case .plain: nil
    }
  }

  /// What its daemons find in their environment besides what is in ours.
  var environment: [String: String] { self == .wg6Sodium ? ["WG6_CIPHER": "sodium"] : [:] }
}
