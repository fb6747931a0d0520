import CHarness
import Glibc
import SystemPackage
import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

/// The guard against forged packets in the kernel: a namespace with a tunnel, `wg0`, and an uplink, `up0`, both of them TUNs
/// that the test writes packets into.
@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence)) struct `The guard against forged packets` {
  final class Link: Sendable {
    let tun: TUN
    init(_ tun: consuming TUN) { self.tun = tun }
    func write(_ packet: [UInt8]) -> Int32 { packet.withUnsafeBytes { tun.write($0) } }
  }

  final class Stage {
    let namespace: NetworkNamespace
    let tunnel: Link
    let uplink: Link
    private var sockets: [Int32] = []

    init() throws {
      namespace = try NetworkNamespace()
      tunnel = try namespace.inside { Link(try TUN(named: "wg0")) }
      uplink = try namespace.inside { Link(try TUN(named: "up0")) }
      for (name, addresses) in [
        ("wg0", ["10.66.0.2/24", "fd66::2/64"]), ("up0", ["198.51.100.2/24", "2001:db8:100::2/64"]),
      ] {
        for address in addresses {
          try namespace.ip("address add \(address) dev \(name)\(address.contains(":") ? " nodad" : "")")
        }
        try namespace.ip("link set \(name) up")
      }
      for address in ["fd66::2", "2001:db8:100::2"] { try namespace.awaitAddress(address) }
      for route in ["-4 route add 10.77.0.0/16", "-6 route add fd77::/32"] { try namespace.ip("\(route) dev wg0") }
      for route in ["-4 route add 10.77.9.0/24", "-6 route add fd77:9::/64"] { try namespace.ip("\(route) dev up0") }
      for route in ["-4 route add default", "-6 route add default"] { try namespace.ip("\(route) dev up0") }
      try namespace.inside {
        for name in ["all", "up0"] { try Sysctl.set("net.ipv4.conf.\(name).rp_filter", to: "0") }
      }
    }

    deinit { for socket in sockets { close(socket) } }

    func filter(_ rules: FirewallRules) throws { try namespace.inside { try Firewall.put(rules) } }

    /// A socket bound to port 7000 of any address, with a mark.
    func listen(isIPv6: Bool, port: UInt16 = 7000, mark: UInt32 = 0) throws -> Int32 {
      let descriptor = try Stage.listener(in: namespace, isIPv6: isIPv6, port: port, mark: mark)
      sockets.append(descriptor)
      return descriptor
    }

    static func listener(in namespace: NetworkNamespace, isIPv6: Bool, port: UInt16, mark: UInt32) throws -> Int32 {
      try namespace.inside { () -> Int32 in
        let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var (one, mark) = (Int32(1), mark)
        setsockopt(descriptor, SOL_SOCKET, SO_MARK, &mark, 4)
        if isIPv6 { setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &one, 4) }
        var storage = sockaddr_storage()
        storage.ss_family = sa_family_t(isIPv6 ? AF_INET6 : AF_INET)
        withUnsafeMutableBytes(of: &storage) {
          $0.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
        }
        let length = socklen_t(isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
        let code = withUnsafePointer(to: &storage) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        #expect(code == 0)
        return descriptor
      }
    }

    /// Datagrams of IPv4 that were forwarded so far.
    func forwarded() throws -> Int {
      let text = try namespace.inside { try String(contentsOfFile: "/proc/thread-self/net/snmp", encoding: .utf8) }
      let lines = text.split(separator: "\n").filter { $0.hasPrefix("Ip: ") }.map { $0.split(separator: " ") }
      let column = try #require(lines.first?.firstIndex(of: "ForwDatagrams"))
      return try #require(Int(lines[1][column]))
    }

    func arrives(_ packet: [UInt8], by link: Link, at socket: Int32) -> Bool {
      arriving([packet], by: link, at: socket) == 1
    }

    /// How many of them arrive. On a busy machine the kernel takes a while.
    func arriving(_ packets: [[UInt8]], by link: Link, at socket: Int32) -> Int {
      for packet in packets { #expect(link.write(packet) == 0) }
      var count = 0
      while count < packets.count {
        var question = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&question, 1, 250) > 0 else { break }
        var byte: UInt8 = 0
        guard recv(socket, &byte, 1, 0) >= 0 else { break }
        count += 1
      }
      return count
    }
  }

  /// A UDP datagram of one byte.
  static func datagram(_ source: String, _ destination: String, from: UInt16 = 9, to: UInt16 = 7000) throws
    -> [UInt8]
  {
    func bytes(_ text: String) throws -> [UInt8] {
      let bits = try #require(IPAddress(text)).bits
      var all: [UInt8] = []
      for word in [bits.high, bits.low] { all += withUnsafeBytes(of: word.bigEndian) { Array($0) } }
      return text.contains(":") ? all : Array(all.prefix(4))
    }
    let ends = try bytes(source) + bytes(destination)
    func word(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 255)] }
    func sum(_ bytes: [UInt8]) -> [UInt8] {
      var sum: UInt32 = 0
      for (index, byte) in bytes.enumerated() { sum += UInt32(byte) << (index % 2 == 0 ? 8 : 0) }
      while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
      return word(~UInt16(sum))
    }
    let head = word(from) + word(to) + word(9)
    let pseudo: [UInt8] = ends + [0, 17] + word(9)
    let udp: [UInt8] = head + sum(pseudo + head + [0, 0, 1]) + [1]
    let head6: [UInt8] = [0x60, 0, 0, 0, 0, 9, 17, 64]
    if source.contains(":") { return head6 + ends + udp }
    let start: [UInt8] = [0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17]
    let filled: [UInt8] = start + sum(start + [0, 0] + ends)
    return filled + ends + udp
  }

  static let everything = [IPPrefix(.v4(0), length: 0), IPPrefix(.v6(high: 0, low: 0), length: 0)]

  static func rules(mark: UInt32? = nil, sources: [IPPrefix] = everything) throws -> FirewallRules {
    FirewallRules(
      interface: "wg0", mark: mark, guardedAddresses: try ["10.66.0.2", "fd66::2"].map { try #require(IPAddress($0)) },
      guardedSources: sources)
  }

  /// Each with the family's own addresses: source, destination, whether it is taken from the uplink with the guard.
  private static let packets: [(v4: (String, String), v6: (String, String), isTaken: Bool)] = [
    (("10.66.0.1", "10.66.0.2"), ("fd66::1", "fd66::2"), false),
    (("198.51.100.9", "10.66.0.2"), ("2001:db8:100::9", "fd66::2"), false),
    (("203.0.113.9", "10.66.0.2"), ("2001:db8:9::9", "fd66::2"), false),
    (("10.66.0.1", "198.51.100.2"), ("fd66::1", "2001:db8:100::2"), false),
    (("10.77.0.9", "198.51.100.2"), ("fd77::9", "2001:db8:100::2"), false),
    (("10.77.9.9", "198.51.100.2"), ("fd77:9::9", "2001:db8:100::2"), true),
    (("198.51.100.9", "198.51.100.2"), ("2001:db8:100::9", "2001:db8:100::2"), true),
    (("203.0.113.9", "198.51.100.2"), ("2001:db8:9::9", "2001:db8:100::2"), true),
  ]

  @Test(arguments: [false, true])
  func `takes by another interface what is not the tunnel's, and that alone; by the tunnel all`(isIPv6: Bool) throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: isIPv6)
    for isGuarded in [false, true] {
      if isGuarded { try stage.filter(try Self.rules()) }
      for packet in Self.packets {
        let (source, destination) = isIPv6 ? packet.v6 : packet.v4
        let bytes = try Self.datagram(source, destination)
        #expect(
          stage.arrives(bytes, by: stage.uplink, at: socket) == (packet.isTaken || !isGuarded),
          "\(source) to \(destination)\(isGuarded ? "" : ", without the guard")")
        if destination == (isIPv6 ? "fd66::2" : "10.66.0.2") {
          #expect(stage.arrives(bytes, by: stage.tunnel, at: socket), "\(source), by the tunnel")
        }
      }
    }
  }

  @Test func `drops what comes from our own address, which IPv6 takes on any interface`() throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: true)
    let packets = try ["fd66::2", "2001:db8:100::2"].map { try Self.datagram("fd66::2", $0) }
    for packet in packets { #expect(stage.arrives(packet, by: stage.uplink, at: socket)) }
    try stage.filter(try Self.rules())
    for packet in packets { #expect(!stage.arrives(packet, by: stage.uplink, at: socket)) }
  }

  @Test func `forwards nothing forged, also to the tunnel's own port elsewhere`() throws {
    let stage = try Stage()
    _ = try stage.listen(isIPv6: false, port: 51820, mark: 7)
    try stage.namespace.inside { try Sysctl.set("net.ipv4.ip_forward", to: "1") }
    let before = try stage.forwarded()
    let packet = try Self.datagram("10.77.0.9", "10.77.9.9", to: 51820)
    #expect(stage.uplink.write(packet) == 0)
    #expect(try stage.forwarded() == before + 1)
    try stage.filter(try Self.rules(mark: 7))
    #expect(stage.uplink.write(packet) == 0)
    #expect(try stage.forwarded() == before + 1)
  }

  @Test func `lets a neighbour be found whose address lies in the tunnel`() throws {
    let pair = try VethPair()
    let tunnel = try pair.left.inside { Link(try TUN(named: "wg0")) }
    try pair.left.ip("link set wg0 up")
    try pair.left.ip("-6 route add fd77::2/128 dev wg0")
    try pair.left.ip("neighbour delete fd77::2 dev v0")
    try pair.right.ip("neighbour delete fd77::1 dev v0")
    let rules = try Self.rules(mark: 7)
    try pair.left.inside { try Firewall.put(rules) }
    let listener = try Stage.listener(in: pair.left, isIPv6: true, port: 51820, mark: 7)
    let sender = try pair.right.inside { socket(AF_INET6, Int32(SOCK_DGRAM.rawValue), 0) }
    defer { for socket in [listener, sender] { close(socket) } }
    var place = sockaddr_in6()
    place.sin6_family = sa_family_t(AF_INET6)
    place.sin6_port = UInt16(51820).bigEndian
    _ = inet_pton(AF_INET6, "fd77::1", &place.sin6_addr)
    var hasArrived = false
    // A young veth loses the first solicitation, and the next one comes a second later.
    for _ in 0..<50 where !hasArrived {
      _ = withUnsafePointer(to: &place) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(sender, "x", 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
        }
      }
      var question = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      hasArrived = poll(&question, 1, 100) > 0
    }
    #expect(hasArrived)
    withExtendedLifetime(tunnel) {}
  }

  @Test(arguments: [false, true])
  func `with a default route looks at the sources of other prefixes alone`(isIPv6: Bool) throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: isIPv6)
    try stage.namespace.ip("\(isIPv6 ? "-6" : "-4") route replace default dev wg0")
    let own = try #require(IPPrefix(isIPv6 ? "fd77::/32" : "10.77.0.0/16"))
    try stage.filter(try Self.rules(sources: [own]))
    let (near, far) = isIPv6 ? ("2001:db8:100::2", "2001:db8:9::9") : ("198.51.100.2", "203.0.113.9")
    let (behind, excluded) = isIPv6 ? ("fd77::9", "fd77:9::9") : ("10.77.0.9", "10.77.9.9")
    for (source, isTaken) in [(far, true), (behind, false), (excluded, true)] {
      let packet = try Self.datagram(source, near)
      #expect(stage.arrives(packet, by: stage.uplink, at: socket) == isTaken, "\(source)")
    }
  }

  @Test(arguments: [false, true])
  func `takes the tunnel's own datagrams, and DHCP's, from wherever they come`(isIPv6: Bool) throws {
    let stage = try Stage()
    let (marked, plain) = (try stage.listen(isIPv6: isIPv6, port: 51820, mark: 7), try stage.listen(isIPv6: isIPv6))
    let client = try stage.listen(isIPv6: isIPv6, port: isIPv6 ? 546 : 68)
    try stage.filter(try Self.rules(mark: 7))
    let (source, near) = isIPv6 ? ("fd77::9", "2001:db8:100::2") : ("10.77.0.9", "198.51.100.2")
    #expect(stage.arrives(try Self.datagram(source, near, to: 51820), by: stage.uplink, at: marked))
    let answer = try Self.datagram(source, near, from: isIPv6 ? 547 : 67, to: isIPv6 ? 546 : 68)
    #expect(stage.arrives(answer, by: stage.uplink, at: client))
    #expect(!stage.arrives(try Self.datagram(source, near), by: stage.uplink, at: plain))
  }

  @Test func `takes an address's packets from an interface that has it too`() throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: false)
    var rules = try Self.rules()
    let address = try #require(IPAddress("10.66.0.2"))
    let packet = try Self.datagram("198.51.100.9", "10.66.0.2")
    try stage.namespace.ip("address add 10.66.0.2/32 dev up0")
    let found = try stage.namespace.inside { Sharer.all(of: [address], but: "wg0", tunnelsOnly: true) }
    #expect(found == [Sharer(address: address, interface: "up0")])
    try stage.filter(rules)
    #expect(!stage.arrives(packet, by: stage.uplink, at: socket))
    rules.sharers = found
    try stage.filter(rules)
    #expect(stage.arrives(packet, by: stage.uplink, at: socket))
  }

  @Test(arguments: [false, true])
  func `takes what comes by the tunnel when that has another name by now`(isIPv6: Bool) throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: isIPv6)
    try stage.filter(try Self.rules())
    for command in ["set wg0 down", "set wg0 name renamed0", "set renamed0 up"] {
      try stage.namespace.ip("link \(command)")
    }
    // IPv6's addresses have gone with the link.
    if isIPv6 { try stage.namespace.ip("address add fd66::2/64 dev renamed0 nodad") }
    let packet = try isIPv6 ? Self.datagram("fd66::1", "fd66::2") : Self.datagram("10.66.0.1", "10.66.0.2")
    #expect(stage.arrives(packet, by: stage.tunnel, at: socket))
    #expect(!stage.arrives(packet, by: stage.uplink, at: socket))
  }

  @Test func `drops redirects out of the tunnel, and no other error`() throws {
    let script = try Self.rules().script
    #expect(script.contains("    iifname \"wg0\" icmp type redirect drop\n    iifname { \"lo\", \"wg0\" } accept\n"))
  }
}
