import BrokenFiles
import Foundation
import WG6Simulation

/// Inputs to begin with, for targets whose inputs chance alone would take long to find.
enum Seeds {
  /// Writes each target's under `directory`/TARGET.
  static func write(under directory: String) throws {
    let seeds: [String: [[UInt8]]] = [
      "config": configurations, "control": requests.map { Array($0.utf8) }, "packet": packets,
      "offload": superPackets + plays,
      "addresses": addresses.map { Array($0.utf8) }, "keys": keys, "message": plays, "allowedips": plays,
      "capture": captures,
    ]
    for (target, inputs) in seeds {
      let place = URL(fileURLWithPath: directory).appendingPathComponent(target)
      try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
      for (number, input) in inputs.enumerated() {
        try Data(input).write(to: place.appendingPathComponent("seed-\(number)"))
      }
    }
  }

  private static var configurations: [[UInt8]] {
    let broken = BrokenFile.all.map { [$0.dialect == .quick ? 0 : 1] + Array($0.text.utf8) }
    let examples = ["cafe", "home"].compactMap {
      try? Data(contentsOf: URL(fileURLWithPath: "Examples/\($0)/wgnet.conf"))
    }
    let full = """
      [interface]
        privatekey=\(BrokenFile.privateKey)
      Address = 10.192.122.1/24, fd00::1/64 2001:db8::1
      LISTENPORT = 51820 # here
      FwMark = 0xCa6c
      MTU = 1380
      Table = 0x10
      DNS = 192.0.2.53, 2001:db8::53 corp.example,~a.example
      PreUp = true
      PostUp = echo "%i" = %i # not this
      PreDown = a
      PostDown = b
      SaveConfig = true
      KillSwitch = lan
      ClampMSS = yes
      SpoofGuard = no
      Multicast = on
      LinkLocal = auto
      AcceptRA = yes
      Address = ula:home # and in the network of a name
      RouteSync = yes
      RouteSyncFilter = 2001:db8::/32, 10.0.0.0/8
      DeadAfter = 3
      ExcludedIPs = lan, 10.192.124.128/25
      [Peer]
      ExcludedIPs = fd00::/9 ::/1
      Multicast = off
      PublicKey = \(BrokenFile.publicKey)
      PresharedKey = \(BrokenFile.privateKey)
      AllowedIPs = 10.192.122.3/32, 10.192.124.1/24,fd00::3
      AllowedIPs = ::/0, 0.0.0.0/0
      AllowedIPs = +fd00::/8,-10.0.0.0/8
      Endpoint = vpn.example.org:51820
      PersistentKeepalive = off
      [PEER]\r
      PublicKey = @laptop
      Endpoint = [fe80::1%eth0]:1234
      PersistentKeepalive = 25
      """
    return broken + examples.map { [0] + Array($0) } + [[0] + Array(full.utf8)]
  }

  private static let key = String(repeating: "ab", count: 32)

  private static let requests = [
    "get=1\n\n", "drops=1\n\n", "keylog=1\n\n",
    "capture=1\npublic_key=\(key)\nprefix=fd00::/8\nprotocol=6\ndrops=true\n\n", "set=1\n\n", "set=2\n\n",
    "nonsense\n\n",
    "set=1\nprivate_key=\(key)\nlisten_port=51820\nfwmark=0x20\nreplace_peers=true\n\n",
    """
    set=1
    private_key=\(String(repeating: "0", count: 64))
    public_key=\(key)
    update_only=true
    protocol_version=1
    preshared_key=\(String(repeating: "1", count: 64))
    endpoint=[fe80::1%2]:51820
    persistent_keepalive_interval=25
    replace_allowed_ips=true
    allowed_ip=10.0.0.0/8
    allowed_ip=-fd00::/64
    public_key=\(String(repeating: "cd", count: 32))
    endpoint=192.0.2.1:1
    allowed_ip=10.0.0.0/8
    public_key=\(key)
    remove=true


    """,
    """
    private_key=\(key)
    listen_port=51820
    fwmark=32
    dropped_bad_mac1=7
    public_key=\(key)
    preshared_key=\(String(repeating: "0", count: 64))
    protocol_version=1
    endpoint=192.0.2.1:51820
    last_handshake_time_sec=1700000000
    last_handshake_time_nsec=42
    tx_bytes=7
    rx_bytes=8
    persistent_keepalive_interval=25
    allowed_ip=fd00::/64
    dropped_replayed_data=1
    errno=0


    """, "errno=-22\n\n",
  ]

  private static let addresses = [
    "::", "::1", "1::", "2001:DB8:0:0:1:0:0:1", "::ffff:192.0.2.1", "::192.0.2.1", "1:2:3:4:5:6:7:8", "192.0.2.1",
    "10.1.2.3/8", "2001:db8::1/32", "::/0", "1.2.3.4:51820", "[2001:db8::1]:51820", "[fe80::1%2]:51820",
    "[fe80::1%lo]:51820", "1.2.3.4/33", "fe80::1%1", "1:2:3:4:5:6:1.2.3.4",
  ]

