import WG6Linux
import WG6Protocol

/// What one tunnel wants of the packet filter: a table of its own, `inet wg6-IF`, in the language of nft(8).
///
/// Interfaces are matched by name, so the table can stand before the interface does, and goes on standing when the daemon
/// dies and the interface with it.
public struct FirewallRules: Hashable, Sendable {
  /// A name as `ControlSocket.isInterfaceName` has it.
  public var interface: String
  /// The mark of the tunnel's own datagrams.
  public var mark: UInt32?
  /// Another that they may have as well, while the mark is changed.
  public var formerMark: UInt32?
  /// Addresses of the interface that packets may be sent to through it alone: a neighbour could otherwise talk to the inside
  /// of the tunnel.
  public var guardedAddresses: [IPAddress]
  /// Within these prefixes, a packet whose source is routed through the interface must come through it. A prefix of length 0
  /// stands for its whole family.
  public var guardedSources: [IPPrefix]
  /// Other interfaces that have guarded addresses too.
  public var sharers: [Sharer] = []
  /// What the kernel answers to for the networks of the interface's addresses. Known of an interface that is there.
  var groupAddresses: [IPAddress] = []
  /// Routes that lead through the interface and by others too, the longest first. Known of an interface that is there.
  var multipathRoutes: [MultipathRoute] = []
  /// IPv4 sources whose way back past the tunnel `mark` alone shows: questions for this machine's link-layer address that
  /// come from there get the mark.
  var markedQuestions: [IPPrefix] = []
  /// Whether answers to the tunnel's own datagrams get `mark` again, so that reverse path filters find their way.
  public var savesMarks: Bool
  /// Whether the first datagram that a peer sends gets `mark` as well, not only answers. Needs CONFIG_NFT_SOCKET.
  var marksFirstDatagrams = true
  public var killSwitch: KillSwitchRules?
  /// Other tunnels that have default routes: the kill switch lets their datagrams pass, and what goes through them.
  public var others: [OtherTunnel] = []
  /// Whether forwarded TCP connections are told what fits through the interface.
  public var clampsMSS: Bool

  public init(
    interface: String, mark: UInt32? = nil, guardedAddresses: [IPAddress] = [], guardedSources: [IPPrefix] = [],
    savesMarks: Bool = false,
    killSwitch: KillSwitchRules? = nil, clampsMSS: Bool = false
  ) {
    self.interface = interface
    self.mark = mark
    self.guardedAddresses = guardedAddresses
    self.guardedSources = guardedSources
    self.savesMarks = savesMarks
    self.killSwitch = killSwitch
    self.clampsMSS = clampsMSS
  }

  /// Whether there is nothing to filter.
  public var isEmpty: Bool { !hasGuard && !savesMarks && killSwitch == nil && !clampsMSS }

  /// Whether there can be no tunnel without it.
  var isRequired: Bool { killSwitch != nil || clampsMSS }

  /// `wg6-IF`; of what nft takes in no name, `=` and `+`, the code stands there behind a slash.
  public var tableName: String {
    let name = interface.map { character in
      switch character {
      case "=": "/3d"
      case "+": "/2b"
      default: String(character)
      }
    }
    return "wg6-" + name.joined()
  }

  /// Puts the table in the place of the one there may be, in one transaction: no packet sees neither. Removes that where
  /// there is nothing to filter.
  public var script: String {
    isEmpty ? removal : removal + "table inet \(tableName) {\n" + sections.joined(separator: "\n") + "}\n"
  }

  /// Puts other contents into the table, in one transaction, for a table that must not be deleted. It must exist.
  ///
  /// Chains that stay have other rules from one packet to the next. Where a chain takes the place of another, a packet could
  /// pass the new one before it has rules and the old one when it has none any longer.
  var replacement: String {
    var commands = ["flush table inet \(tableName)"]
    var chains: Set<Substring> = []
    for line in sections.joined(separator: "\n").split(separator: "\n") {
      let words = line.split(separator: " ")
      guard line.hasPrefix("  chain ") || line.hasPrefix("  set ") else {
        commands.append(String(line))
        continue
      }
      commands.append("add \(words[0]) inet \(tableName) \(words[1]) {")
      if words[0] == "chain" { chains.insert(words[1]) }
    }
    // To add what is there already changes nothing, and what is there can be deleted.
    let needless = (FirewallRules.chains + KillSwitchRules.chains).filter { !chains.contains($0[...]) }
    let former =
      needless.map { "add chain inet \(tableName) \($0)" }
      + needless.map { "delete chain inet \(tableName) \($0)" }
      + (FirewallRules.setsOfGuard + KillSwitchRules.sets).flatMap { set in
        [
          "add set inet \(tableName) \(set.name) { type \(set.type); flags interval; auto-merge; }",
          "delete set inet \(tableName) \(set.name)",
        ]
      }
    commands.insert(contentsOf: former, at: 1)
    return commands.map { $0 + "\n" }.joined()
  }

