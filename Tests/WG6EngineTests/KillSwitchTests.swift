import Foundation
import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

/// Packets that meet a kill switch, on a pair of hosts: "v0" is the way outside, "wg0" stands for the tunnel.
@Suite("A kill switch", .enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence)) struct KillSwitchTests {
  private static let mark: UInt32 = 51820

  @Test(arguments: ["10.77.0.2", "fd77::2"])
  func `refuses a program at once what does not go through the tunnel`(target: String) throws {
    let pair = try VethPair()
    #expect(try Attempt(to: target).carriedOut(in: pair.left) == 0)
    try turnOn(in: pair.left)
    #expect(try Attempt(to: target).carriedOut(in: pair.left) == EPERM)
    // Told by an ICMP error that it is prohibited, not left to wait.
    let refusal = target.contains(":") ? EACCES : EHOSTUNREACH
    #expect(try Attempt(to: target, isStream: true).carriedOut(in: pair.left) == refusal)
    try pair.left.inside { try Firewall.run(FirewallRules(interface: "wg0").removal) }
    #expect(try Attempt(to: target).carriedOut(in: pair.left) == 0)
    #expect(try Attempt(to: target, isStream: true).carriedOut(in: pair.left) == ECONNREFUSED)
  }

  @Test(arguments: ["10.77.0.2", "fd77::2"])
  func `lets out the tunnel's datagrams and what programs beside it send, by their marks`(target: String) throws {
    let pair = try VethPair()
    try turnOn(in: pair.left)
    #expect(try Attempt(to: target, mark: Self.mark).carriedOut(in: pair.left) == 0)
    #expect(try Attempt(to: target, mark: Self.mark, isStream: true).carriedOut(in: pair.left) != ECONNREFUSED)
    let outside = ExecutionMark.outside(of: "wg0")
    #expect(try Attempt(to: target, mark: outside).carriedOut(in: pair.left) == 0)
    #expect(try Attempt(to: target, mark: outside, isStream: true).carriedOut(in: pair.left) == ECONNREFUSED)
    #expect(try Attempt(to: target, mark: Self.mark + 1).carriedOut(in: pair.left) == EPERM)
  }

  @Test func `stops what is covered, and only that`() throws {
    let pair = try VethPair()
    try turnOn(in: pair.left, covered: ["10.77.0.2/32", "fd77::2/128"])
    try pair.right.ip("address add 10.77.0.3/24 dev v0")
    #expect(try Attempt(to: "10.77.0.2").carriedOut(in: pair.left) == EPERM)
    #expect(try Attempt(to: "10.77.0.3").carriedOut(in: pair.left) == 0)
    #expect(try Attempt(to: "fd77::2").carriedOut(in: pair.left) == EPERM)
    #expect(try Attempt(to: "fd77::3").carriedOut(in: pair.left) == 0)
    try turnOn(in: pair.left, covered: ["::/0"])
    #expect(try Attempt(to: "10.77.0.2").carriedOut(in: pair.left) == 0)
    #expect(try Attempt(to: "fd77::2").carriedOut(in: pair.left) == EPERM)
  }

  @Test func `leaves local networks reachable where it is told to, with multicast and broadcast on the link`() throws {
    let pair = try VethPair()
    let near = [
      "10.77.0.2", "10.77.0.255", "255.255.255.255", "224.0.0.251", "239.255.255.250", "fd77::2", "ff02::fb", "ff05::c",
    ]
    let far = ["192.0.2.1", "224.0.1.1", "239.192.0.1", "10.78.0.1", "2001:db8::1", "fd78::1", "ff08::1", "ff0e::1"]
    for command in ["route add default via 10.77.0.2", "-6 route add default via fd77::2"] { try pair.left.ip(command) }
    try turnOn(in: pair.left, networks: ["10.77.0.0/24", "fd77::/64"], lan: .networksAndGroups)
    func attempt(_ target: String) throws -> Int32 { try Attempt(to: target, through: "v0").carriedOut(in: pair.left) }
    for target in near { #expect(try attempt(target) == 0, "\(target)") }
    for target in far { #expect(try attempt(target) == EPERM, "\(target)") }
    try turnOn(in: pair.left, networks: ["10.77.0.0/24", "fd77::/64"], lan: .networks)
    for target in near + far {
      #expect(try attempt(target) == (target.hasPrefix("10.77.") || target == "fd77::2" ? 0 : EPERM), "\(target)")
    }
    try turnOn(in: pair.left, networks: ["10.77.0.0/24", "fd77::/64"])
    for target in near + far { #expect(try attempt(target) == EPERM, "\(target)") }
  }

  @Test func `does not stand in the way of what stays on the machine`() throws {
    let pair = try VethPair()
    try turnOn(in: pair.left)
    for target in ["127.0.0.1", "::1", "10.77.0.1", "fd77::1"] {
      #expect(try Attempt(to: target).carriedOut(in: pair.left) == 0, "\(target)")
      #expect(try Attempt(to: target, isStream: true).carriedOut(in: pair.left) == ECONNREFUSED, "\(target)")
    }
  }

  @Test func `lets a DHCP client ask everybody on the link, or a server in a local network, and no host elsewhere`()
    throws
  {
    let pair = try VethPair()
    for command in ["route add default via 10.77.0.2", "-6 route add default via fd77::2"] { try pair.left.ip(command) }
    try turnOn(in: pair.left, networks: ["10.77.0.0/24", "fd77::/64"])
    func attempt(_ target: String, _ port: UInt16, from: UInt16) throws -> Int32 {
      try Attempt(to: target, port: port, from: from, through: "v0").carriedOut(in: pair.left)
    }
    #expect(try attempt("255.255.255.255", 67, from: 68) == 0)
    #expect(try attempt("255.255.255.255", 67, from: 67) == EPERM)
    #expect(try attempt("ff02::1:2", 547, from: 546) == 0)
    #expect(try attempt("fd77::2", 67, from: 68) == EPERM)
    #expect(try attempt("10.77.0.2", 547, from: 546) == EPERM)
    #expect(try attempt("10.77.0.2", 67, from: 68) == 0)
    #expect(try attempt("fd77::2", 547, from: 546) == 0)
    #expect(try attempt("10.77.0.2", 67, from: 69) == EPERM)
    let elsewhere = ["192.0.2.1", "10.78.0.1", "224.0.0.1", "8.8.8.8"]
    for target in elsewhere { #expect(try attempt(target, 67, from: 68) == EPERM, "\(target)") }
    for target in ["2001:db8::1", "fd78::1", "ff02::1", "ff05::1:3"] {
      #expect(try attempt(target, 547, from: 546) == EPERM, "\(target)")
    }
    // Where no local network is at hand, everybody on the link alone.
    try turnOn(in: pair.left)
    #expect(try attempt("255.255.255.255", 67, from: 68) == 0)
    #expect(try attempt("ff02::1:2", 547, from: 546) == 0)
    #expect(try attempt("10.77.0.2", 67, from: 68) == EPERM)
    #expect(try attempt("fd77::2", 547, from: 546) == EPERM)
  }

  @Test func `lets out what a link of IPv6 can't do without, with the hop limit that it has there and no other`() throws
  {
    let pair = try VethPair()
    let (report, solicitation): (UInt8, UInt8) = (143, 135)
    func attempt(_ type: UInt8, to target: String, hopLimit: Int32) throws -> Int32 {
      try ICMPv6Attempt(type: type, to: target, hopLimit: hopLimit, through: "v0").carriedOut(in: pair.left)
    }
    for hopLimit in [1, 2, 64, 255] as [Int32] {
      #expect(try attempt(report, to: "ff02::16", hopLimit: hopLimit) == 0, "nothing is stopped yet: \(hopLimit)")
    }
    try turnOn(in: pair.left)
    for type in [131, 132, report] as [UInt8] {
      #expect(try attempt(type, to: "ff02::16", hopLimit: 1) == 0, "type \(type)")
      for hopLimit in [2, 64, 255] as [Int32] {
        #expect(try attempt(type, to: "ff02::16", hopLimit: hopLimit) == EPERM, "type \(type), hop limit \(hopLimit)")
        #expect(try attempt(type, to: "ff0e::16", hopLimit: hopLimit) == EPERM, "type \(type), hop limit \(hopLimit)")
      }
      #expect(try attempt(type, to: "fd77::2", hopLimit: 1) == EPERM, "a report to one host, type \(type)")
    }
    #expect(try attempt(solicitation, to: "fd77::2", hopLimit: 255) == 0)
    for hopLimit in [1, 64, 254] as [Int32] {
      #expect(try attempt(solicitation, to: "fd77::2", hopLimit: hopLimit) == EPERM, "hop limit \(hopLimit)")
    }
  }

  @Test func `leaves neighbour discovery at work, for the tunnel's own datagrams`() throws {
    let pair = try VethPair()
    for host in [pair.left, pair.right] { try host.ip("neighbour flush dev v0 nud permanent") }
    try turnOn(in: pair.left)
    try turnOn(in: pair.right)
    let receiver = try Receiver(on: "fd77::2", in: pair.right)
    // A young cable loses the first solicitation; the next one is a second later.
    let arrives = try (0..<100).contains { _ throws in
      #expect(try Attempt(to: "fd77::2", port: receiver.port, mark: Self.mark).carriedOut(in: pair.left) == 0)
      return receiver.hasReceived(within: 0.2)
    }
    #expect(arrives)
  }

  @Test(arguments: ["10.77.0.2", "fd77::2"])
  func `drops what is forwarded, whatever it looks like, but for what came in through the tunnel`(target: String) throws
  {
    let pair = try VethPair()
    let (left, lan) = (pair.left, try NetworkNamespace())
    try left.ip(
      "link add lan0 address 02:00:00:00:00:11 type veth peer lan0 address 02:00:00:00:00:12 netns \(lan.name)")
    for (host, own, other) in [(left, 1, 2), (lan, 2, 1)] {
      try host.ip("link set lan0 up")
      for network in ["10.78.0.", "fd78::"] {
        try host.ip("address add \(network)\(own)/\(network == "fd78::" ? "64 dev lan0 nodad" : "24 dev lan0")")
        try host.ip("neighbour replace \(network)\(other) lladdr 02:00:00:00:00:1\(other) dev lan0 nud permanent")
      }
    }
    for command in ["route add default via 10.78.0.1", "-6 route add default via fd78::1"] { try lan.ip(command) }
    try left.inside {
      try Sysctl.set("net.ipv4.ip_forward", to: "1")
      try Sysctl.set("net.ipv6.conf.all.forwarding", to: "1")
    }
    let (dhcp, client): (UInt16, UInt16) = target.contains(":") ? (547, 546) : (67, 68)
    let receiver = try Receiver(on: target, port: dhcp, in: pair.right)
    // What this host sends itself comes after, so what has not come before it does not come.
    func arrived(past interface: String) throws -> Int {
      for source in [0, client] {
        #expect(try Attempt(to: target, port: dhcp, from: source).carriedOut(in: lan) == 0)
      }
      let own = ExecutionMark.outside(of: interface)
      #expect(try Attempt(to: target, port: dhcp, mark: own).carriedOut(in: left) == 0)
      #expect(receiver.hasReceived(within: 10))
      return receiver.takeAll() - 1
    }
    #expect(try arrived(past: "wg0") == 2)
    try turnOn(in: left)
    #expect(try arrived(past: "wg0") == 0)
    // A DHCP client of this machine may ask there, and no other's.
    try turnOn(in: left, networks: ["10.77.0.0/24", "fd77::/64"])
    #expect(try arrived(past: "wg0") == 0)
    try left.inside { try Firewall.run(FirewallRules(interface: "wg0").removal) }
    try turnOn(in: left, tunnel: "lan0")
    #expect(try arrived(past: "lan0") == 2)
  }

  @Test(arguments: [("10.77.0.2", ""), ("fd77::2", "-6 ")])
  func `stops what others have sent another way after a program's packet was routed into the tunnel`(
    target: String, family: String
  ) throws {
    let pair = try VethPair()
    let left = pair.left
    try left.ip("link add wg0 type veth peer name inside")
    for link in ["wg0", "inside"] { try left.ip("link set \(link) up") }
    // By default into the tunnel; with the mark 1 past it.
    try left.ip("\(family)route add \(target) dev v0 table 5")
    try left.ip("\(family)route add \(target) dev wg0 metric 1")
    try left.ip("\(family)rule add fwmark 1 table 5")
    try turnOn(in: left)
    #expect(try Attempt(to: target).carriedOut(in: left) == 0)
    try left.inside {
      try Firewall.run(
        "table inet other { chain c { type route hook output priority -150; udp dport 9 meta mark set 1; }; }")
    }
    #expect(try Attempt(to: target).carriedOut(in: left) == EPERM)
    #expect(try Attempt(to: target, port: 10).carriedOut(in: left) == 0)
  }

  private func turnOn(
    in namespace: NetworkNamespace, tunnel: String = "wg0", covered: [String] = ["0.0.0.0/0", "::/0"],
    networks: [String] = [], lan: KillSwitchRules.LAN = .closed
  ) throws {
    func prefixes(_ list: [String]) throws -> [IPPrefix] { try list.map { try #require(IPPrefix($0)) } }
    let rules = FirewallRules(
      interface: tunnel, mark: Self.mark,
      killSwitch: KillSwitchRules(covered: try prefixes(covered), networks: try prefixes(networks), lan: lan))
    try namespace.inside { try Firewall.run(rules.script) }
  }
}
