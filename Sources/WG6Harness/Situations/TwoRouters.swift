import Foundation

extension Scenario {
  /// Situation 4.
  static let twoRouters = Scenario(
    "two-routers", "two IPv6 networks behind two routers that only IPv4 joins; a packet taken apart header by header",
    needs: [
      .commandLine, .program("traceroute", package: "traceroute"), .program("tshark", package: "tshark"),
    ]
  ) { lab in
    lab.say(
      """
      PC A ────────── router-a ═════ IPv4 ═════ router-b ────────── PC B
      2001:2::8067    2001:2::1                 2001:3::1           2001:3::8067
                      192.168.122.127     192.168.122.134
      """)
    let pcA = try lab.host("pc-a"), pcB = try lab.host("pc-b")
    let routerA = try lab.host("router-a"), routerB = try lab.host("router-b")
    try lab.cable(pcA.port("eth0", "2001:2::8067/64"), routerA.port("lan", "2001:2::1/64"))
    try lab.cable(routerA.port("wan", "192.168.122.127/24"), routerB.port("wan", "192.168.122.134/24"))
    try lab.cable(routerB.port("lan", "2001:3::1/64"), pcB.port("eth0", "2001:3::8067/64"))
    for (pc, router, gateway) in [(pcA, routerA, "2001:2::1"), (pcB, routerB, "2001:3::1")] {
      try router.sysctl(["net.ipv6.conf.wan.disable_ipv6": "1", "net.ipv6.conf.all.forwarding": "1"])
      try pc.route(via: gateway)
      try pc.reach(gateway)
    }
    try routerA.reach("192.168.122.134")

    let situation = try Situation("two-routers", of: [routerA, routerB], foreign: "router-b", in: lab)
    try situation.up(routerA, routerB)
    let keys = "\(lab.directory)/keys"
    let keyLog = try Recorder("keylog", ["-w", keys], of: "wgnet", on: routerA)
    let outer = try routerA.capture(on: "wan", "udp", bytes: 65_535)
    try pcA.reach("2001:3::8067")

    let trace = try pcA.show("traceroute", "-6", "-n", "-q", "1", "2001:3::8067")
    let hops = trace.split(separator: "\n").dropFirst().compactMap { line in
      line.split(separator: " ").dropFirst().first.map(String.init)
    }
    try lab.require(
      hops == ["2001:2::1", "2001:3::1", "2001:3::8067"], "traceroute shows the two routers and PC B", trace)
    lab.measured("hops", "\(hops.count)")
    let tunnelled = try pcB.startPing("2001:2::8067", count: 20, every: 0.05).result(within: 30)
    try lab.require(tunnelled.lost == 0, "PC B reaches PC A: 20 of 20 pings answered", "\(tunnelled.received)")
    let plain = try routerA.startPing("192.168.122.134", count: 20, every: 0.05).result(within: 30)
    lab.measured(
      "round trip", "\(tunnelled.roundTrips.mean) ms tunnelled, \(plain.roundTrips.mean) ms between the routers")
    outer.stop()
    try lab.require(keyLog.stop() == 0, "'wg6 keylog' ends well")

    let packets = try outer.packets()
    try lab.require(
      !packets.isEmpty && packets.allSatisfy { $0.transport == 17 && $0.destinationPort == 51820 },
      "\(packets.count) packets between the routers, and all are the tunnel's", "\(packets.count)")
    let shown = try routerA.run([
      "tshark", "-r", outer.path, "-o", "wg.keylog_file:\(keys)", "-Y",
      "icmpv6.type == 128 && ipv6.src == 2001:2::8067",
      "-V", "-c", "200",
    ]).output.components(separatedBy: "\nFrame ")[0]
    // Lines of a header's fields are indented; behind an empty line come the bytes.
    let headers = shown.components(separatedBy: "\n\n")[0].components(separatedBy: "\n")
    lab.say("\na packet of PC A's between the routers, as tshark shows it with the keys of 'wg6 keylog':")
    let names = headers.filter { !$0.hasPrefix(" ") && !$0.hasPrefix("Frame ") }
    for name in names { lab.say("  " + name) }
    let expected = [
      "Ethernet II", "Internet Protocol Version 4", "User Datagram Protocol", "WireGuard Protocol",
      "Internet Protocol Version 6", "Internet Control Message Protocol v6",
    ]
    try lab.require(
      names.count == expected.count && zip(names, expected).allSatisfy { $0.hasPrefix($1) }
        && headers.contains { $0.trimmed == "Hop Limit: 63" },
      "its headers: Ethernet, IPv4, UDP, WireGuard, IPv6 with hop limit 63, ICMPv6", headers.joined(separator: "\n"))
    try situation.down(routerA, routerB)
  }
}