  /// Removes a table that exists.
  static func deletion(of name: String) -> String { "delete table inet \(name)\n" }

  /// All chains that a table may have, but for those of the kill switch.
  private static let chains = chainsOfGuard + ["restore-mark", "save-mark", "clamp-mss"]

  private var sections: [String] {
    var sections: [String] = []
    if hasGuard { sections.append(spoofGuard) }
    if savesMarks, let mark { sections.append(marks(mark)) }
    if let killSwitch {
      sections.append(
        killSwitch.sections(
          interfaces: [interface] + others.map(\.interface),
          marks: [mark, formerMark].compactMap { $0 } + others.map(\.mark),
          outsideMark: ExecutionMark.outside(of: interface)))
    }
    if clampsMSS { sections.append(clamp) }
    return sections
  }

  /// Removes the table, whether it exists or not.
  public var removal: String {
    "table inet \(tableName)\ndelete table inet \(tableName)\n"
  }

  /// A mark as nft lists it.
  static func listed(_ mark: UInt32) -> String {
    let digits = String(mark, radix: 16)
    return "meta mark 0x" + String(repeating: "0", count: 8 - digits.count) + digits + " accept"
  }

  /// The marks that a table saves in conntrack, as nft lists it.
  static func savedMarks(in listing: String) -> Set<UInt32> {
    Set(listing.matches(of: /ct mark set 0x([0-9a-f]+)/).compactMap { UInt32($0.1, radix: 16) })
  }

  var quotedInterface: String { "\"\(interface)\"" }

  /// Only datagrams of the tunnel's own flows are marked; marks of others stay as they are. A flow that a peer begins is known
  /// by the socket that it leads to.
  private func marks(_ mark: UInt32) -> String {
    let first =
      marksFirstDatagrams
      ? """
          iifname != \(quotedInterface) meta l4proto udp meta mark != \(mark) fib daddr type local socket mark \(mark) meta mark set \(mark)

      """ : ""
    return """
        chain restore-mark {
          type filter hook prerouting priority -150; policy accept;
          meta l4proto udp ct mark \(mark) meta mark set \(mark)
      \(first)  }
        chain save-mark {
          type filter hook postrouting priority -150; policy accept;
          meta l4proto udp meta mark \(mark) ct mark set \(mark)
        }

      """
  }

  /// `rt mtu` is the smaller of both directions' and only ever lowers what a SYN says.
  private var clamp: String {
    """
      chain clamp-mss {
        type filter hook forward priority -150; policy accept;
        oifname \(quotedInterface) tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
        iifname \(quotedInterface) tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
      }

    """
  }
}

/// A tunnel beside this one that has a default route, and the mark of its own datagrams.
public struct OtherTunnel: Hashable, Sendable {
  public var interface: String
  public var mark: UInt32

  public init(interface: String, mark: UInt32) {
    self.interface = interface
    self.mark = mark
  }
}

extension IPAddress {
  /// The address as numbers, as nft reads it.
  var filterText: String {
    switch self {
    case .v4(let bits): return [24, 16, 8, 0].map { String(bits >> UInt32($0) & 0xFF) }.joined(separator: ".")
    case .v6(let high, let low):
      let groups = [high, low].flatMap { word in [48, 32, 16, 0].map { word >> UInt64($0) & 0xFFFF } }
      return groups.map { String($0, radix: 16) }.joined(separator: ":")
    }
  }
}

extension IPPrefix {
  /// The prefix as nft reads it.
  var filterText: String { "\(address.filterText)/\(length)" }
}
