import Foundation
import Testing

/// What tunnels do to one another, and what is left when commands, daemons or services fail.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices && Programs.nft != nil, Programs.devicesAbsence))
struct `Tunnels beside each other and after a failure` {
  @Test func `a crash and its cleaning up leave another tunnel's rules`() throws {
    let space = try Namespace(device: false)
    let (ours, theirs) = (space.interface, "\(space.interface)b")
    let file = try configuration(space, named: ours, allowedIPs: "0.0.0.0/0, ::/0")
    try space.require(space.wg6(["up", configuration(space, named: theirs, allowedIPs: "0.0.0.0/0, ::/0")]))
    let before = try rules(space)
    #expect(before.contains("suppress_prefixlength 0"))
    for point in 1...12 {
      try space.require(space.wg6(["up", file]))
      #expect(try rules(space) != before)
      // It may be done before that point.
      _ = try space.wg6(["down", ours], environment: ["WG6_FAULT": "\(point)"])
      _ = try space.wg6(["down", ours])
      let after = try rules(space)
      #expect(after == before, "down, killed at point \(point)")
    }
    for point in 12...24 {
      _ = try space.wg6(["up", file], environment: ["WG6_FAULT": "\(point)"])
      _ = try space.wg6(["down", ours])
      #expect(try rules(space) == before, "up, killed at point \(point)")
    }
    try space.require(space.wg6(["down", theirs]))
    #expect(try !rules(space).contains("suppress_prefixlength"))
  }

  @Test func `what PreUp may clear away is looked at after it, and before anything else is changed`() throws {
    let space = try Namespace(device: false)
    let setting = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    try space.require(space.inside("/bin/sh", ["-c", "echo 1 > \(setting)"]))
    for (command, comesUp) in [("true", false), ("echo 0 > \(setting)", true)] {
      let file = try configuration(space, "PreUp = \(command)", allowedIPs: "0.0.0.0/0, ::/0")
      let up = try space.wg6(["up", "-v", file])
      #expect(up.errors.contains("[#] \(command)"))
      #expect(up.status == (comesUp ? 0 : 1) && up.errors.contains("IPv6 is off for new interfaces") != comesUp)
      #expect(up.errors.contains("starting ") == comesUp, "\(up.errors)")
    }
    try space.require(space.wg6(["down", space.interface]))
  }

