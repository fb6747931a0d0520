import Foundation
import Testing
import WG6Config
import WG6Protocol

@testable import WG6Linux

/// Routes through an interface to gateways, as a routing daemon makes them; in a namespace for each test.
@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence))
struct `Routes with a gateway` {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    for name in ["v0", "w0"] {
      try namespace.ip("link add \(name) type veth peer x\(name)")
      for end in [name, "x\(name)"] { try namespace.ip("link set \(end) up") }
    }
    try namespace.ip("address add fe80::1/64 dev v0 nodad")
    try namespace.ip("address add 10.7.0.1/24 dev v0")
  }

  private func routes() throws -> [KernelGatewayRoute] {
    try namespace.inside {
      let netlink = try NetlinkSocket()
      let link = try #require(try netlink.link(named: "v0"))
      return try NetlinkSocket.gatewayRoutes(via: UInt32(link.index))
    }
  }

  private func text(_ routes: [KernelGatewayRoute]) -> [String] {
    routes.map { "\($0.route.prefix) \($0.route.gateway)" }
  }

  @Test func `are read of all tables and both families, the one that counts first, and no others`() throws {
    for route in [
      "2001:db8:1::/48 via fe80::2 dev v0 metric 200", "2001:db8:1::/48 via fe80::3 dev v0 metric 100",
      "2001:db8:2::/48 via fe80::2 dev v0 proto bird table 77", "2001:db8:2::/48 via fe80::4 dev v0",
      "default via fe80::5 dev v0", "2001:db8:3::/48 dev v0", "2001:db8:4::/48 via fe80::2 dev w0",
    ] {
      try namespace.ip("-6 route add \(route)")
    }
    try namespace.ip("-4 route add 192.0.2.0/24 via 10.7.0.2")
    try namespace.ip("-4 route add 198.51.100.0/24 via inet6 fe80::9 dev v0")
    #expect(
      text(try routes()) == [
        "192.0.2.0/24 10.7.0.2", "198.51.100.0/24 fe80::9", "::/0 fe80::5", "2001:db8:1::/48 fe80::3",
        "2001:db8:1::/48 fe80::2", "2001:db8:2::/48 fe80::4", "2001:db8:2::/48 fe80::2",
      ])
  }

  @Test func `of several next hops each counts, and such a route is not withdrawn`() throws {
    try namespace.ip("-6 route add 2001:db8:1::/48 nexthop via fe80::2 dev v0 nexthop via fe80::3 dev v0")
    let found = try routes()
    #expect(Set(text(found)) == ["2001:db8:1::/48 fe80::2", "2001:db8:1::/48 fe80::3"])
    #expect(try namespace.inside { try NetlinkSocket.withdraw(found).isEmpty })
    #expect(try routes().count == 2)
  }

  @Test func `are withdrawn and put back as they were, unless another has taken the place`() throws {
    for route in [
      "-6 route add 2001:db8:1::/48 via fe80::2 dev v0 metric 77 proto bird mtu 1300",
      "-6 route add 2001:db8:2::/48 via fe80::2 dev v0 table 9 src fe80::1",
      "-4 route add 192.0.2.0/24 via 10.7.0.2 proto bird metric 5",
      "-4 route add 198.51.100.0/24 via inet6 fe80::9 dev v0",
      "-4 route add 203.0.113.0/24 via 10.99.0.1 dev v0 onlink",
    ] {
      try namespace.ip(route)
    }
    // Those of the kernel come and go with the addresses, which take a moment to be checked (RFC 4862).
    func seen() throws -> [[String]] {
      try ["-4", "-6"].map { family in
        try namespace.ipAnswer("\(family) route show table all dev v0").filter {
          $0["gateway"] != nil || $0["via"] != nil
        }
        // A dictionary's description has no order, and there is one in each route via the other family.
        .map { String(decoding: try JSONSerialization.data(withJSONObject: $0, options: .sortedKeys), as: UTF8.self) }
        .sorted()
      }
    }
    let before = try seen()
    let found = try routes()
    #expect(found.count == 5)
    let gone = try namespace.inside { try NetlinkSocket.withdraw(found) }
    #expect(gone.count == 5)
    #expect(try routes().isEmpty)
    #expect(try namespace.inside { try NetlinkSocket.withdraw(found).isEmpty })
    #expect(try namespace.inside { try NetlinkSocket.putBack(gone).count } == 5)
    #expect(try seen() == before)
    _ = try namespace.inside { try NetlinkSocket.withdraw(found) }
    try namespace.ip("-6 route add 2001:db8:1::/48 via fe80::3 dev v0 metric 77")
    #expect(try namespace.inside { try NetlinkSocket.putBack(gone).count } == 4)
    #expect(text(try routes()).contains("2001:db8:1::/48 fe80::3"))
    #expect(!text(try routes()).contains("2001:db8:1::/48 fe80::2"))
  }

  @Test func `a TUN's carrier goes off and on, and listeners are told without delay`() throws {
    let namespace = namespace
    try namespace.inside {
      let tun = try TUN(named: "t0")
      let netlink = try NetlinkSocket()
      try netlink.setUp(try #require(try netlink.link(named: "t0")))
      func hasCarrier() -> Bool {
        (try? namespace.ipAnswer("link show dev t0").first?["flags"] as? [String])?.contains("NO-CARRIER") == false
      }
      #expect(hasCarrier())
      let monitor = try InterfaceMonitor()
      let link = try #require(try netlink.link(named: "t0"))
      for _ in 0..<3 {
        for isThere in [true, false] {
          try tun.setCarrier(isThere)
          _ = monitor.drain(of: tun.index)
          try netlink.announce(link)
          #expect(monitor.drain(of: tun.index).contains(.links))
        }
      }
      #expect(!hasCarrier())
      try tun.setCarrier(true)
      #expect(hasCarrier())
    }
  }
}
