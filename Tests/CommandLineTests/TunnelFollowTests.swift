import Foundation
import Testing

/// What follows the machine into other networks, and in which order a reload does things.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Tunnels in other networks` {
  /// A namespace in the network of `address`.
  private func place(in address: String) throws -> Namespace {
    let space = try Namespace(device: false)
    try space.require(space.ip("link", "add", "w0", "type", "veth", "peer", "name", "w1"))
    for name in ["w0", "w1"] { try space.require(space.ip("link", "set", name, "up")) }
    try space.require(space.ip("address", "add", address, "dev", "w0"))
    return space
  }

  @Test func `what lan stands for is renewed when the machine moves, in both directions, and nothing else is`() throws {
    let space = try place(in: "192.168.1.5/24")
    let file = try configuration(space, "ExcludedIPs = lan", allowedIPs: "10.77.0.0/16, 192.0.2.0/24")
    try space.require(space.wg6(["up", file]))
    func prefixes() throws -> String { try space.wg(["show", space.interface, "allowed-ips"]).output }
    func way() throws -> String { try space.ip("route", "get", "10.77.0.9").output }
    #expect(try prefixes().contains("10.77.0.0/16") && way().contains("dev \(space.interface)"))

    func move(from: String, to: String) throws {
      try space.require(space.ip("address", "delete", from, "dev", "w0"))
      try space.require(space.ip("address", "add", to, "dev", "w0"))
    }
    try move(from: "192.168.1.5/24", to: "10.0.0.5/8")
    try waitUntil("the prefix is the local network's") { try !prefixes().contains("10.77.0.0/16") }
    try waitUntil("and so is the way there") { try way().contains("dev w0") }
    #expect(try prefixes().contains("192.0.2.0/24"))
    try waitUntil("a reload has nothing to change") {
      try space.wg6(["reload", "--dry-run", file]).output == "nothing to change\n"
    }
    try move(from: "10.0.0.5/8", to: "192.168.1.5/24")
    try waitUntil("the prefix is the peer's again") { try prefixes().contains("10.77.0.0/16") }
    try waitUntil("and so is the way there") { try way().contains("dev \(space.interface)") }

    // What a person has written and not carried out waits.
    let text = try String(contentsOfFile: file, encoding: .utf8)
    try text.replacing("192.0.2.0/24", with: "198.51.100.0/24").write(toFile: file, atomically: false, encoding: .utf8)
    try move(from: "192.168.1.5/24", to: "10.0.0.5/8")
    usleep(1_500_000)
    #expect(try prefixes().contains("10.77.0.0/16") && prefixes().contains("192.0.2.0/24"))
    try space.require(space.wg6(["reload", file]))
    #expect(try !prefixes().contains("10.77.0.0/16") && prefixes().contains("198.51.100.0/24"))
    try space.require(space.wg6(["down", file]))
    #expect(try space.watcher() == nil)
  }

  @Test func `an endpoint that moves into the tunnel's routes is told when these are made, and --dry-run says so`()
    throws
  {
    let space = try place(in: "203.0.113.5/24")
    let first = try configuration(space, allowedIPs: "10.8.0.0/16, 192.0.2.0/24", endpoint: "203.0.113.9:5555")
    try space.require(space.wg6(["up", first]))
    let text = try String(contentsOfFile: first, encoding: .utf8)
    let moved = text.replacing("203.0.113.9", with: "192.0.2.9") + "\nPersistentKeepalive = 25\n"
    try moved.write(toFile: first, atomically: false, encoding: .utf8)
    let lines = try space.wg6(["reload", "--dry-run", first]).output.split(separator: "\n")
    #expect(lines.last?.hasSuffix(": endpoint 192.0.2.9:5555") == true, "\(lines)")
    #expect(
      lines.contains { $0.hasSuffix(": keepalive 25 s") } && lines.contains { $0.hasPrefix("- route 192.0.2.0/24") })
    let done = try space.wg6(["reload", "-v", first])
    try space.require(done)
    #expect(done.output.split(separator: "\n") == lines)
    #expect(try space.wg(["show", space.interface, "endpoints"]).output.hasSuffix("\t192.0.2.9:5555\n"))
    #expect(try space.wg6(["reload", "--dry-run", first]).output == "nothing to change\n")
    // The way out is told first.
    try text.write(toFile: first, atomically: false, encoding: .utf8)
    let back = try space.wg6(["reload", "--dry-run", first]).output.split(separator: "\n")
    let endpoint = try #require(back.firstIndex { $0.contains(": endpoint 203.0.113.9:5555") }, "\(back)")
    #expect(back.firstIndex { $0.contains(" route ") || $0.contains(" rule ") } ?? 0 > endpoint, "\(back)")
    try space.require(space.wg6(["reload", first]))
    try space.require(space.wg6(["down", first]))
  }

  @Test func `what is strange in a name keeps a tunnel down in one line, for check as for up`() throws {
    let space = try Namespace(device: false)
    for name in ["a\"b", "up*", "b\\c", "a,b"] {
      let file = try configuration(space, named: name, allowedIPs: "10.8.0.0/16")
      for command in ["up", "check"] {
        let outcome = try space.wg6([command, file])
        let said = (outcome.errors + outcome.output).split(separator: "\n")
        #expect(outcome.status != 0 && said.count == 1 && said[0].contains("no interface's name"), "\(outcome)")
      }
    }
  }
}
