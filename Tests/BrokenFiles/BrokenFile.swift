import WG6Config

/// A configuration file with mistakes on known lines.
public struct BrokenFile: Sendable {
  public let text: String
  /// The first mistake's line, from 1.
  public let line: Int
  /// What its message must hold.
  public let mention: String
  public var secret: String?
  public var dialect = ConfigurationDialect.quick

  public static let privateKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
  public static let publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

  /// A wrong line in [Interface], behind a comment and a blank line.
  static func interface(_ wrong: String, mention: String, secret: String? = nil, dialect: ConfigurationDialect = .quick)
    -> BrokenFile
  {
    BrokenFile(
      text: "# A tunnel\n\n[Interface]\nPrivateKey = \(privateKey)\n\(wrong)\n\n[Peer]\nPublicKey = \(publicKey)\n",
      line: 5,
      mention: mention, secret: secret, dialect: dialect)
  }

  /// A wrong line in the second [Peer].
  static func peer(_ wrong: String, mention: String, secret: String? = nil, dialect: ConfigurationDialect = .quick)
    -> BrokenFile
  {
    BrokenFile(
      text: """
        [Interface]
        PrivateKey = \(privateKey)
        [Peer]
        PublicKey = \(publicKey)
        AllowedIPs = 10.0.0.0/8
        [Peer] # the second
        PublicKey = gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=
        \(wrong)
        """, line: 8, mention: mention, secret: secret, dialect: dialect)
  }
}

extension BrokenFile {
  public static let all: [BrokenFile] =
    structure + keys + numbers + addresses + tables + allowedIPs + endpoints + quick + unknown + misplaced + plain

  static let structure: [BrokenFile] =
    [
      BrokenFile(
        text: "[Interface]".utf16.map { "\(Unicode.Scalar(UInt8($0)))\0" }.joined(), line: 1, mention: "text in UTF-16"),
      BrokenFile(text: "", line: 1, mention: "no [Interface]"),
      BrokenFile(text: "# nothing\n", line: 1, mention: "no [Interface]"),
      BrokenFile(text: "[Peer]\nPublicKey=\(publicKey)", line: 2, mention: "no [Interface]"),
      BrokenFile(text: "PrivateKey = \(privateKey)\n[Interface]\n", line: 1, mention: "before any section"),
      BrokenFile(text: "\n\nListenPort = 1\n[Interface]\n", line: 3, mention: "ListenPort"),
      BrokenFile(text: "[Interface]\n[Peer]\n", line: 2, mention: "without PublicKey"),
      BrokenFile(
        text: "[Interface]\n[Peer]\nAllowedIPs=::/128\n\n[Peer]\nPublicKey=\(publicKey)", line: 2,
        mention: "without PublicKey"),
      BrokenFile(text: "[Interface]\nPrivateKey=\(privateKey)\n\0\n", line: 3, mention: "NUL"),
      BrokenFile(
        text: "[Interface]\nPrivateKey=\(privateKey)\n[Peer]\nPublicKey=HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n",
        line: 4,
        mention: "this interface itself"),
      BrokenFile(
        text:
          "[Interface]\n[Peer]\n  PublicKey=HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n[Interface]\nPrivateKey=\(privateKey)\n",
        line: 3, mention: "this interface itself"),
    ]
    + ["[Peers]", "[Interfaces]", "[interface", "[]", "[Peer]]", "[Inter face x]", "[Peer] x"].map {
      BrokenFile(text: "[Interface]\n\($0)\nanything = 1", line: 2, mention: "expected [Interface] or [Peer]")
    }
    + [
      BrokenFile(
        text: "[Interface]\n[Pe\(privateKey)er]\n", line: 2, mention: "look like a key", secret: privateKey),
      BrokenFile(
        text: "[Interface]\n[\(privateKey.prefix(20)).\(privateKey.dropFirst(20))]\n", line: 2,
        mention: "look like a key",
        secret: String(privateKey.dropFirst(20))),
    ]
    + ["nonsense", "Interface]", "MTU 1420", "ListenPort: 51820", "; a comment"].map {
      .interface($0, mention: "without '='")
    }
    + ["nonsense", "PublicKey", "// a comment", privateKey.dropLast().description].map {
      .peer($0, mention: "without '='", secret: $0.count > 20 ? $0 : nil)
    }

