import Glibc
import SystemPackage
import Testing
import WG6Linux

/// What the other end of a tunnel tells the kernel about the link. Each in a network namespace of its own.
@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence))
struct `What the kernel configures by itself` {
  /// What of an interface a router could change.
  private struct State: Equatable {
    var addresses: [String] = []
    var routes: [String] = []
    var mtu = ""
    var hopLimit = ""
    /// Where packets to 2001:db8:7::7 go.
    var way = ""
  }

  private final class Link: Sendable {
    let tun: TUN
    init(_ tun: consuming TUN) { self.tun = tun }
    func write(_ packet: [UInt8]) -> Int32 { packet.withUnsafeBytes { tun.write($0) } }
  }

  private func state(in namespace: NetworkNamespace) throws -> State {
    try namespace.inside {
      func lines(_ command: String) throws -> [String] {
        let pipe = try #require(popen(command, "r"))
        defer { pclose(pipe) }
        var bytes: [UInt8] = []
        while case let byte = fgetc(pipe), byte >= 0 { bytes.append(UInt8(byte)) }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
          line.split(separator: " ").prefix { $0 != "expires" && $0 != "valid_lft" }.joined(separator: " ")
        }
      }
      return State(
        addresses: try lines("ip -6 -o address show dev t0"), routes: try lines("ip -6 route show dev t0"),
        mtu: try Sysctl.value(of: "net.ipv6.conf.t0.mtu"),
        hopLimit: try Sysctl.value(of: "net.ipv6.conf.t0.hop_limit"),
        way: try lines("ip -6 route get 2001:db8:7::7").first ?? "")
    }
  }

  private static let router: [UInt8] = [0xfe, 0x80] + [UInt8](repeating: 0, count: 13) + [1]
  private static let allNodes: [UInt8] = [0xff, 2] + [UInt8](repeating: 0, count: 13) + [1]
  private static let own: [UInt8] = [0xfd, 0x66] + [UInt8](repeating: 0, count: 13) + [2]
  private static let beyond: [UInt8] = [0x20, 1, 0xd, 0xb8, 0, 7] + [UInt8](repeating: 0, count: 9) + [7]

  /// An IPv6 packet with an ICMPv6 message, hop limit 255; `message` has zeros for its checksum.
  private static func packet(_ message: [UInt8], to destination: [UInt8]) -> [UInt8] {
    var message = message
    let length = [UInt8(message.count >> 8), UInt8(message.count & 255)]
    let summed = router + destination + [0, 0] + length + [0, 0, 0, 58] + message
    var sum = stride(from: 0, to: summed.count, by: 2).reduce(UInt32(0)) {
      $0 + UInt32(summed[$1]) << 8 + UInt32($1 + 1 < summed.count ? summed[$1 + 1] : 0)
    }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    (message[2], message[3]) = (UInt8(~sum >> 8 & 255), UInt8(~sum & 255))
    return [0x60, 0, 0, 0] + length + [58, 255] + router + destination + message
  }

  /// A default route for 1,800 s, hop limit 9, MTU 1,300, a prefix that is on-link and addresses may be made of, and a
  /// route to a further one (RFC 4861 §4.2, RFC 4191 §2.3).
  private static let advertisement: [UInt8] = {
    let hour: [UInt8] = [0, 0, 0x0e, 0x10]
    let prefix: [UInt8] = [0x20, 1, 0xd, 0xb8, 0, 9] + [UInt8](repeating: 0, count: 10)
    let message: [UInt8] =
      [134, 0, 0, 0, 9, 0, 7, 8] + [UInt8](repeating: 0, count: 8) + [5, 1, 0, 0, 0, 0, 5, 0x14]
      + [3, 4, 64, 0xc0] + hour + hour + [0, 0, 0, 0] + prefix
    return packet(message, to: allNodes)
  }()

  /// Says that 2001:db8:7::7 is on this very link (RFC 4861 §4.5).
  private static let redirect = packet([137, 0, 0, 0, 0, 0, 0, 0] + beyond + beyond, to: own)

  @Test(arguments: [[], .all] as [Offloads])
  func `is turned off on a TUN, and a router at the other end changes nothing`(offloads: Offloads) throws {
    let namespace = try NetworkNamespace()
    let interface = try namespace.inside { Link(try TUN(named: "t0", offloads: offloads)) }
    #expect(try namespace.inside { Autoconfiguration.turnOff("t0") } == [])
    for setting in ["ipv4.conf.t0.send_redirects", "ipv4.conf.t0.accept_redirects"] {
      #expect(try namespace.inside { try Sysctl.value(of: "net.\(setting)") } == "0", "\(setting)")
    }
    try namespace.ip("-6 address add fd66::2/64 dev t0 nodad")
    try namespace.ip("link set t0 up")
    try namespace.ip("-6 route add 2001:db8::/32 via fe80::1 dev t0")
    let before = try state(in: namespace)
    #expect(before.addresses.count == 1, "no link-local address of its own: \(before.addresses)")
    for packet in [Self.advertisement, Self.redirect] { #expect(interface.write(packet) == 0) }
    // The kernel has taken a packet when `write` returns, but for one that it puts off to the end of the call.
    usleep(100_000)
    #expect(try state(in: namespace) == before)
  }

  /// That the packets of the test before are good.
  @Test func `would otherwise be what the router says`() throws {
    let namespace = try NetworkNamespace()
    let interface = try namespace.inside { Link(try TUN(named: "t0")) }
    try namespace.ip("-6 address add fd66::2/64 dev t0 nodad")
    try namespace.ip("link set t0 up")
    try namespace.ip("-6 route add 2001:db8::/32 via fe80::1 dev t0")
    #expect(interface.write(Self.redirect) == 0)
    usleep(100_000)
    let redirected = try state(in: namespace)
    #expect(!redirected.way.contains("via fe80::1"), "\(redirected.way)")
    #expect(interface.write(Self.advertisement) == 0)
    usleep(100_000)
    let after = try state(in: namespace)
    #expect(after.addresses.count > redirected.addresses.count, "\(after.addresses)")
    #expect(after.routes.contains { $0.hasPrefix("default via fe80::1") })
    #expect(after.routes.contains { $0.hasPrefix("2001:db8:9::/64") })
    #expect(after.mtu == "1300" && after.hopLimit == "9")
  }

  /// As a tunnel with AcceptRA has it: it forwards, and has a link-local address of its own.
  @Test func `is what a router says where that is wanted, and is forgotten when it is not`() throws {
    let namespace = try NetworkNamespace()
    let interface = try namespace.inside { Link(try TUN(named: "t0")) }
    func turn(_ advertisements: RouterAdvertisements) throws {
      let problems = try namespace.inside { () -> [String] in
        let problems = advertisements.apply(to: "t0")
        let netlink = try NetlinkSocket()
        if advertisements != .all { try netlink.forgetRouters(of: #require(try netlink.link(named: "t0"))) }
        return problems
      }
      #expect(problems == [])
    }
    func hear() throws -> State {
      #expect(interface.write(Self.advertisement) == 0)
      usleep(100_000)
      return try state(in: namespace)
    }
    #expect(try namespace.inside { Autoconfiguration.turnOff("t0") } == [])
    try namespace.ip("-6 address add fe80::6e93:96c3:ba42:4f11/64 dev t0 nodad")
    try namespace.ip("link set t0 up")
    _ = try namespace.inside { try Sysctl.set("net.ipv6.conf.all.forwarding", to: "1") }
    let before = try hear()
    #expect(before.addresses.count == 1)

    try turn(.all)
    #expect(try namespace.inside { RouterAdvertisements.all.isInForce(on: "t0") })
    let after = try hear()
    #expect(after.addresses.contains { $0.contains("2001:db8:9:0:6e93:96c3:ba42:4f11/64") }, "\(after.addresses)")
    #expect(after.routes.contains { $0.hasPrefix("default via fe80::1") } && after.mtu == "1300")
    // What came by advertisements is nobody's setting, and is not saved.
    let (set, isForwarding) = try namespace.inside {
      let netlink = try NetlinkSocket()
      return (
        try netlink.addresses(of: #require(try netlink.link(named: "t0"))).count,
        try Sysctl.value(of: "net.ipv6.conf.t0.forwarding")
      )
    }
    #expect(set == (NetlinkSocket.tellsOriginOfAddresses ? 1 : 0) && isForwarding == "1")

    try turn(.withoutDefaultRoute)
    let without = try hear()
    #expect(without.addresses.count == 2 && !without.routes.contains { $0.hasPrefix("default") }, "\(without)")
    try turn(.none)
    let off = try hear()
    #expect(off.addresses == before.addresses && !off.routes.contains { $0.contains("2001:db8:9::") }, "\(off)")
  }

  @Test func `stays off when the MTU was too small for IPv6 in between`() throws {
    let namespace = try NetworkNamespace()
    _ = try namespace.inside {
      let tun = try TUN(named: "t0")
      #expect(Autoconfiguration.turnOff("t0") == [])
      try WG6Linux.Interface.setMTU(1200, of: "t0")
      #expect(Autoconfiguration.turnOff("t0") == [], "an interface without IPv6 has nothing to turn off")
      try WG6Linux.Interface.setMTU(1400, of: "t0")
      #expect(try Sysctl.value(of: "net.ipv6.conf.t0.accept_ra") == "1")
      #expect(Autoconfiguration.turnOff("t0") == [])
      #expect(try Sysctl.value(of: "net.ipv6.conf.t0.accept_ra") == "0")
      return tun.index
    }
  }
}
