import CHarness
import Glibc
import Testing
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

/// What the guard asks of the kernel: rules by mark, routes with several next hops, addresses and neighbours.
extension `The guard against forged packets` {
  /// Marks what comes to port 7000 before the guard looks, as a program that restores the marks of connections does.
  private static let marking = """
    table inet marks {
      chain restore {
        type filter hook prerouting priority -150; policy accept;
        udp dport 7000 meta mark set 5
      }
    }

    """

  @Test(arguments: [false, true])
  func `asks rules with the mark that a packet has, for the tunnel and against it`(isIPv6: Bool) throws {
    let stage = try Stage()
    let (marked, plain) = (try stage.listen(isIPv6: isIPv6), try stage.listen(isIPv6: isIPv6, port: 7001))
    let family = isIPv6 ? "-6" : "-4"
    let (behind, far, near) =
      isIPv6 ? ("fd77::9", "2001:db8:9::9", "2001:db8:100::2") : ("10.77.0.9", "203.0.113.9", "198.51.100.2")
    for route in [
      isIPv6 ? "fd77::/32 dev up0" : "10.77.0.0/16 dev up0",
      isIPv6 ? "2001:db8:9::/64 dev wg0" : "203.0.113.0/24 dev wg0",
    ] { try stage.namespace.ip("\(family) route add \(route) table 100") }
    try stage.namespace.ip("\(family) rule add fwmark 5 lookup 100")
    try stage.namespace.inside { try Firewall.run(Self.marking) }
    try stage.filter(try Self.rules())
    for (source, isMarked, isTaken) in [
      (behind, true, true), (behind, false, false), (far, true, false), (far, false, true),
    ] {
      let packet = try Self.datagram(source, near, to: isMarked ? 7000 : 7001)
      let isThere = stage.arrives(packet, by: stage.uplink, at: isMarked ? marked : plain)
      #expect(isThere == isTaken, "\(source)\(isMarked ? ", marked" : "")")
    }
  }

  @Test(arguments: [(false, false), (false, true), (true, false), (true, true)])
  func `takes what several next hops may bring from each of them and from no other interface`(
    isIPv6: Bool, tunnelIsFirst: Bool
  ) throws {
    let stage = try Stage()
    let third = try stage.namespace.inside { Link(try TUN(named: "up1")) }
    try stage.namespace.ip("link set up1 up")
    try stage.namespace.inside { try Sysctl.set("net.ipv4.conf.up1.rp_filter", to: "0") }
    let socket = try stage.listen(isIPv6: isIPv6)
    // Of IPv6, hops have addresses.
    let hops = isIPv6 ? ["via 2001:db8:100::9 dev up0", "via fd66::9 dev wg0"] : ["dev up0", "dev wg0"]
    let nexthops = (tunnelIsFirst ? hops.reversed() : hops).map { "nexthop \($0)" }.joined(separator: " ")
    try stage.namespace.ip("\(isIPv6 ? "-6 route add fd88::/32" : "-4 route add 10.88.0.0/16") \(nexthops)")
    // Of the same, but through the tunnel alone.
    try stage.namespace.ip("\(isIPv6 ? "-6 route add fd88:0:7::/48" : "-4 route add 10.88.7.0/24") dev wg0")
    var rules = try Self.rules()
    rules.multipathRoutes = try stage.namespace.inside {
      let netlink = try NetlinkSocket()
      let link = try #require(try netlink.link(named: "wg0"))
      return MultipathRoute.all(among: try netlink.hops(ofRoutesVia: link), through: link.index)
    }
    #expect(rules.multipathRoutes.map(\.interfaces) == [["up0"]])
    #expect(rules.multipathRoutes.first?.exceptions.count == 1)
    try stage.filter(rules)
    let near = isIPv6 ? "2001:db8:100::2" : "198.51.100.2"
    let taken = try [isIPv6 ? "fd88::" : "10.88.0.", isIPv6 ? "fd88:0:7::" : "10.88.7."].flatMap { network in
      let packets = try (1...16).map { try Self.datagram("\(network)\($0)", near) }
      return [stage.uplink, third].map { stage.arriving(packets, by: $0, at: socket) }
    }
    #expect(taken == [16, 0, 0, 0], "from the other hop, a third interface, and both where the tunnel is the only one")
  }

  /// The rules as the process that watches over them puts them.
  private func follow(_ rules: FirewallRules, _ stage: Stage) throws -> [Sharer] {
    try stage.namespace.inside {
      let following = rules.followingAddresses()
      try Firewall.putGuard(following.rules)
      return following.ignored
    }
  }

