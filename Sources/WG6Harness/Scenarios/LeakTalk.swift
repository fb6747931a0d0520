import CHarness
import Foundation

/// Who talks, and what is looked for.
extension LeakHunt {
  /// Everybody begins to talk, and the captures see that they do.
  func talk() throws {
    for family in [AF_INET, AF_INET6] { listeners.append(try listen(family)) }
    let near = ["198.51.100.1", "2001:db8:200::1", "192.168.7.2", "fd07::2"]
    var ways: [Chatter.Way] = []
    for target in [Self.far.v4, Self.far.v6] + near { ways += [.datagrams(target, port: 9), .raw(target)] }
    for target in [Self.far.v4, Self.far.v6] {
      ways += [
        .oldConnection(target, port: 81), .connections(target, port: 80), .connectedDatagrams(target, port: 9),
        .datagrams(target, port: 53), .datagrams(target, port: 53, through: "wan"),
        .datagrams(target, port: 53, through: "lte"),
      ]
    }
    ways += [
      .connectedDatagrams(Self.far.v4, port: 9, from: "203.0.113.2"),
      .connectedDatagrams(Self.far.v6, port: 9, from: "2001:db8:200::2"),
    ]
    for group in [
      "224.0.0.251", "239.255.255.250", "239.192.0.1", "255.255.255.255", "198.51.100.255", "ff02::fb", "ff05::c",
      "ff08::1",
    ] {
      ways += ["wan", "lte", "lan"].map { .datagrams(group, port: 5353, through: $0) }
    }
    chatters.append(try Chatter(on: home, ways))
    chatters.append(
      try Chatter(
        on: laptop,
        [(Self.far.v4, "192.168.7.2"), (Self.far.v6, "fd07::2")].flatMap { (target, own) -> [Chatter.Way] in
          [
            .datagrams(target, port: 9), .connections(target, port: 80), .raw(target),
            // What a DHCP client may send from home, and nobody through it.
            .connectedDatagrams(target, port: 67, from: own, sourcePort: 68),
            .connectedDatagrams(target, port: 547, from: own, sourcePort: 546),
          ]
        }))
    // Strangers, whom the kernel itself answers: with resets, echo replies and ICMP errors.
    let own = ["198.51.100.2", "2001:db8:100::2", "203.0.113.2", "2001:db8:200::2"]
    chatters.append(
      try Chatter(
        on: net,
        own.flatMap { (target) -> [Chatter.Way] in
          [.datagrams(target, port: 7), .connections(target, port: 7), .raw(target)]
        } + [
          .connectedDatagrams("198.51.100.2", port: 7, from: Self.far.v4),
          .connectedDatagrams("2001:db8:100::2", port: 7, from: Self.far.v6),
        ]))
    for host in [home, laptop] {
      for target in [Self.far.v4, Self.far.v6] { pings.append(try host.startPing(target, count: 100_000, every: 0.05)) }
    }
    for target in own { pings.append(try net.startPing(target, count: 100_000, every: 0.05)) }

    let tunnelled = "udp and src port 51820 and dst port 51820 and (\(hosts("dst", Self.gateways)))"
    // What the tunnel brought for the LAN; also home's own, which the server sent back, and whose hop limit shows it: while
    // rules are being made, the tunnel takes what is for the LAN.
    let forwarded =
      hosts("src", [Self.far.v4, Self.far.v6]) + " or (src host 10.66.0.2 and ip[8] < 64)"
      + " or (src host fd66::2 and ip6[7] < 64)"
    // The uplinks' networks are public ones: with lan they are the tunnel's.
    let local = ["no": Self.localNetworks + Self.uplinkNetworks, "lan": Self.localNetworks][killSwitch] ?? []
    for (port, _, _) in Self.uplinks { watches.append(try LeakWatch(on: port, of: home, allowed: [tunnelled] + local)) }
    watches.append(try LeakWatch(on: "lan", of: home, allowed: [forwarded] + local))
    for watch in watches {
      try waitUntil("the capture on \(watch.capture.interface) sees what leaves") { try watch.leaks().count > 50 }
    }
  }

  private static let localNetworks = networks([
    "192.168.7.0/24", "224.0.0.0/24", "239.255.0.0/16", "255.255.255.255/32", "fd07::/64", "fe80::/10", "ff02::/16",
    "ff05::/16",
  ])
  private static let uplinkNetworks = networks([
    "198.51.100.0/24", "203.0.113.0/24", "2001:db8:100::/64", "2001:db8:200::/64",
  ])

  private static func networks(_ prefixes: [String]) -> [String] {
    prefixes.map { "\($0.contains(":") ? "ip6" : "ip") and dst net \($0)" }
  }

  private func hosts(_ side: String, _ addresses: [String]) -> String {
    addresses.map { "\(side) host \($0)" }.joined(separator: " or ")
  }

  /// A listener that never looks at who comes: its kernel completes connections.
  private func listen(_ family: Int32) throws -> Int32 {
    let socket = try net.socket(family: family, type: SOCK_STREAM)
    let address = try SocketAddress(family == AF_INET ? Self.far.v4 : Self.far.v6, 81)
    guard address.withPointer({ bind(socket, $0, $1) }) == 0, Glibc.listen(socket, 16) == 0 else {
      throw SystemFailure("listen on \(net.name)")
    }
    return socket
  }
}