  static let keys: [BrokenFile] = {
    let stem = String(privateKey.dropLast())
    let wrong = [
      "", "=", "abc", stem, "\(stem)= =", "\(privateKey)A", "\(privateKey)\(privateKey)", "\(stem.dropLast())!=",
      "\(stem.dropLast())l=",
      "-\(stem.dropFirst())=", "\(stem.dropLast())_=", String(repeating: "0", count: 64), "@", "\"\(privateKey)\"",
    ]
    return wrong.flatMap { value -> [BrokenFile] in
      let secret = value.count > 12 ? String(value.prefix(12)) : nil
      return [
        BrokenFile(text: "[Interface]\nPrivateKey = \(value)\n", line: 2, mention: "PrivateKey", secret: secret),
        .peer("PresharedKey = \(value)", mention: "PresharedKey", secret: secret),
        .peer("PublicKey = \(value)", mention: "PublicKey", secret: secret),
      ]
    } + ["@nobody", "@lap/top", "@\(privateKey)"].map { .peer("PublicKey = \($0)", mention: "PublicKey = @") }
  }()

  static let numbers: [BrokenFile] =
    ["", "-1", "65536", "99999999999999999999", "1.5", "0x50", "no-such-service", "51820,51821", "51820;"].map {
      .interface("ListenPort = \($0)", mention: "ListenPort")
    }
    + ["", "-1", "on", "4294967296", "0x100000000", "0xg", "0x", "1 2 x"].map {
      .interface("FwMark = \($0)", mention: "FwMark")
    }
    + ["0", "67", "65536", "-1420", "auto", "1420b", "1e3", "0x"].map { .interface("MTU = \($0)", mention: "MTU") }
    + ["", "-1", "65536", "on", "25s", "2.5", "0x19", "1,2"].map {
      .peer("PersistentKeepalive = \($0)", mention: "PersistentKeepalive")
    }

  static let addresses: [BrokenFile] = [
    "10.0.0", "10.0.0.256/24", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/24/24",
    "10.0.0.1/255.0.255.0", "10.0.0.1/255.255.255", "fd00::1/ffff::", "fd00::/129",
    "fd00::g/64", "fd00::1::2/64", "fe80::1%eth0/64", "[fd00::1]/64", "example.org", "0.0.0.0/8", "::/64",
    "224.0.0.1/4", "ff02::1/128",
    "10.0.0.1/24, nonsense", "10.0.0.1/24, 10.0.0.1/24", "fd00::1/64, fd00::1/128", "dhcp",
  ].map { .interface("Address = \($0)", mention: "Address") }

  static let tables: [BrokenFile] =
    ["0", "on", "-1", "4294967296", "auto,off", "0xz", "no-such-table", "MAIN"].map {
      .interface("Table = \($0)", mention: "Table")
    }

  static let allowedIPs: [BrokenFile] =
    [
      ",", "10.0.0.0/8,", ",10.0.0.0/8", "10.0.0.0/8,,fd00::/8", "10.0.0/8", "10.0.0.0.0/8", "256.0.0.0/8",
      "10.0.0.0/33",
      "10.0.0.0/",
      "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.0-10.0.0.9", "fd00::/129", "fd00:/8", "fd00::g/8",
      "[fd00::]/8", "fe80::1%lo",
      "example.org", "all", "+", "-", "+-10.0.0.0/8", "/0", "0.0.0.0/0, -192.168.0.0/16", "-fd00::/8",
      "10.0.0.0/8;fd00::/8", "0/0",
    ].map { .peer("AllowedIPs = \($0)", mention: "AllowedIPs") }
    + [
      .peer("AllowedIPs = ::/0,  - 192.168.0.1/16", mention: "; ExcludedIPs = 192.168.0.0/16 keeps that outside"),
      .peer("AllowedIPs = 10.0.0.0 / 33", mention: "AllowedIPs = 10.0.0.0 / 33,"),
      .peer("Endpoint = vpn. example.org", mention: "Endpoint = vpn. example.org,"),
      .peer("PersistentKeepalive = 25 s", mention: "PersistentKeepalive = 25 s,"),
      .interface("FwMark = 1 x", mention: "FwMark = 1 x,"), .interface("MTU = 14 20 b", mention: "MTU = 14 20 b,"),
      .interface("Table = no such", mention: "Table = no such,"),
      .interface("SaveConfig = ja  bitte", mention: "SaveConfig = ja  bitte,"),
      .interface("ListenPort = 51 820 x", mention: "ListenPort = 51 820 x,"),
    ]

