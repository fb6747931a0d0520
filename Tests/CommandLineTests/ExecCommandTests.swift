import Foundation
import Testing

@Suite(.enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Programs that keep to a tunnel` {
  @Test func `need a tunnel, a program and addresses that are some`() throws {
    let space = try Namespace(device: false)
    let absent = try space.wg6(["exec", space.interface, "--", "true"])
    #expect(absent.status == 1 && absent.errors == "\(space.interface): it is not up\n")
    let aimless = try space.wg6(["exec", space.interface])
    #expect(aimless.status == 64 && aimless.errors.contains("Which program?"))
    let mistaken = try space.wg6(["exec", "--dns", "10.0.0", space.interface, "--", "true"])
    #expect(mistaken.status == 64 && mistaken.errors.contains("--dns 10.0.0: expected an IPv4 or IPv6 address"))
    let stranger = try space.wg6(["exec", "--user", "no such user", space.interface, "--", "true"])
    #expect(stranger.status == 1 && stranger.errors.contains("there is no user 'no such user'"))
  }

  @Test func `run with arguments, input and names of their own, and leave nothing when the tunnel goes`() throws {
    let space = try Namespace(device: false)
    try space.require(space.ip("link", "add", space.interface, "type", "veth", "peer", "other"))
    try space.require(space.ip("link", "set", space.interface, "up"))
    try space.require(space.ip("address", "add", "10.9.0.1/24", "dev", space.interface))
    let outcome = try space.inside(
      Programs.wg6,
      [
        "exec", "--dns", "10.9.0.53", space.interface, "--", "sh", "-c", "cat - /etc/resolv.conf; exit $1", "name", "3",
      ],
      input: "in\n")
    #expect(outcome.status == 3 && outcome.output == "in\nnameserver 10.9.0.53\n", "\(outcome)")
    #expect(try space.inside("/bin/cat", ["/etc/resolv.conf"]).output.contains("10.9.0.53") == false)
    try space.require(space.wg6(["exec", "--outside", space.interface, "--", "true"]))
    let routes = try space.ip("-4", "route", "show", "table", "all").output
    #expect(routes.contains("default dev \(space.interface) table "), "\(routes)")
    let rules = try space.ip("rule").output
    #expect(rules.components(separatedBy: "fwmark").count == 3, "one for each way: \(rules)")
    for way in [[], ["--outside"], []] {
      let own = try space.wg6(["exec"] + way + [space.interface, "--", "cat", "/proc/self/cgroup"])
      #expect(own.status == 0 && own.output.contains(way.isEmpty ? "-inside\n" : "-outside\n"), "\(own)")
    }
    #expect(try space.ip("rule").output == rules)
    // Another tunnel's rule comes before them, and ours before that again.
    try space.require(space.ip("rule", "add", "not", "fwmark", "7", "table", "7"))
    try space.require(space.wg6(["exec", space.interface, "--", "true"]))
    let first = try space.ip("rule").output.split(separator: "\n").dropFirst().first ?? ""
    #expect(first.contains("fwmark 0x") && !first.contains("not"), "\(first)")
    try space.require(space.ip("rule", "delete", "not", "fwmark", "7", "table", "7"))
    try space.require(space.ip("link", "delete", space.interface))
    #expect(try space.wg6(["down", space.interface]).errors == "\(space.interface): it is not up\n")
    #expect(try !space.ip("rule").output.contains("fwmark"))
    #expect(try !space.ip("-6", "rule").output.contains("fwmark"))
    #expect(try !space.ip("route", "show", "table", "all").output.contains("unreachable"))
    // Once more, where nothing is there.
    #expect(try space.wg6(["down", space.interface]).errors == "\(space.interface): it is not up\n")
  }

  @Test func `that still run when the tunnel goes stay cut off until they have ended`() throws {
    guard let nft = Programs.nft else { return }
    let space = try Namespace(device: false), table = "wg6exec-\(space.interface)"
    func tables() throws -> String { try space.inside(nft, ["list", "tables"]).output }
    for runs in [false, true] {
      try space.require(space.ip("link", "add", space.interface, "type", "veth", "peer", "other"))
      try space.require(space.ip("link", "set", space.interface, "up"))
      try space.require(space.ip("address", "add", "10.9.0.1/24", "dev", space.interface))
      let started = space.directory.path + "/started"
      let program = try Running(
        Programs.ip!,
        [
          "netns", "exec", space.name, Programs.wg6, "exec", "--dns", "10.9.0.53", space.interface, "--", "sh", "-c",
          "touch \(started); exec sleep \(runs ? 60 : 0)",
        ])
      try waitUntil("it runs") { FileManager.default.fileExists(atPath: started) }
      if !runs { _ = program.wait() }
      #expect(try tables().contains(table))
      try space.require(space.ip("link", "delete", space.interface))
      let errors = try space.wg6(["down", space.interface]).errors
      #expect(errors.contains("they stay cut off until they end") == runs, "\(errors)")
      if runs {
        let guarded = try space.inside(nft, ["list", "table", "inet", table]).output
        #expect(guarded.contains("guard-output") && guarded.contains("reject"), "\(guarded)")
        program.send(SIGKILL)
        _ = program.wait()
        _ = try space.wg6(["down", space.interface])
      }
      #expect(try !tables().contains(table))
      try? FileManager.default.removeItem(atPath: started)
    }
  }

  @Test func `may be the file's own command, while the tunnel comes up`() throws {
    let space = try Namespace(device: false)
    let said = space.directory.appendingPathComponent("said").path
    let file = try space.file(
      "\(space.interface).conf",
      """
      [Interface]
      PrivateKey = \(try keyPair().private)
      Address = 10.9.0.1/24
      PostUp = \(Programs.wg6) exec --dns 10.9.0.53 %i -- grep nameserver /etc/resolv.conf >\(said)
      """)
    let up = try space.wg6(["up", file])
    #expect(up.status == 0, "\(up.errors)")
    #expect(try String(contentsOfFile: said, encoding: .utf8) == "nameserver 10.9.0.53\n")
    try space.require(space.wg6(["down", file]))
    #expect(try !space.ip("rule").output.contains("fwmark"))
  }
}