  @Test func `while a tunnel is up in one network namespace, none of its name comes up in another`() throws {
    let space = try Namespace(device: false), other = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "10.8.0.0/16")
    try space.require(space.wg6(["up", file]))
    for _ in 0..<2 {
      let up = try other.wg6(["up", file])
      #expect(up.status == 1 && up.errors.contains("says that it is up in another network namespace"), "\(up.errors)")
    }
    #expect(try space.wg(["show", space.interface]).status == 0)
    try space.require(space.wg6(["down", space.interface]))
  }

  @Test func `a socket of which nobody knows whose it is belongs to no tunnel here`() throws {
    let space = try Namespace(device: false), path = "/var/run/wireguard/\(space.interface).sock"
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let isListening = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0 && listen(listener, 8) == 0
      }
    }
    try #require(isListening)
    defer { unlink(path) }
    let down = try space.wg6(["down", space.interface])
    #expect(down.status == 1 && down.errors.contains("its daemon serves another network namespace"), "\(down.errors)")
    #expect(FileManager.default.fileExists(atPath: path))
  }

  @Test func `while a mark takes the place of another, a kill switch lets datagrams with both pass`() throws {
    let space = try Namespace(device: false)
    for (killSwitch, changes) in [("yes", 2), ("no", 1)] {
      func file(_ mark: Int) throws -> String {
        try configuration(space, "FwMark = \(mark)\nKillSwitch = \(killSwitch)", allowedIPs: "0.0.0.0/0, ::/0")
      }
      try space.require(space.wg6(["up", file(7)]))
      let text = try String(contentsOfFile: file(8), encoding: .utf8)
      #expect(text.contains("FwMark = 8"))
      let trial = try space.wg6(["reload", "--dry-run", space.directory.path + "/\(space.interface).conf"])
      let firewall = trial.output.components(separatedBy: "firewall table wg6-\(space.interface)").count - 1
      #expect(firewall == changes, "\(killSwitch): \(trial)")
      try space.require(space.wg6(["down", space.interface]))
    }
  }

  @Test func `a reload makes what is new before it takes away what is old`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "Table = 7", allowedIPs: "10.8.0.0/16, fd08::/32")
    try space.require(space.wg6(["up", file]))
    let text = try String(contentsOfFile: file, encoding: .utf8)
    try text.replacing("10.8.0.0/16, fd08::/32", with: "10.8.0.0/17, fd08::/33")
      .write(toFile: file, atomically: false, encoding: .utf8)
    let lines = try space.wg6(["reload", "--dry-run", file]).output.split(separator: "\n").map { $0.prefix(9) }
    #expect(lines.filter { $0.contains(" route") }.compactMap(\.first) == ["+", "+", "-", "-"], "\(lines)")
    try space.require(space.wg6(["reload", file]))
    try space.require(space.wg6(["down", file]))
  }

  @Test func `a reload that was killed at any point is made good by the next one`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "ClampMSS = yes", allowedIPs: "10.8.0.0/16")
    let before = try String(contentsOfFile: file, encoding: .utf8)
    func reload(_ point: Int?) throws -> Outcome {
      try space.wg6(["reload", file], environment: point.map { ["WG6_FAULT": "\($0)"] } ?? [:])
    }
    func table() throws -> String {
      try space.inside(Programs.nft!, ["list", "table", "inet", "wg6-\(space.interface)"]).output
    }
    var wanted = ""
    for point in 0...6 {
      try before.write(toFile: file, atomically: false, encoding: .utf8)
      try space.require(space.wg6(["up", file]))
      let after = before.replacing("ClampMSS = yes", with: "KillSwitch = yes")
      try after.write(toFile: file, atomically: false, encoding: .utf8)
      if point > 0 { _ = try reload(point) }
      try space.require(reload(nil))
      if point == 0 { wanted = try table() }
      #expect(try table() == wanted && wanted.contains("reject"), "killed at point \(point)")
      try space.require(space.wg6(["down", file]))
    }
  }

  @Test func `an up that is refused has cleaned up behind a daemon that died once and for all`() throws {
    let space = try Namespace(device: false), trace = space.directory.path + "/trace"
    let file = try configuration(space, "PostDown = echo down >> \(trace)", allowedIPs: "0.0.0.0/0, ::/0")
    try space.require(space.wg6(["up", file]))
    try space.killDaemon()
    try space.require(space.inside("/bin/sh", ["-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"]))
    for _ in 0..<2 {
      let up = try space.wg6(["up", file])
      #expect(up.status == 1 && up.errors.contains("IPv6 is off for new interfaces"), "\(up.errors)")
    }
    #expect(try space.wg6(["down", space.interface]).errors.contains("is not up"))
    #expect(try String(contentsOfFile: trace, encoding: .utf8) == "down\n")
  }

  @Test func `a reload puts back rules that another program took, and no more`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "0.0.0.0/0")
    try space.require(space.wg6(["up", file]))
    try space.endWatching()
    let before = try rules(space)
    // As wg-quick does in a 'down' of any tunnel.
    try space.require(space.ip("-4", "rule", "delete", "table", "main", "suppress_prefixlength", "0"))
    #expect(try rules(space) != before)
    for _ in 0..<3 { try space.require(space.wg6(["reload", file])) }
    #expect(try space.watcher() != nil)
    #expect(try rules(space) == before)
    try space.require(space.wg6(["down", file]))
    #expect(try !rules(space).contains("suppress_prefixlength"))
  }

  @Test func `each tunnel has a mark of its own, also when all come up at once`() throws {
    let space = try Namespace(device: false)
    let names = ["", "b", "c", "d"].map { space.interface + $0 }
    let processes = try names.enumerated().map { number, name in
      let file = try configuration(
        space, "KillSwitch = yes", named: name, allowedIPs: number < 2 ? "0.0.0.0/0" : "10.\(number).0.0/16",
        number: number)
      return try Running(
        Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", file], environment: ["WG6D": Programs.daemon!])
    }
    #expect(processes.map { $0.wait() } == [0, 0, 0, 0])
    let marks = try names.map { try space.wg(["show", $0, "fwmark"]).output }
    #expect(Set(marks).count == names.count && !marks.contains("off\n"), "\(marks)")
    for name in names { try space.require(space.wg6(["down", name])) }
  }

  @Test func `commands for one tunnel wait for each other, until a signal`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "10.8.0.0/16")
    func start(_ command: String, telling log: String) throws -> Running {
      _ = FileManager.default.createFile(atPath: log, contents: nil)
      return try Running(
        Programs.ip!, ["netns", "exec", space.name, Programs.wg6, command, "-v", file],
        environment: ["WG6D": Programs.daemon!], files: ["/dev/null", "/dev/null", log])
    }
    func told(_ log: String) throws -> String { try String(contentsOfFile: log, encoding: .utf8) }
    let logs = (0..<4).map { space.directory.appendingPathComponent("log\($0)").path }

    let ups = try logs.map { try start("up", telling: $0) }
    #expect(ups.map { $0.wait() }.sorted() == [0, 1, 1, 1])
    #expect(try logs.count { try told($0).contains("it is up already") } == 3)

    let lock = open("/run/wg6/\(space.interface).lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try #require(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
    let reload = try start("reload", telling: logs[0])
    try waitUntil("it waits") { try told(logs[0]).contains("waiting for another command") }
    reload.send(SIGINT)
    #expect(try reload.wait() == 128 + SIGINT && told(logs[0]).contains("interrupted"))
    let down = try start("down", telling: logs[1])
    try waitUntil("it waits") { try told(logs[1]).contains("waiting for another command") }
    #expect(space.hasLink)
    close(lock)
    #expect(down.wait() == 0)
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `a kill switch outlives its daemon and an up that fails, and goes with down`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0, ::/0")
    try space.require(space.wg6(["up", file]))
    try space.killDaemon()
    #expect(try tables(space).contains("wg6-\(space.interface)"))
    for _ in 0..<2 {
      let up = try space.wg6(["up", file], environment: ["WG6D": "/bin/false"])
      #expect(up.status == 1 && up.errors.contains("stays in force"), "\(up.errors)")
      #expect(try tables(space).contains("wg6-\(space.interface)"))
      #expect(try !rules(space).contains("suppress_prefixlength"))
    }
    try space.require(space.wg6(["up", file]))
    try space.killDaemon()
    try space.require(space.wg6(["down", space.interface]))
    #expect(try tables(space).isEmpty)
    // One that never was up leaves nothing.
    #expect(try space.wg6(["up", file], environment: ["WG6D": "/bin/false"]).status == 1)
    #expect(try tables(space).isEmpty)
  }

  @Test func `what could not be undone is undone by the next down`() throws {
    let space = try Namespace(device: false)
    let broken = space.directory.appendingPathComponent("broken").path
    // It writes down what it is asked, and fails where the file is there.
    let resolvconf = try space.file(
      "resolvconf", "#!/bin/sh\necho \"$*\" >> \(space.directory.path)/asked\ntest \"$1\" = -a || test ! -e \(broken)\n"
    )
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: resolvconf)
    let path = ["PATH": "\(space.directory.path):\(ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")"]
    let file = try configuration(space, "DNS = 192.0.2.53", allowedIPs: "10.8.0.0/16")
    try space.require(space.wg6(["up", file], environment: path))
    _ = try space.file("broken", "")
    for _ in 0..<2 {
      let down = try space.wg6(["down", space.interface], environment: path)
      #expect(down.status == 1 && down.errors.contains("resolvconf"), "\(down.errors)")
    }
    #expect(!space.hasLink)
    try FileManager.default.removeItem(atPath: broken)
    try space.require(space.wg6(["down", space.interface], environment: path))
    #expect(try space.wg6(["down", space.interface]).errors == "\(space.interface): it is not up\n")
    let asked = try String(contentsOfFile: space.directory.path + "/asked", encoding: .utf8).split(separator: "\n")
    #expect(asked.count { $0.hasPrefix("-d \(space.interface)") } == 3, "\(asked)")
  }

  @Test func `a setting that two tunnels need stays until neither does`() throws {
    let space = try Namespace(device: false)
    let (first, second) = (space.interface, "\(space.interface)b")
    func setting() throws -> String {
      try space.inside("/bin/cat", ["/proc/sys/net/ipv4/conf/all/src_valid_mark"]).output
    }
    #expect(try setting() == "0\n")
    try space.require(space.wg6(["up", configuration(space, named: first, allowedIPs: "0.0.0.0/0")]))
    try space.require(space.wg6(["up", configuration(space, named: second, allowedIPs: "10.8.0.0/16")]))
    try space.require(
      space.wg6(["reload", configuration(space, named: second, allowedIPs: "0.0.0.0/0", number: 1)]))
    #expect(try setting() == "1\n")
    try space.require(space.wg6(["down", first]))
    #expect(try setting() == "1\n")
    try space.require(space.wg6(["down", second]))
    #expect(try setting() == "0\n")
  }

  @Test func `an up that waits for a name can be interrupted`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(
      space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0", endpoint: "nobody.example.org:51820")
    let log = try space.file("steps", "")
    let process = try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", file],
      environment: ["WG6D": Programs.daemon!, "WG_ENDPOINT_RESOLUTION_RETRIES": "infinity"],
      files: ["/dev/null", "/dev/null", log])
    try waitUntil("it waits") { try String(contentsOfFile: log, encoding: .utf8).contains("Trying again") }
    process.send(SIGINT)
    #expect(process.wait() == 128 + SIGINT)
    #expect(try String(contentsOfFile: log, encoding: .utf8).hasSuffix("\(space.interface): interrupted\n"))
    #expect(try tables(space).isEmpty && !space.hasLink)
  }

  @Test func `nothing more fits where journals are, and the tunnel goes down all the same`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0, ::/0")
    let before = try rules(space)
    let script = """
      mkdir -p /run/wg6 && mount -t tmpfs -o size=64k,mode=0700 none /run/wg6 && \(Programs.wg6) up "$1" || exit 7
      # Its room is not for the journal.
      ln /run/wg6/\(space.interface).watching /run/wg6/kept
      head -c 100000 /dev/zero > /run/wg6/fill 2>/dev/null
      # What is left of the last page.
      head -c 4096 /dev/zero | tr '\\0' '\\n' >> /run/wg6/\(space.interface).journal 2>/dev/null
      \(Programs.wg6) down \(space.interface)
      """
    let outcome = try space.inside(
      "/usr/bin/unshare", ["-m", "sh", "-c", script, "sh", file], environment: ["WG6D": Programs.daemon!])
    #expect(outcome.status == 0 && outcome.errors.contains("No space left"), "\(outcome)")
    #expect(try tables(space).isEmpty && !space.hasLink && rules(space) == before)
  }

  @Test func `who does not read what is told does not end it half-way`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "0.0.0.0/0")
    let script = "{ \(Programs.wg6) up -v \"$1\" 2>&1; echo $? > \"$2\"; } | true"
    let status = try space.file("status", "")
    try space.require(
      space.inside("/bin/sh", ["-c", script, "sh", file, status], environment: ["WG6D": Programs.daemon!]))
    #expect(try String(contentsOfFile: status, encoding: .utf8) == "0\n")
    try space.require(space.wg6(["down", file]))
  }

  @Test func `a daemon that is stopped keeps nobody waiting for ever`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0")
    try space.require(space.wg6(["up", file]))
    let daemon = try #require(try space.daemons().first?.process)
    kill(daemon, SIGSTOP)
    let reload = try space.wg6(["reload", file])
    #expect(reload.status == 1 && reload.errors.contains("does not answer"), "\(reload.errors)")
    try space.require(space.wg6(["down", file]))
    #expect(try space.daemons().isEmpty)
    #expect(try tables(space).isEmpty && !space.hasLink && !space.hasSocket)
    try space.require(space.wg6(["up", file]))
    try space.require(space.wg6(["down", file]))
  }

  @Test func `the firewall goes last, whatever is undone before it`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0, ::/0")
    for point in 1...20 {
      try space.require(space.wg6(["up", file]))
      let down = try space.wg6(["down", file], environment: ["WG6_FAULT": "\(point)"])
      let hasTable = try tables(space).contains("wg6-\(space.interface)")
      #expect(hasTable || !space.hasLink, "killed at point \(point)")
      if down.status == 0 { return #expect(point > 6) }
      // It may have been killed after all was done.
      let next = try space.wg6(["down", file])
      #expect(next.status == 0 || next.errors.contains("it is not up"), "\(next.errors)")
    }
    Issue.record("down does not end")
  }

  @Test func `PostDown does not run for a tunnel that was never complete`() throws {
    let space = try Namespace(device: false)
    let log = space.directory.appendingPathComponent("ran").path
    let file = try configuration(space, "PostDown = echo ran >> \(log)", allowedIPs: "0.0.0.0/0")
    func runs() -> Int { (try? String(contentsOfFile: log, encoding: .utf8))?.split(separator: "\n").count ?? 0 }
    var wasWhole = false
    for point in stride(from: 2, to: 40, by: 3) {
      for next in ["down", "up"] {
        let up = try space.wg6(["up", file], environment: ["WG6_FAULT": "\(point)"])
        wasWhole = up.status == 0
        let journal = try? String(contentsOfFile: "/run/wg6/\(space.interface).journal", encoding: .utf8)
        if journal?.contains("\ncomplete\n") == false {
          let outcome = try space.wg6([next, file])
          #expect(outcome.status == 0, "\(next) after point \(point): \(outcome.errors)")
          #expect(runs() == 0, "\(next) after an up that was killed at point \(point)")
        }
        _ = try space.wg6(["down", "--no-hooks", file])
      }
      if wasWhole { break }
    }
    #expect(wasWhole && runs() == 0)
    try space.require(space.wg6(["up", file]))
    try space.require(space.wg6(["down", file]))
    #expect(runs() == 1)
  }

  // MARK: In the foreground

  @Test func `in the foreground, commands and the file are those of a down, and the kill switch outlives a daemon`()
    throws
  {
    let space = try Namespace(device: false)
    let log = space.directory.path + "/hooks"
    let file = try configuration(
      space,
      """
      KillSwitch = yes
      SaveConfig = true
      PreDown = ip -o link show %i >> \(log)
      PostDown = echo post >> \(log)
      """, allowedIPs: "0.0.0.0/0")
    let asked = try foreground(space, file)
    try space.require(space.wg(["set", space.interface, "persistent-keepalive", "7"].inserting(peer(space), at: 2)))
    asked.send(SIGTERM)
    #expect(asked.wait() == 0)
    let hooks = try String(contentsOfFile: log, encoding: .utf8)
    #expect(hooks.contains(" \(space.interface): <") && hooks.hasSuffix("post\n"), "\(hooks)")
    #expect(try String(contentsOfFile: file, encoding: .utf8).contains("PersistentKeepalive = 7"))
    #expect(try tables(space).isEmpty && !space.hasLink && !space.hasSocket)

    let taken = try foreground(space, file)
    try space.require(space.wg6(["down", space.interface]))
    #expect(taken.wait() == 0)
    #expect(try tables(space).isEmpty && !space.hasLink && !space.hasSocket)

    let bereft = try foreground(space, file)
    try space.killDaemon()
    #expect(bereft.wait() == 1)
    #expect(try tables(space).contains("wg6-\(space.interface)"))
    #expect(try !rules(space).contains("suppress_prefixlength"))
    try space.require(space.wg6(["down", space.interface]))
    #expect(try tables(space).isEmpty)
  }

  private func foreground(_ space: Namespace, _ file: String) throws -> Running {
    let log = space.directory.path + "/steps"
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let process = try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", "-v", "--foreground", file],
      environment: ["WG6D": Programs.daemon!], files: ["/dev/null", "/dev/null", log])
    try waitUntil("the tunnel is up") { try String(contentsOfFile: log, encoding: .utf8).contains("serving until") }
    return process
  }

  // MARK: Surroundings

  func peer(_ space: Namespace) throws -> [String] {
    ["peer", try space.wg(["show", space.interface, "peers"]).output.trimmingCharacters(in: .newlines)]
  }

  func rules(_ space: Namespace) throws -> String {
    try space.ip("-4", "rule").output + space.ip("-6", "rule").output
  }

  func tables(_ space: Namespace) throws -> String {
    try space.inside(Programs.nft!, ["list", "tables"]).output
  }
}

extension [String] {
  func inserting(_ words: [String], at index: Int) -> [String] { self[..<index] + words + self[index...] }
}
