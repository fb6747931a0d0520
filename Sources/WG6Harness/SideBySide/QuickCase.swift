import Foundation

/// A configuration file as wg-quick takes it, and the machine that it is brought up on.
struct QuickCase: Sendable {
  let name: String
  /// The file, whole.
  let text: String
  /// What the machine's own network is, as lines for `ip -batch`.
  let network: [String]
  /// Done while the tunnel is up, in shell.
  var meanwhile = ""
  /// The MTU that wg6 gives the interface, where that is not wg-quick's.
  var mtu: Int?
  /// Who may do what with the file.
  var mode = "600"
  /// What the interface is called.
  var interface = QuickCase.interface
  /// The endpoints' addresses.
  let endpoints: [Prefix]

  static let interface = "wgq"

  /// An [Interface] section with a private key and these lines, and a [Peer] section for each of `peers` with a key of its
  /// own: `{b}` is the second's. `{psk}` is a preshared key.
  init(
    _ name: String, _ interface: String = "", _ peers: String..., on network: Network = .both, more: [String] = [],
    meanwhile: String = "", mtu: Int? = nil
  ) {
    let sections = peers.enumerated().map { "[Peer]\nPublicKey = \(Self.publicKey($0.offset))\n\($0.element)\n" }
    self.init(
      name, file: "[Interface]\nPrivateKey = \(Self.privateKey)\n\(interface)\n\n" + sections.joined(separator: "\n"),
      on: network, more: more, meanwhile: meanwhile, mtu: mtu)
  }

  /// The same with the file written out: `{private}`, `{a}`, `{b}`, `{c}` and `{psk}` are keys.
  init(
    _ name: String, file: String, on network: Network = .both, more: [String] = [], meanwhile: String = "",
    mtu: Int? = nil
  ) {
    self.name = name
    text = Self.withKeys(file)
    self.network = network.lines + more
    self.meanwhile = Self.withKeys(meanwhile)
    self.mtu = mtu
    let names = ["four.example": "203.0.113.5", "six.example": "2001:db8:5::5"]
    endpoints = file.split(separator: "\n").filter { $0.hasPrefix("Endpoint = ") }.compactMap { line in
      let value = line.dropFirst("Endpoint = ".count)
      let host = String(value[..<(value.lastIndex(of: ":") ?? value.endIndex)].filter { !"[]".contains($0) })
      return Prefix(names[host] ?? host)
    }
  }

  /// The same under another name of the interface, or with other rights to the file.
  func called(_ interface: String = QuickCase.interface, mode: String = "600") -> QuickCase {
    var other = self
    other.interface = interface
    other.mode = mode
    return other
  }

  /// The same file under another name, on another network.
  func on(_ network: Network, _ suffix: String, mtu: Int?) -> QuickCase {
    QuickCase("\(name), \(suffix)", file: text, on: network, meanwhile: meanwhile, mtu: mtu)
  }

  /// The machine's uplink.
  enum Network: Sendable {
    case both, v4Only, v6Only, isolated
    /// Both families, on a link with this MTU.
    case mtu(Int)

    /// Both ends of a cable in one namespace: nobody is there, but routes lead there. The same hardware addresses each
    /// time make the same link-local addresses.
    var lines: [String] {
      var size = 1500
      if case .mtu(let other) = self { size = other }
      var lines = [
        "link add wan address 02:00:00:00:00:01 mtu \(size) type veth peer name far address 02:00:00:00:00:02 mtu \(size)",
        "link set far up", "link set wan up",
      ]
      if case .v6Only = self {} else { lines.append("addr add 198.51.100.2/24 dev wan") }
      if case .v4Only = self {} else { lines.append("addr add 2001:db8:100::2/64 dev wan nodad") }
      switch self {
      case .v4Only: lines.append("route add default via 198.51.100.1")
      case .v6Only: lines.append("route add default via 2001:db8:100::1")
      case .isolated: break
      case .both, .mtu:
        lines += ["route add default via 198.51.100.1", "route add default via 2001:db8:100::1"]
      }
      return lines
    }
  }

  /// For /etc/hosts.
  static let hosts = "127.0.0.1 localhost\n203.0.113.5 four.example\n2001:db8:5::5 six.example\n"

  /// Keys of no secrecy whatever: 32 times one byte.
  static let privateKey = key(0x48)
  /// Of `privateKey`.
  static let ownPublicKey = "kXeyMnjL8PPRfDbyrMm1XpyF+HsiClOG7DcNZj4g4zc="
  static func publicKey(_ index: Int) -> String { key(UInt8(index + 3)) }

  private static func key(_ byte: UInt8) -> String {
    Data(repeating: byte, count: 32).base64EncodedString()
  }

  private static func withKeys(_ text: String) -> String {
    text.replacing("{private}", with: privateKey).replacing("{own}", with: ownPublicKey).replacing(
      "{psk}", with: key(0x70)
    )
    .replacing("{a}", with: publicKey(0)).replacing("{b}", with: publicKey(1)).replacing("{c}", with: publicKey(2))
  }
}