  private static let keys = [
    Array(BrokenFile.publicKey.utf8), Array((String(repeating: "A", count: 43) + "=").utf8),
    Array((String(repeating: "+/", count: 21) + "8=").utf8), Array(key.utf8), Array(key.uppercased().utf8),
    Array(String(repeating: "09", count: 32).utf8), [UInt8](0..<32),
  ]

  private static let packets: [[UInt8]] = {
    let v4 = { (number: UInt8, to: UInt8, rest: [UInt8]) -> [UInt8] in
      [1, 0x45, 0, 0, UInt8(20 + rest.count), 0, 1, 0, 0, 64, number, 0, 0, 10, 1, 1, 1, 10, to, 1, 2] + rest
    }
    let v6 = { (number: UInt8, to: UInt8, rest: [UInt8]) -> [UInt8] in
      [1, 0x60, 0, 0, 0, 0, UInt8(rest.count), number, 64, 0xFD] + [UInt8](repeating: 0, count: 14) + [1, 0xFD, to]
        + [UInt8](repeating: 0, count: 13) + [2] + rest
    }
    let udp: [UInt8] = [0, 53, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]
    let extended: [UInt8] = [17, 0, 1, 4, 0, 0, 0, 0]
    return [
      v4(17, 1, udp), v4(17, 200, udp), v4(1, 1, [8, 0, 0, 0, 0, 0, 0, 0]), v4(1, 200, [3, 1, 0, 0, 0, 0, 0, 0]),
      v6(17, 0, udp), v6(17, 0x80, udp), v6(58, 0x80, [128, 0, 0, 0]), v6(58, 0x80, [1, 0, 0, 0]),
      v6(0, 0x80, extended + udp), v6(44, 0x80, extended + udp), v6(51, 0x80, extended + udp),
    ]
  }()

  /// Packets to show, and a ring with a record in it, whole and with lengths that are not right.
  private static let captures: [[UInt8]] = {
    let record: [UInt8] =
      [80, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 16) + [8, 0, 0, 0, 1, 0, 0, 0, 1, 255, 0, 0, 0, 0, 0, 0]
      + [UInt8](repeating: 0, count: 32) + [1, 2, 3, 4, 5, 6, 7, 8]
    let rings = [
      record + record, [96] + record.dropFirst(), [8, 0, 0, 0, 1, 0, 0, 0] + record, [255] + record.dropFirst(),
    ]
    return packets.map { [0] + $0.dropFirst() } + rings.map { [1] + $0 }
  }()

  /// One of each kind, in segments of 8 bytes; and a checksum alone.
  private static let superPackets: [[UInt8]] = {
    let segmented = { (type: UInt8, transport: UInt8, offset: UInt8, packet: [UInt8]) -> [UInt8] in
      [0, 1, 1, type, 0, 0, 8, 0, transport, 0, offset, 0] + packet
    }
    let tcp: [UInt8] = [1, 2, 3, 4, 0, 0, 0, 9, 0, 0, 0, 7, 0x60, 0x99, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1] + [UInt8](0..<30)
    let udp: [UInt8] = [1, 2, 3, 4, 0, 38, 0, 0] + [UInt8](0..<30)
    let v4 = { (number: UInt8, rest: [UInt8]) -> [UInt8] in
      [0x45, 0, 0, UInt8(20 + rest.count), 0, 1, 0x40, 0, 64, number, 0, 0, 10, 1, 1, 1, 10, 1, 1, 2] + rest
    }
    let v6 = { (number: UInt8, rest: [UInt8]) -> [UInt8] in
      [0x60, 0, 0, 0, 0, UInt8(rest.count), number, 64, 0xFD] + [UInt8](repeating: 1, count: 31) + rest
    }
    let extended: [UInt8] = [17, 0, 1, 4, 0, 0, 0, 0]
    return [
      segmented(1, 20, 16, v4(6, tcp)), segmented(0x81, 20, 16, v4(6, tcp)), segmented(4, 40, 16, v6(6, tcp)),
      segmented(5, 20, 6, v4(17, udp)), segmented(5, 40, 6, v6(17, udp)), segmented(5, 48, 6, v6(60, extended + udp)),
      segmented(0, 20, 16, v4(6, tcp)), segmented(0, 40, 6, v6(17, udp)),
    ]
  }()

  /// A play is a sequence of choices: any bytes are one.
  private static let plays: [[UInt8]] = (0..<64).map { seed in
    var random = SeededRandom(seed: UInt64(seed))
    return (0..<(16 + seed * 4)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }
}
