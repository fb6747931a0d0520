import Foundation
import Testing

/// What follows the machine into other networks, and what of the main table counts there.
extension `What keeps traffic in a tunnel is watched over` {
  @Test(arguments: ["KillSwitch = lan", "KillSwitch = yes\nExcludedIPs = lan"])
  func `a kill switch with lan follows the machine into other networks, and into none that is public`(lines: String)
    throws
  {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, lines), log = space.directory.path + "/log"
    try space.require(space.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1"))
    for device in ["v0", "v1"] { try space.require(space.ip("link", "set", device, "up")) }
    try space.require(space.ip("addr", "add", "192.168.9.2/24", "dev", "v0"))
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let up = try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", "-v", "--foreground", file],
      environment: ["WG6D": Programs.daemon!], files: ["/dev/null", "/dev/null", log])
    func told() throws -> String { try String(contentsOfFile: log, encoding: .utf8) }
    func sets() throws -> String {
      try ["lan4", "lan6"].map {
        try space.inside(Programs.nft!, ["list", "set", "inet", "wg6-\(space.interface)", $0]).output
      }.joined()
    }
    try waitUntil("the tunnel is up") { try told().contains("serving until") }
    #expect(try sets().contains("192.168.9.0/24") && !told().contains("now:"))
    let addresses = ["10.19.0.2/24", "fd19::2/64", "8.0.0.2/5", "2000::2/3"]
    for address in addresses {
      let words = ["addr", "add", address, "dev", "v0"] + (address.contains(":") ? ["nodad"] : [])
      try space.require(run(Programs.ip!, ["-n", space.name] + words))
    }
    try waitUntil("it follows") { try sets().contains("10.19.0.0/24") && sets().contains("fd19::/64") }
    try waitUntil("the log reports what it does not follow") {
      try told().contains("8.0.0.0/5") && told().contains("2000::/3")
    }
    #expect(try !sets().contains("8.0.0.0") && !sets().contains("2000::"))
    let foreign = try told().split(separator: "\n").filter {
      $0.contains("no local network by its address and stays in the tunnel")
    }
    #expect(!foreign.isEmpty && foreign.allSatisfy { !$0.contains("10.19.") && !$0.contains("fd19:") }, "\(foreign)")
    #expect(try told().contains("the local networks that stay reachable past the tunnel are now: 10.19.0.0/24"))
    try space.require(space.ip("addr", "flush", "dev", "v0"))
    try waitUntil("what is gone is closed") {
      try !sets().contains("10.19.0.0/24") && !sets().contains("192.168.9.0/24")
    }
    #expect(try !sets().contains("fd19::"))
    // A program that has lost its network comes into another.
    try space.require(space.ip("addr", "add", "172.20.0.2/16", "dev", "v0"))
    try waitUntil("it follows again") { try sets().contains("172.20.0.0/16") }
    up.send(SIGTERM)
    #expect(up.wait() == 0)
    #expect(try tables(space).isEmpty && names(space).isEmpty)
  }

  @Test func `a kill switch without lan follows, too: a DHCP client may ask servers where the machine is now`() throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "KillSwitch = yes")
    try space.require(space.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1"))
    for device in ["v0", "v1"] { try space.require(space.ip("link", "set", device, "up")) }
    try space.require(space.wg6(["up", file]))
    func rules() throws -> String {
      try space.inside(Programs.nft!, ["list", "table", "inet", "wg6-\(space.interface)"]).output
    }
    let (anybody, near) = ("ip daddr 255.255.255.255 udp sport 68", "ip daddr @lan4 udp sport 68")
    #expect(try rules().contains(anybody) && !rules().contains(near))
    try space.require(space.ip("addr", "add", "10.19.0.2/24", "dev", "v0"))
    try waitUntil("servers there may be asked") { try rules().contains(near) && rules().contains("10.19.0.0/24") }
    #expect(try rules().contains(anybody) && !rules().contains("ip daddr @lan4 accept"))
    try space.require(space.ip("addr", "flush", "dev", "v0"))
    try waitUntil("they may not any longer") { try !rules().contains("lan4") }
    try space.require(space.wg6(["down", file]))
  }

  @Test(arguments: ["", "KillSwitch = yes"])
  func `a reload that takes the addresses out of a network frees its broadcast address, and one back guards it`(
    lines: String
  ) throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, lines, allowedIPs: "10.8.0.0/16")
    let wide = try String(contentsOfFile: file, encoding: .utf8)
    let narrow = wide.replacingOccurrences(of: ".1/24", with: ".1/32").replacingOccurrences(
      of: "::1/64", with: "::1/128")
    func isGuarded() throws -> Bool {
      try space.inside(Programs.nft!, ["list", "ruleset"]).output.contains("ip daddr 10.9.0.255 ")
    }
    try space.require(space.wg6(["up", file]))
    try waitUntil("the broadcast address is guarded") { try isGuarded() }
    for (text, guards) in [(narrow, false), (wide, true), (narrow, false)] {
      _ = try space.file("\(space.interface).conf", text)
      try space.require(space.wg6(["reload", file]))
      try waitUntil("10.9.0.255 is \(guards ? "" : "not ")guarded") { try isGuarded() == guards }
    }
    try space.require(space.wg6(["down", file]))
  }

  @Test func `with lan excluded nothing but local routes of the main table comes before the tunnel`() throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "ExcludedIPs = lan")
    try space.require(space.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1"))
    for device in ["v0", "v1"] { try space.require(space.ip("link", "set", device, "up")) }
    try space.require(space.ip("addr", "add", "192.168.9.2/24", "dev", "v0"))
    try space.require(space.ip("addr", "add", "fd09::2/64", "dev", "v0", "nodad"))
    let before = try policy(space)
    try space.require(space.wg6(["up", file]))
    for route in [
      "0.0.0.0/1 dev v0", "8.0.0.0/5 dev v0", "128.0.0.0/1 dev v0", "8.8.8.0/24 via 192.168.9.1", "10.20.0.0/16 dev v0",
      "2000::/3 dev v0", "2001:db8:99::/48 via fd09::1", "::/1 dev v0", "8000::/1 dev v0",
    ] {
      let words = (route.contains(":") ? ["-6"] : []) + ["route", "add"] + route.split(separator: " ").map(String.init)
      try space.require(run(Programs.ip!, ["-n", space.name] + words))
    }
    func way(to address: String) throws -> String { try space.ip("route", "get", address).output }
    let far = [
      "8.8.8.8", "9.9.9.9", "1.1.1.1", "200.0.0.1", "10.1.2.3", "172.20.0.1", "2600::1", "2001:db8:99::1", "a000::1",
    ]
    for address in far { #expect(try way(to: address).contains("dev \(space.interface)"), "\(address)") }
    for address in ["192.168.9.7", "10.20.1.1", "fd09::7"] {
      #expect(try way(to: address).contains("dev v0"), "\(address)")
    }
    let check = try space.wg6(["check", file])
    #expect(check.status == 2 && check.output.contains("[foreign-network]"), "\(check.output)")
    #expect(check.output.contains("lan does not stand for 0.0.0.0/1, 8.0.0.0/5, 128.0.0.0/1, ::/1 and 2 more"))
    #expect(check.output.contains("the main table's way to 8.8.8.0/24, 2001:db8:99::/48 is not taken"))
    try space.require(space.wg6(["down", space.interface]))
    #expect(try policy(space) == before)
  }

  @Test func `a reload with lan excluded, or not any longer, ends where a fresh up would`() throws {
    let space = try Namespace(device: false)
    try space.require(space.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1"))
    for device in ["v0", "v1"] { try space.require(space.ip("link", "set", device, "up")) }
    try space.require(space.ip("addr", "add", "192.168.9.2/24", "dev", "v0"))
    let bare = try policy(space)
    /// Rules without their priorities, in their order, and routes.
    func state() throws -> [String] {
      try policy(space).split(separator: "\n").map { String($0.drop { $0.isNumber || $0 == ":" }) }
        + space.ip("route", "show", "dev", space.interface).output.split(separator: "\n").map(String.init)
        + tables(space).split(separator: "\n").map(String.init)
    }
    for allowedIPs in ["0.0.0.0/0, ::/0", "198.51.100.0/24, 192.168.0.0/16, 2001:db8::/32"] {
      let texts = try ["", "ExcludedIPs = lan", "ExcludedIPs = lan\nKillSwitch = yes"].map {
        try String(contentsOfFile: guardedTunnel(space, $0, allowedIPs: allowedIPs), encoding: .utf8)
      }
      let file = try guardedTunnel(space, "", allowedIPs: allowedIPs)
      var fresh: [[String]] = []
      for text in texts {
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        try space.require(space.wg6(["up", file]))
        fresh.append(try state())
        try space.require(space.wg6(["down", space.interface]))
        #expect(try policy(space) == bare)
      }
      try texts[0].write(toFile: file, atomically: false, encoding: .utf8)
      try space.require(space.wg6(["up", file]))
      for number in [1, 0, 2, 1, 2, 0] {
        try texts[number].write(toFile: file, atomically: false, encoding: .utf8)
        try space.require(space.wg6(["reload", file]))
        #expect(try state() == fresh[number], "\(allowedIPs), \(number)")
      }
      try space.require(space.wg6(["down", space.interface]))
      #expect(try policy(space) == bare && tables(space).isEmpty)
    }
  }
}