  static let endpoints: [BrokenFile] = [
    "", ":", "1.2.3.4", "1.2.3.4:", ":51820", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:70000", "1.2.3.4:no-such-service",
    "1.2.3:51820",
    "256.2.3.4:51820", "192.168.008.001:51820", "0400.1.2.3:51820", "1.2.3.4.5:51820", "example.org", "example.org:",
    "exa mple!.org:51820", "exämple.org:51820",
    "[2001:db8::1]",
    "[2001:db8::1]:", "[2001:db8::1]:0", "[2001:db8::1]51820", "[2001:db8::1:51820", "[2001:db8::g]:51820", "[]:51820",
    "[fe80::1%]:51820",
    "[2001:db8::1%eth0]:51820", "2001:db8::1", "2001:db8:51820", "udp://1.2.3.4:51820",
    "[fe80::1%interface-name-too-long]:1", "[fe80::1%\u{E9}th0]:1", "[fe80::1%eth/0]:1",
  ].map { .peer("Endpoint = \($0)", mention: "Endpoint") }

  static let quick: [BrokenFile] =
    [
      "1.1.1", "1.1.1.1.1", "1.1.1.256", "1.1.1.1, 2001:db8::g", "fe80::1%", "fd00::1%eth0", "fe80::1%eth/0",
      "1.1.1.1%eth0:", "~", "~exa$mple", "exa/mple", ".1",
      "~~a",
    ]
    .map { .interface("DNS = \($0)", mention: "DNS") }
    + ["", "1", "ye s!", "truefalse", "lan"].map { .interface("SaveConfig = \($0)", mention: "yes or no") }
    + ["", "1", "lan yes", "local", "offon"].map { .interface("KillSwitch = \($0)", mention: "yes, no or lan") }
    + ["", "1", "lan"].map { .interface("ClampMSS = \($0)", mention: "yes or no") }
    + ["", "1", "lan"].map { .interface("SpoofGuard = \($0)", mention: "yes or no") }
    + ["", "1", "lan"].flatMap { value -> [BrokenFile] in
      [.interface("Multicast = \(value)", mention: "yes or no"), .peer("Multicast = \(value)", mention: "yes or no")]
    }
    + ["", "1", "lan"].map { .interface("AcceptRA = \($0)", mention: "yes or no") }
    + ["", "1", "yes", "fe80::1"].map { .interface("LinkLocal = \($0)", mention: "auto or no") }
    + ["ula:", "ula:a/64", "ula:a!", "ula:\(String(repeating: "a", count: 64))"].map {
      .interface("Address = \($0)", mention: "behind 'ula:'")
    }
    + ["ula:a, ula:A", "ula:a 10.0.0.1, ula:a"].map { .interface("Address = \($0)", mention: "each network once") }
    + ["", "1", "lan"].map { .interface("RouteSync = \($0)", mention: "yes or no") }
    + ["", ",", "lan", "10.0.0.0/33", "::/129"].map {
      .interface("RouteSyncFilter = \($0)", mention: "RouteSyncFilter")
    }
    + ["", "-1", "3601", "3s", "on"].map { .interface("DeadAfter = \($0)", mention: "off or seconds") }
    + ["", ",", "one-family", "+one-family", "-", "off"].map {
      .interface("Warnings = \($0)", mention: "Warnings")
    }
    + [.interface("Warnings = -one-famly", mention: "-one-family, perhaps")]
    + [
      "", ",", "wan", "lan!", "10.0.0.0/33", "10.0.0/8", "-10.0.0.0/8", "fd00::g", "example.org", "10.0.0.0/255.0.0.0",
    ]
    .flatMap { value -> [BrokenFile] in
      [
        .interface("ExcludedIPs = \(value)", mention: "ExcludedIPs"),
        .peer("ExcludedIPs = \(value)", mention: "ExcludedIPs"),
      ]
    }
    + ["PreUp", "PostUp", "PreDown", "PostDown"].map { .interface($0, mention: "without '='") }
    + [.interface("ExcludedIPs = \(privateKey)", mention: "look like a key", secret: privateKey)]