  @Test(arguments: [false, true])
  func `guards what other programs give the interface, and what the kernel takes for its network`(isIPv6: Bool) throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: isIPv6)
    try stage.namespace.ip("address add \(isIPv6 ? "fd99::1/64 nodad" : "10.99.0.1/24") dev wg0")
    // Only routers answer to the anycast address.
    if isIPv6 { try stage.namespace.inside { try Sysctl.set("net.ipv6.conf.all.forwarding", to: "1") } }
    let stranger = isIPv6 ? "2001:db8:100::9" : "198.51.100.9"
    let guarded = isIPv6 ? ["fd99::1", "fd66::", "fd99::"] : ["10.99.0.1", "10.66.0.255", "10.99.0.255"]
    let open = isIPv6 ? ["2001:db8:100::"] : ["198.51.100.255"]
    let rules = try Self.rules()
    func counts(_ link: Link) throws -> [Bool] {
      try (guarded + open).map { stage.arrives(try Self.datagram(stranger, $0), by: link, at: socket) }
    }
    try stage.filter(rules)
    #expect(try counts(stage.uplink) == [true, true, true, true])
    #expect(try follow(rules, stage) == [])
    #expect(try counts(stage.uplink) == [false, false, false, true])
    #expect(try counts(stage.tunnel) == [true, true, true, true])
    // A network that another interface is in as well is that one's, too.
    try stage.namespace.ip("address add \(isIPv6 ? "fd66::9/64 nodad" : "10.66.0.9/24") dev up0")
    _ = try follow(rules, stage)
    #expect(try counts(stage.uplink) == [false, true, false, true])
  }

  @Test func `counts an interface that has an address too as long as it has it, and no new one but tunnels`() throws {
    let pair = try VethPair()
    let tunnel = try pair.left.inside { Link(try TUN(named: "wg0")) }
    let address = try #require(IPAddress("10.66.0.2"))
    let sharer = Sharer(address: address, interface: "v0")
    var rules = try Self.rules()
    func following() throws -> [[Sharer]] {
      let before = rules
      return try pair.left.inside {
        let after = before.followingAddresses()
        return [after.rules.sharers, after.ignored]
      }
    }
    rules.sharers = [sharer]
    #expect(try following() == [[], []])
    try pair.left.ip("address add 10.66.0.2/32 dev v0")
    #expect(try following() == [[sharer], []])
    rules.sharers = []
    #expect(try following() == [[], [sharer]])
    withExtendedLifetime(tunnel) {}
  }

  @Test func `puts no name into a rule that nft would read otherwise`() throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: false)
    for name in ["a\"b", "up*", "b\\c", "a,b", "\u{e9}", "", "sixteen-letters-"] {
      #expect(!FirewallRules.canName(name))
    }
    for name in ["wlan0.1", "br-lan", "x@y", "a'b", "$up", "{", "#1", ";"] { #expect(FirewallRules.canName(name)) }
    let address = try #require(IPAddress("10.66.0.2"))
    try stage.namespace.ip("address add 10.66.0.2/32 dev up0")
    for name in ["a\"b", "up*", "x@y", "{"] {
      let former = name == "a\"b" ? "up0" : name == "up*" ? "a\"b" : name == "x@y" ? "up*" : "x@y"
      for command in ["set \(former) down", "set \(former) name \(name)", "set \(name) up"] {
        try stage.namespace.ip("link \(command)")
      }
      var rules = try Self.rules()
      rules.sharers = try stage.namespace.inside { Sharer.all(of: [address], but: "wg0", tunnelsOnly: false) }
      try stage.filter(rules)
      let packet = try Self.datagram("198.51.100.9", "10.66.0.2")
      #expect(stage.arrives(packet, by: stage.uplink, at: socket) == FirewallRules.canName(name), "\(name)")
    }
  }

  @Test func `leaves link-local addresses to their links`() throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: true)
    try stage.namespace.ip("address add fe80::1/64 dev wg0 nodad")
    try stage.namespace.ip("address add fe80::2/64 dev up0 nodad")
    let (router, own) = (try Self.datagram("fe80::1", "fe80::2"), try Self.datagram("fe80::9", "fe80::1"))
    // The kernel does not take the tunnel's from another link.
    #expect(!stage.arrives(own, by: stage.uplink, at: socket))
    var rules = try Self.rules()
    rules.guardedAddresses.append(try #require(IPAddress("fe80::1")))
    try stage.filter(rules)
    #expect(!stage.arrives(own, by: stage.uplink, at: socket))
    #expect(stage.arrives(own, by: stage.tunnel, at: socket))
    #expect(stage.arrives(router, by: stage.uplink, at: socket))
  }

  @Test(arguments: [false, true])
  func `takes a neighbour's multicast on the link, and none that routers forward`(isIPv6: Bool) throws {
    let stage = try Stage()
    let socket = try stage.listen(isIPv6: isIPv6)
    let groups = isIPv6 ? ["ff02::fb", "ff05::fb"] : ["224.0.0.251", "239.255.255.250"]
    let index = try stage.namespace.inside { if_nametoindex("up0") }
    for group in groups { #expect(Self.join(group, on: index, socket)) }
    let packets = try groups.map { try Self.datagram(isIPv6 ? "fd77::9" : "10.77.0.9", $0) }
    for packet in packets { #expect(stage.arrives(packet, by: stage.uplink, at: socket)) }
    try stage.filter(try Self.rules())
    #expect(stage.arrives(packets[0], by: stage.uplink, at: socket))
    #expect(!stage.arrives(packets[1], by: stage.uplink, at: socket))
  }

  private static func join(_ group: String, on index: UInt32, _ socket: Int32) -> Bool {
    if group.contains(":") {
      var request = ipv6_mreq()
      inet_pton(AF_INET6, group, &request.ipv6mr_multiaddr)
      request.ipv6mr_interface = index
      return setsockopt(
        socket, Int32(IPPROTO_IPV6), IPV6_JOIN_GROUP, &request, socklen_t(MemoryLayout<ipv6_mreq>.size)) == 0
    }
    var request = ip_mreqn()
    inet_pton(AF_INET, group, &request.imr_multiaddr)
    request.imr_ifindex = Int32(index)
    return setsockopt(
      socket, Int32(IPPROTO_IP), IP_ADD_MEMBERSHIP, &request, socklen_t(MemoryLayout<ip_mreqn>.size)) == 0
  }

  @Test func `with a strict reverse path filter a peer on the link inside the allowed IPs may ask first`() throws {
    let pair = try VethPair()
    let tunnel = try pair.left.inside { Link(try TUN(named: "wg0")) }
    try pair.left.ip("link set wg0 up")
    try pair.left.ip("address add 10.66.0.2/24 dev wg0")
    try pair.left.ip("route add 10.77.0.2/32 dev wg0 table 100")
    try pair.left.ip("route add 10.77.0.3/32 dev wg0 table 100")
    try pair.left.ip("rule add not fwmark 7 lookup 100")
    try pair.left.inside {
      for (name, value) in [("rp_filter", "1"), ("src_valid_mark", "1")] {
        try Sysctl.set("net.ipv4.conf.all.\(name)", to: value)
      }
    }
    let listener = try Stage.listener(in: pair.left, isIPv6: false, port: 51820, mark: 7)
    defer { close(listener) }
    // It moves to another address, too.
    try pair.right.ip("address add 10.77.0.3/24 dev v0")
    func asks(from address: String) throws -> Bool {
      try pair.right.ip("neighbour flush all")
      _ = try? pair.right.ip("neighbour delete 10.77.0.1 dev v0")
      try pair.left.ip("neighbour flush all nud all")
      let sender = try pair.right.inside { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) }
      defer { close(sender) }
      #expect(Self.name(sender, address, 0, bind))
      #expect(Self.name(sender, "10.77.0.1", 51820, connect))
      for _ in 0..<15 {
        _ = send(sender, "x", 1, 0)
        var question = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        guard poll(&question, 1, 100) > 0 else { continue }
        var byte: UInt8 = 0
        return recv(listener, &byte, 1, 0) == 1
      }
      return false
    }
    var rules = try Self.rules(mark: 7)
    rules.savesMarks = true
    try pair.left.inside { [rules] in try Firewall.put(rules) }
    #expect(try !asks(from: "10.77.0.2"))
    rules.markedQuestions = try ["10.77.0.2/32", "10.77.0.3/32"].map { try #require(IPPrefix($0)) }
    let all = rules
    try pair.left.inside { try Firewall.markQuestions(all) }
    rules.marksFirstDatagrams = false
    try pair.left.inside { [rules] in try Firewall.put(rules) }
    #expect(try !asks(from: "10.77.0.2"), "the question is answered, and the datagram dropped")
    try pair.left.inside { try Firewall.put(all) }
    for address in ["10.77.0.2", "10.77.0.3"] { #expect(try asks(from: address), "\(address)") }
    #expect(try pair.left.inside { Firewall.marksQuestions(all) })
    try pair.left.inside { try Firewall.remove(all) }
    #expect(try !pair.left.inside { Firewall.marksQuestions(all) })
    withExtendedLifetime(tunnel) {}
  }

  private static func name(
    _ socket: Int32, _ address: String, _ port: UInt16, _ call: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32
  ) -> Bool {
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = port.bigEndian
    inet_pton(AF_INET, address, &place.sin_addr)
    return withUnsafePointer(to: &place) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        call(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    } == 0
  }
}
