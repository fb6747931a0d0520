import Foundation
import Testing

/// What other programs delete of a tunnel, and tunnels that have default routes beside each other.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices && Programs.nft != nil, Programs.devicesAbsence))
struct `What keeps traffic in a tunnel is watched over` {
  @Test(arguments: ["", "KillSwitch = yes"])
  func `deleted rules and routes are back at once, and go for good with down`(lines: String) throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, lines)
    try space.require(space.wg6(["up", file]))
    let before = try policy(space)
    #expect(before.contains("proto 108") && before.contains("suppress_prefixlength 0"))
    for command in [
      ["-4", "rule", "delete", "table", "51820"],
      ["-6", "rule", "delete", "table", "main", "suppress_prefixlength", "0"],
      ["-4", "route", "flush", "table", "51820"], ["-6", "route", "flush", "table", "51820"],
    ] {
      try inTime(space, "ip -n \(space.name) \(command.joined(separator: " "))") { try policy(space) == before }
      // Not so often that it would be slowed down.
      usleep(10_000)
    }
    try space.require(space.wg6(["reload", file]))
    #expect(try policy(space) == before)
    try space.require(space.wg6(["down", space.interface]))
    #expect(try space.watcher() == nil)
    usleep(300_000)
    #expect(try !policy(space).contains("108") && tables(space).isEmpty && names(space).isEmpty)
  }

  @Test(arguments: ["yes", "lan"]) func `nobody flushes a kill switch, also when its daemon is gone`(switch: String)
    throws
  {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "KillSwitch = \(`switch`)")
    try space.require(space.wg6(["up", file]))
    let table = "wg6-\(space.interface)"
    func flush() throws { try space.require(space.inside(Programs.nft!, ["flush", "ruleset"])) }
    try flush()
    #expect(try tables(space).contains(table))
    let chain = ["delete", "table", "inet", table]
    #expect(try space.inside(Programs.nft!, chain).status != 0)
    for _ in 0..<3 {
      try space.require(space.wg6(["reload", file]))
      try flush()
      #expect(try tables(space).contains(table))
    }
    try space.killDaemon()
    try flush()
    #expect(try tables(space).contains(table))
    #expect(try space.wg6(["up", file], environment: ["WG6D": "/bin/false"]).status == 1)
    try flush()
    #expect(try tables(space).contains(table))
    try space.require(space.wg6(["up", file]))
    // The table outlives the watching process too, and the next reload starts another.
    try space.endWatching()
    #expect(try tables(space).contains(table))
    try space.require(space.wg6(["reload", file]))
    try flush()
    #expect(try tables(space).contains(table))
    try space.require(space.wg6(["down", space.interface]))
    #expect(try tables(space).isEmpty && space.watcher() == nil && names(space).isEmpty)
  }

  @Test func `without tables that can be owned a flushed or changed one is back at once, and the log says so`() throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "KillSwitch = yes"), log = space.directory.path + "/log"
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let up = try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", "-v", "--foreground", file],
      environment: ["WG6D": Programs.daemon!, "WG6_PLAIN_TABLES": "1"], files: ["/dev/null", "/dev/null", log])
    func told() throws -> String { try String(contentsOfFile: log, encoding: .utf8) }
    try waitUntil("the tunnel is up") { try told().contains("serving until") }
    let before = try ruleset(space)
    #expect(before.contains("reject") && !before.contains("flags owner") && !before.contains("flags persist"))
    for command in ["flush ruleset", "flush chain inet wg6-\(space.interface) output"] {
      let nft = "ip netns exec \(space.name) \(Programs.nft!) \(command)"
      try inTime(space, nft) { try ruleset(space) == before }
    }
    #expect(
      try told().contains("\(space.interface): the firewall table had been deleted or changed by another program"))
    // Somebody who does not give up.
    for _ in 0..<20 where try !told().contains("more slowly") {
      try space.require(space.inside(Programs.nft!, ["flush", "ruleset"]))
      try waitUntil("it is back") { try ruleset(space) == before }
    }
    #expect(try told().contains("once a second at the slowest"))
    let start = Date()
    for _ in 0..<3 {
      try space.require(space.inside(Programs.nft!, ["flush", "ruleset"]))
      try waitUntil("it is back, more slowly") { try ruleset(space) == before }
    }
    #expect(Date().timeIntervalSince(start) > 0.3 && Date().timeIntervalSince(start) < 3.5)
    up.send(SIGTERM)
    #expect(up.wait() == 0)
    usleep(300_000)
    #expect(try tables(space).isEmpty && names(space).isEmpty)
  }

  @Test func `show and check tell what was restored, and what is missing`() throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "KillSwitch = yes")
    try space.require(space.wg6(["up", file], environment: ["WG6_PLAIN_TABLES": "1"]))
    /// What both say of it; all else is what `wg` says, and what it was before.
    let checked = try space.wg6(["check", file])
    func told() throws -> [String] {
      let prefix = "\(space.interface): warning: "
      // A second may pass between two commands.
      func own(_ text: String) -> [String] {
        text.replacing(/, \d+ seconds? ago/, with: ", ago").split(separator: "\n").map(String.init)
          .filter { $0.hasPrefix(prefix) }
      }
      func shown() throws -> Outcome { try space.wg6(["show", space.interface]) }
      // What is restored between two commands is told by the later one alone.
      for _ in 0..<20 {
        let first = try shown(), lines = own(first.errors)
        // Others' tunnels are in it as well.
        let all = try own(space.wg6(["show"]).errors)
        let check = try space.wg6(["check", file])
        guard try own(shown().errors) == lines else { continue }
        #expect(try first.status == 0 && first.output == space.wg(["show", space.interface]).output)
        #expect(first.errors.split(separator: "\n").count == lines.count, "\(first.errors)")
        #expect(all == lines && own(check.output) == lines)
        #expect(lines.isEmpty ? check == checked : check.status == 2, "\(check)")
        // Not in the forms for scripts.
        #expect(try space.wg6(["show", space.interface, "dump"]).errors.isEmpty)
        return lines.map { String($0.dropFirst(prefix.count)) }
      }
      Issue.record("no two commands told the same")
      return []
    }
    #expect(try told().isEmpty)
    let before = try ruleset(space)
    for count in ["once", "2 times"] {
      try space.require(space.inside(Programs.nft!, ["flush", "ruleset"]))
      try waitUntil("it is back") { try ruleset(space) == before }
      try waitUntil("it is written down") { try told().first?.contains("restored \(count) since 'up'") == true }
      let lines = try told()
      #expect(lines.count == 1 && lines[0].hasSuffix("ago: the firewall table"), "\(lines)")
    }
    try space.require(space.ip("-4", "rule", "delete", "table", "51820"))
    try waitUntil("it is written down") {
      try told().first?.contains("restored 3 times") == true
    }
    #expect(try told()[0].contains("ago: the rule '32765:"))

    // What another process has taken the place of is restored by none.
    try space.endWatching()
    #expect(try told().contains { $0.contains("no process watches") && $0.contains("'wg6 reload") })
    try space.require(space.inside(Programs.nft!, ["flush", "ruleset"]))
    try space.require(space.ip("-6", "rule", "delete", "table", "51820"))
    let missing = try told()
    #expect(missing.contains("the firewall table wg6-\(space.interface) is missing"), "\(missing)")
    #expect(missing.contains { $0.hasPrefix("missing: the rule '32765:") }, "\(missing)")
    try space.require(space.wg6(["reload", file], environment: ["WG6_PLAIN_TABLES": "1"]))
    #expect(try told().count == 1)
    try space.require(space.wg6(["down", file]))
    #expect(try names(space).isEmpty)
    // The next one begins anew.
    try space.require(space.wg6(["up", file]))
    #expect(try told().isEmpty)
    try space.require(space.wg6(["down", file]))
  }

  @Test func `down wins against somebody who deletes all the time`() throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "KillSwitch = yes")
    for round in 0..<4 {
      let plain = round % 2 == 0 ? [:] : ["WG6_PLAIN_TABLES": "1"]
      try space.require(space.wg6(["up", file], environment: plain))
      let storm = try Running(
        "/bin/sh",
        [
          "-c",
          """
          while :; do
            ip netns exec \(space.name) sh -c 'nft flush ruleset; ip rule del table 51820; ip -6 rule del table 51820'
          done
          """,
        ], files: ["/dev/null", "/dev/null", "/dev/null"])
      usleep(UInt32(round) * 20_000)
      try space.require(space.wg6(["reload", file], environment: plain))
      try space.require(space.wg6(["down", space.interface]))
      storm.send(SIGTERM)
      _ = storm.wait()
      usleep(100_000)
      #expect(try tables(space).isEmpty && !policy(space).contains("108") && names(space).isEmpty)
    }
  }

  @Test func `a tunnel's datagrams are led past other tunnels before its first command and its daemon run`() throws {
    let space = try Namespace(device: false), rules = space.directory.path + "/rules"
    let other = "\(space.interface)b"
    try space.require(space.wg6(["up", guardedTunnel(space, "")]))
    let lines = "PreUp = \(Programs.ip!) -4 rule > \(rules)"
    try space.require(space.wg6(["up", guardedTunnel(space, lines, named: other, number: 1)]))
    let told = try String(contentsOfFile: rules, encoding: .utf8)
    #expect(told.contains("fwmark 0xca6d goto") && !told.contains("not from all fwmark 0xca6d"), "\(told)")
    for name in [other, space.interface] { try space.require(space.wg6(["down", name])) }
    #expect(try !policy(space).contains("0xca6d"))
  }

  @Test func `what cannot be restored is told, in the log as well, until it can`() throws {
    let space = try Namespace(device: false)
    let file = try guardedTunnel(space, "KillSwitch = yes"), log = space.directory.path + "/log"
    let table = "wg6-\(space.interface)"
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let up = try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", "-v", "--foreground", file],
      environment: ["WG6D": Programs.daemon!, "WG6_PLAIN_TABLES": "1"], files: ["/dev/null", "/dev/null", log])
    func told() throws -> String { try String(contentsOfFile: log, encoding: .utf8) }
    func shown() throws -> String { try space.wg6(["show", space.interface]).errors }
    try waitUntil("the tunnel is up") { try told().contains("serving until") }
    // Another program has a table of that name for itself.
    let input = space.directory.path + "/input"
    let words = "add table inet \(table); delete table inet \(table); add table inet \(table) { flags owner; }\n"
    try #require(mkfifo(input, 0o600) == 0)
    let end = open(input, O_RDWR | O_CLOEXEC)
    defer { close(end) }
    let holder = try Running(Programs.ip!, ["netns", "exec", space.name, Programs.nft!, "-i"], files: [input])
    try #require(write(end, words, words.utf8.count) == words.utf8.count)
    let reason = "another process owns the table \(table), and does not let it go"
    try waitUntil("the log says that it cannot be restored") { try told().contains(reason) }
    try waitUntil("and so does show") { try shown().contains("cannot be restored: firewall: \(reason)") }
    holder.send(SIGKILL)
    _ = holder.wait()
    try waitUntil("it is restored") { try told().contains("the firewall table had been deleted or changed") }
    try waitUntil("show says nothing of it any more") { try !shown().contains("cannot be restored") }
    up.send(SIGTERM)
    #expect(up.wait() == 0)
    #expect(try tables(space).isEmpty)
  }

  // MARK: Two tunnels

  @Test(arguments: [
    ("0.0.0.0/0, ::/0", "0.0.0.0/0, ::/0"), ("0.0.0.0/0", "::/0"), ("::/0", "0.0.0.0/0"),
  ])
  func `tunnels with default routes leave out each other's datagrams, whichever comes or goes first`(
    allowedIPs: (String, String)
  ) throws {
    let space = try Namespace(device: false)
    let names = [space.interface, "\(space.interface)b"]
    let files = try [
      guardedTunnel(space, "KillSwitch = yes", allowedIPs: allowedIPs.0),
      guardedTunnel(space, "KillSwitch = yes", named: names[1], allowedIPs: allowedIPs.1, number: 1),
    ]
    try space.require(space.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1"))
    for (device, number) in [("v0", 1), ("v1", 2)] {
      try space.require(space.ip("link", "set", device, "up"))
      try space.require(space.ip("addr", "add", "198.51.100.\(number)/24", "dev", device))
      try space.require(space.ip("addr", "add", "2001:db8::\(number)/64", "dev", device, "nodad"))
    }
    try space.require(space.ip("route", "add", "default", "via", "198.51.100.9", "dev", "v0"))
    try space.require(space.ip("-6", "route", "add", "default", "via", "2001:db8::9", "dev", "v0"))
    let bare = try policy(space)

    /// Where a datagram of a tunnel goes, and whether the other's kill switch lets it pass.
    func checkEachOther(_ when: Comment) throws {
      let marks = try names.map { try space.wg(["show", $0, "fwmark"]).output.trimmingCharacters(in: .newlines) }
      for (mark, other) in zip(marks, names.reversed()) {
        for address in ["192.0.2.1", "2001:db8:9::1"] {
          let way = try space.ip("route", "get", address, "mark", mark).output
          #expect(way.contains("dev v0"), "\(when): \(mark) to \(address): \(way)")
        }
        let table = try space.inside(Programs.nft!, ["list", "table", "inet", "wg6-\(other)"]).output
        let number = String(UInt32(mark.dropFirst(2), radix: 16)!, radix: 16)
        #expect(table.contains("mark 0x\(String(repeating: "0", count: 8 - number.count))\(number) accept"), when)
      }
      for family in ["-4", "-6"] {
        let way = try space.ip("route", "get", family == "-4" ? "192.0.2.1" : "2001:db8:9::1").output
        #expect(names.contains { way.contains("dev \($0)") }, "\(when): \(way)")
      }
    }
    for order in [[0, 1], [1, 0]] {
      for number in order { try space.require(space.wg6(["up", files[number]])) }
      try checkEachOther("up")
      // The way of a tunnel is not through the other: 1500 less 60.
      for name in names { #expect(try space.ip("link", "show", name).output.contains("mtu 1440")) }
      for number in order { try space.require(space.wg6(["reload", files[number]])) }
      try checkEachOther("reloaded")
      // With another mark.
      let text = try String(contentsOfFile: files[0], encoding: .utf8)
      try text.replacing("[Interface]", with: "[Interface]\nFwMark = 0x77").write(
        toFile: files[0], atomically: false, encoding: .utf8)
      try space.require(space.wg6(["reload", files[0]]))
      try waitUntil("the other's kill switch knows the mark") {
        try space.inside(Programs.nft!, ["list", "table", "inet", "wg6-\(names[1])"]).output.contains("0x00000077")
      }
      try checkEachOther("with another mark")
      try text.write(toFile: files[0], atomically: false, encoding: .utf8)
      try space.require(space.wg6(["reload", files[0]]))
      try waitUntil("and forgets it") {
        try !space.inside(Programs.nft!, ["list", "table", "inet", "wg6-\(names[1])"]).output.contains("0x00000077")
      }
      try checkEachOther("with the first mark")
      try space.require(space.wg6(["down", names[order[0]]]))
      let rest = try policy(space)
      #expect(!rest.contains("goto") && !rest.contains("nop"), "\(rest)")
      try space.require(space.wg6(["up", files[order[0]]]))
      try checkEachOther("down and up again")
      // Exemptions are watched over as rules are. Of one priority they may come back in another order.
      func lines() throws -> [Substring] { try policy(space).split(separator: "\n").sorted() }
      let before = try lines()
      try inTime(space, "ip -n \(space.name) -4 rule flush protocol 108") { try lines() == before }
      try checkEachOther("flushed")
      for number in order { try space.require(space.wg6(["down", names[number]])) }
      #expect(try policy(space) == bare && tables(space).isEmpty && self.names(space).isEmpty)
    }
  }

  // MARK: Surroundings

  /// Runs a line of shell, and requires that `condition` holds again soon. 100 ms is what scenario `deleted-rules`
  /// measures; here the programs that look take their time as well.
  func inTime(_ space: Namespace, _ line: String, _ condition: () throws -> Bool) throws {
    let outcome = try run("/bin/sh", ["-c", line])
    try #require(outcome.status == 0, "\(line): \(outcome.errors)")
    let start = Date()
    try waitUntil("it is back after \(line)", condition)
    #expect(Date().timeIntervalSince(start) < 1, "\(line)")
  }

  func policy(_ space: Namespace) throws -> String {
    try ["-4", "-6"].map { family in
      try space.ip(family, "rule").output + space.ip(family, "route", "show", "table", "51820").output
        + space.ip(family, "route", "show", "table", "51821").output
    }.joined()
  }

  func tables(_ space: Namespace) throws -> String {
    try space.inside(Programs.nft!, ["list", "tables"]).output
  }

  func ruleset(_ space: Namespace) throws -> String {
    try space.inside(Programs.nft!, ["list", "ruleset"]).output
  }

  /// What lies in /run/wg6 for the tunnels.
  func names(_ space: Namespace) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: "/run/wg6").filter { $0.hasPrefix(space.interface) }
  }

  /// A file whose tunnel has rules to watch over: default routes, unless told otherwise.
  func guardedTunnel(
    _ space: Namespace, _ lines: String, named interface: String? = nil, allowedIPs: String = "0.0.0.0/0, ::/0",
    number: Int = 0
  ) throws -> String {
    try configuration(
      space, lines, named: interface, allowedIPs: allowedIPs, endpoint: "192.0.2.7:5555", number: number)
  }
}