  static let unknown: [BrokenFile] =
    [
      ("Adress = 10.0.0.1", "Address, perhaps"), ("ListenPorts = 1", "ListenPort, perhaps"),
      ("Private = x", "'Private'"),
      ("PrivatKey = x", "PrivateKey, perhaps"), ("FirewallMark = 1", "'FirewallMark'"), ("MUT = 1420", "MTU, perhaps"),
      ("Tabel = off", "Table, perhaps"), ("ExcludeIPs = lan", "ExcludedIPs, perhaps"),
      ("Killswitch2 = yes", "KillSwitch, perhaps"), ("PosUp = true", "PostUp, perhaps"),
      ("ExludedIP = lan", "ExcludedIPs, perhaps"), ("Jc = 4", "'Jc'"), ("Name = home", "'Name'"),
      ("= 1", "unknown key"),
      ("Key! = 1", "unknown key"),
    ].map { .interface($0.0, mention: $0.1) }
    + [
      ("AlowedIPs = 10.0.0.0/8", "AllowedIPs, perhaps"), ("AllowedIP = 10.0.0.0/8", "AllowedIPs, perhaps"),
      ("EndPonit = 1.2.3.4:5", "Endpoint, perhaps"), ("PublicKye = x", "PublicKey, perhaps"),
      ("PreSharedKeys = x", "PresharedKey, perhaps"),
      ("KeepAlive = 25", "'KeepAlive'"), ("PersistentKeepAlives = 25", "PersistentKeepalive, perhaps"),
      ("Name = laptop", "'Name'"),
      ("\(privateKey)", "unknown key"), ("Sécret = 1", "unknown key"),
    ].map { .peer($0.0, mention: $0.1) }

  static let misplaced: [BrokenFile] =
    [
      "PublicKey = \(publicKey)", "AllowedIPs = 10.0.0.0/8", "Endpoint = 1.2.3.4:5", "PersistentKeepalive = 25",
      "PresharedKey = x",
    ].map {
      .interface($0, mention: "expected it in [Peer]")
    }
    + [
      "PrivateKey = \(privateKey)", "ListenPort = 1", "FwMark = 1", "Address = 10.0.0.1", "MTU = 1420", "Table = off",
      "DNS = 1.1.1.1", "KillSwitch = yes", "ClampMSS = yes", "SpoofGuard = no", "LinkLocal = auto", "AcceptRA = yes",
      "PostUp = true", "SaveConfig = true",
    ].map {
      .peer($0, mention: "expected it in [Interface]")
    }

  static let plain: [BrokenFile] =
    [
      "Address = 10.0.0.1/24", "MTU = 1420", "Table = off", "DNS = 1.1.1.1", "PostUp = true", "SaveConfig = true",
      "ExcludedIPs = lan", "KillSwitch = yes", "LinkLocal = auto", "AcceptRA = no",
    ].map {
      .interface($0, mention: "only 'up' knows", dialect: .plain)
    }
    + [.peer("ExcludedIPs = lan", mention: "only 'up' knows", dialect: .plain)]
    + ["AllowedIPs = 10.0.0.0/33", "Endpoint = nowhere", "Nonsense = 1"].map {
      .peer($0, mention: String($0.prefix { $0 != " " }), dialect: .plain)
    }
}
