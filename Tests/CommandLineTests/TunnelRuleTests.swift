import Foundation
import Testing

/// Rules of several tunnels, as the kernel follows them.
extension `Tunnels beside each other and after a failure` {
  @Test(arguments: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
  func `in whatever order tunnels come up, the longest prefix wins, also around an endpoint`(order: [Int]) throws {
    let space = try Namespace(device: false)
    let names = ["", "b", "c"].map { space.interface + $0 }
    let (all, wide, narrow) = (names[0], names[1], names[2])
    let endpoints = ["127.0.0.1:5555", "10.8.0.5:5555", "[fd99:1::5]:5555"]
    let prefixes = ["0.0.0.0/0, ::/0", "10.0.0.0/8, fd00::/8", "10.8.0.0/16, fd99:1::/32"]
    // Each of the narrower two has its own endpoint inside in one family, and the other's in the other one.
    let ways = [
      ("8.8.8.8", all), ("2001:db8::8", all), ("10.1.1.1", wide), ("fd12::1", wide), ("10.8.1.1", narrow),
      ("fd99:1::1", narrow),
    ]
    func expect(_ up: [String]) throws {
      for (destination, name) in ways where up.contains(name) && up.contains(all) {
        let way = try space.ip("route", "get", destination).output
        #expect(way.contains(" dev \(name) "), "\(up): \(way)")
      }
      for name in up {
        let mark = try space.wg(["show", name, "fwmark"]).output.trimmingCharacters(in: .newlines)
        guard mark != "off" else { continue }
        for endpoint in ["10.8.0.5", "fd99:1::5"] {
          let way = try space.ip("route", "get", endpoint, "mark", mark).output
          #expect(
            !way.contains(" dev \(name) ") || !endpoints[names.firstIndex(of: name)!].contains(endpoint), "\(way)")
        }
      }
    }
    var up: [String] = []
    for number in order {
      let file = try configuration(
        space, named: names[number], allowedIPs: prefixes[number], endpoint: endpoints[number], number: number)
      try space.require(space.wg6(["up", file]))
      up.append(names[number])
      try expect(up)
    }
    for name in up {
      try space.require(space.wg6(["reload", name]))
      try expect(up)
    }
    while let name = up.popLast() {
      try space.require(space.wg6(["down", name]))
      try expect(up)
    }
    let left = try rules(space)
    #expect(!left.contains("proto 108"), "\(left)")
  }

  @Test func `the block of rules is restored as it was`() throws {
    let space = try Namespace(device: false)
    let other = "\(space.interface)b"
    try space.require(space.wg6(["up", configuration(space, allowedIPs: "10.0.0.0/8", endpoint: "10.8.0.5:5555")]))
    try space.require(
      space.wg6(["up", configuration(space, named: other, allowedIPs: "0.0.0.0/0, ::/0", number: 1)]))
    // Put there anew, the block is in another place.
    func order() throws -> [Substring] {
      try rules(space).split(separator: "\n").map { $0.drop { $0 != "\t" } }
    }
    let before = try order()
    for _ in 0..<3 {
      let line = try #require(try rules(space).split(separator: "\n").first { $0.contains("suppress_prefixlength 7") })
      try space.require(space.ip("rule", "delete", "priority", String(line.prefix { $0 != ":" })))
      try waitUntil("the rule is back") { try order() == before }
      try space.require(space.ip("rule", "delete", "to", "10.0.0.0/8", "lookup", "main"))
      try waitUntil("what is asked before it is back") { try order() == before }
      #expect(try space.ip("route", "get", "10.1.1.1").output.contains(" dev \(space.interface) "))
    }
    try space.require(space.wg6(["down", other]))
    try space.require(space.wg6(["down", space.interface]))
    #expect(try !rules(space).contains("proto 108"))
  }

  @Test(arguments: ["the daemon killed", "another mark set"])
  func `down without a journal knows the tunnel's rules by its firewall table, too`(case name: String) throws {
    let space = try Namespace(device: false)
    for allowedIPs in ["0.0.0.0/0, ::/0", "127.0.0.0/8, 10.0.0.0/8"] {
      try space.require(space.wg6(["up", configuration(space, allowedIPs: allowedIPs)]))
      #expect(try rules(space).contains("proto 108"))
      try space.endWatching()
      try FileManager.default.removeItem(atPath: "/run/wg6/\(space.interface).journal")
      if name == "the daemon killed" {
        try space.killDaemon()
      } else {
        try space.require(space.wg6(["set", space.interface, "fwmark", "77"]))
      }
      try space.require(space.wg6(["down", space.interface]))
      #expect(try !rules(space).contains("proto 108") && tables(space).isEmpty)
    }
  }

  @Test(arguments: ["0xfe", "0x400000fe", "0x40000000"])
  func `a mark whose number is one of the kernel's own tables has others`(mark: String) throws {
    let space = try Namespace(device: false)
    let before = try space.ip("route", "show", "table", "main").output
    for (allowedIPs, destination) in [("0.0.0.0/0, ::/0", "8.8.8.8"), ("192.0.2.0/24", "192.0.2.9")] {
      let file = try configuration(
        space, "FwMark = \(mark)", allowedIPs: allowedIPs, endpoint: "192.0.2.1:5555")
      try space.require(space.wg6(["up", file]))
      #expect(try space.ip("route", "get", destination).output.contains(" dev \(space.interface) "))
      let own = try space.ip("route", "get", "192.0.2.1", "mark", mark).output
      #expect(!own.contains(" dev \(space.interface) "), "\(own)")
      try space.require(space.wg6(["down", space.interface]))
      #expect(try !rules(space).contains("proto 108"))
      #expect(try space.ip("route", "show", "table", "main").output == before)
    }
  }
}
