import Foundation
import Testing

/// Interfaces that were moved or renamed, other implementations, and changes that could not be made.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices && Programs.nft != nil, Programs.devicesAbsence))
struct `Tunnels that are not where up left them` {
  @Test(arguments: ["moved", "renamed", "moved to a namespace that was deleted since"])
  func `down stops the daemon of an interface that is not here`(case name: String) throws {
    let (space, other) = (try Namespace(device: false), try Namespace(device: false))
    let file = try configuration(space, allowedIPs: "0.0.0.0/0, ::/0")
    let before = try space.ip("rule").output
    try space.require(space.wg6(["up", file]))
    if name == "renamed" {
      try space.require(space.ip("link", "set", space.interface, "down"))
      try space.require(space.ip("link", "set", space.interface, "name", "elsewhere"))
    } else {
      try space.require(space.ip("link", "set", space.interface, "netns", other.name))
    }
    if name.hasSuffix("since") {
      try space.require(run(Programs.ip!, ["netns", "delete", other.name]))
    } else {
      let again = try space.wg6(["up", file])
      #expect(again.status == 1 && again.errors.contains("renamed, or moved"), "\(again.errors)")
      #expect(try space.daemons().count == 1)
      // A namespace that the tunnel was only moved to could undo but half.
      if name == "moved" {
        let elsewhere = try other.inside(Programs.wg6, ["down", space.interface])
        #expect(
          elsewhere.status == 1 && elsewhere.errors.contains("ip netns exec \(space.name)"), "\(elsewhere.errors)")
      }
    }
    // What another program calls so since is its own.
    try space.require(space.ip("link", "add", space.interface, "type", "veth", "peer", "b\(space.interface)"))
    try space.require(space.wg6(["down", file]))
    #expect(try space.daemons().isEmpty && !space.hasSocket)
    let after = try space.ip("rule").output
    #expect(after == before)
    #expect(space.hasLink)
    #expect(try !other.ip("link", "show", space.interface).errors.isEmpty)
    #expect(try space.ip("link", "show", "elsewhere").status != 0)
  }

  @Test func `down goes where up ran when that namespace's name was deleted`() throws {
    let space = try Namespace(device: false)
    let trace = "\(space.directory.path)/trace"
    let file = try configuration(space, "PostDown = ip link show lo > \(trace)", allowedIPs: "0.0.0.0/0")
    try space.require(space.wg6(["up", file]))
    #expect(try space.daemons().count == 1)
    try space.require(run(Programs.ip!, ["netns", "delete", space.name]))
    let down = try run(Programs.wg6, ["down", file])
    #expect(down.status == 0, "\(down.errors)")
    #expect(try space.daemons().isEmpty && !space.hasSocket)
    #expect(FileManager.default.fileExists(atPath: trace))
    #expect(try run(Programs.wg6, ["down", file]).errors == "\(space.interface): it is not up\n")
    try space.require(run(Programs.ip!, ["netns", "add", space.name]))
  }

  @Test(.enabled(if: Programs.wireguardGo != nil, "SKIPPED: there is no wireguard-go"))
  func `another implementation's interface is recognised`() throws {
    let space = try Namespace(device: false)
    try space.require(space.inside(Programs.wireguardGo!, [space.interface]))
    try waitUntil("it answers") { try space.wg(["show", space.interface]).status == 0 }
    let up = try space.wg6(["up", configuration(space, allowedIPs: "10.8.0.0/16")])
    #expect(up.status == 1)
    #expect(up.errors == "\(space.interface): it is up already, served by another implementation\n")
    let drops = try space.wg6(["show", space.interface, "drops"])
    #expect(drops.status == 1 && drops.output.isEmpty)
    #expect(
      drops.errors
        == "\(space.interface): another implementation serves it, and only wg6d counts what it drops\n")
    #expect(try space.wg6(["show", space.interface]).status == 0)
    try space.require(space.wg6(["down", space.interface]))
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `a daemon that another program has started meanwhile is left alone`() throws {
    let space = try Namespace(device: false)
    let daemon = try space.file("daemon", "#!/bin/sh\n\(Programs.daemon!) \"$@\"\nexit 1\n")
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: daemon)
    let up = try space.wg6(["up", configuration(space, allowedIPs: "10.8.0.0/16")], environment: ["WG6D": daemon])
    #expect(up.status == 1 && up.errors.contains("did not start"), "\(up.errors)")
    #expect(try space.wg(["show", space.interface]).status == 0)
  }

  // MARK: Changes that can't be made

  /// A shell in which no kernel setting can be written, as in a container.
  private func inContainer(_ space: Namespace, _ script: String) throws -> Outcome {
    try space.inside(
      "/usr/bin/unshare", ["-m", "sh", "-c", "mount --bind -o ro /proc/sys /proc/sys && \(script)"],
      environment: ["WG6D": Programs.daemon!])
  }

  @Test func `a setting that can't be written stops up only if it is needed, and then nothing is left`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "0.0.0.0/0")
    try space.require(space.ip("link", "add", "outer", "type", "veth", "peer", "other"))
    func filter(_ value: String) throws {
      for name in ["all", "outer"] {
        let path = "/proc/sys/net/ipv4/conf/\(name)/rp_filter"
        try space.require(space.inside("/bin/sh", ["-c", "echo \(name == "all" ? "0" : value) > \(path)"]))
      }
    }
    try filter("1")
    let refused = try inContainer(space, "\(Programs.wg6) up \(file)")
    #expect(
      refused.status == 1 && refused.errors.contains("--sysctl net.ipv4.conf.all.src_valid_mark=1")
        && refused.errors.contains("outer"), "\(refused.errors)")
    #expect(!space.hasLink && !space.hasSocket)
    #expect(try space.wg6(["down", file]).errors == "\(space.interface): it is not up\n")

    try filter("2")
    try space.require(inContainer(space, "\(Programs.wg6) up \(file)"))
    #expect(try inContainer(space, "\(Programs.wg6) reload -n \(file)").output == "nothing to change\n")
    try space.require(inContainer(space, "\(Programs.wg6) down \(file)"))
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `undo skips a setting that was journalled and never changed`() throws {
    let space = try Namespace(device: false)
    let journal = "/run/wg6/\(space.interface).journal"
    let write = """
      printf 'wg6 journal 1\\nnamespace %s\\nsetting net.ipv4.conf.all.src_valid_mark 0\\n' \
      $(stat -Lc %i /proc/self/ns/net) > \(journal)
      """
    try space.require(inContainer(space, "\(write) && \(Programs.wg6) down \(space.interface)"))
    #expect(!FileManager.default.fileExists(atPath: journal))
  }

  @Test func `name servers that could not be set are not taken back for ever`() throws {
    let space = try Namespace(device: false)
    let resolvconf = try space.file("resolvconf", "#!/bin/sh\necho read-only >&2\nexit 1\n")
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: resolvconf)
    let path = ["PATH": "\(space.directory.path):\(ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")"]
    let file = try configuration(space, "DNS = 192.0.2.53", allowedIPs: "10.8.0.0/16")
    let up = try space.wg6(["up", file], environment: path)
    #expect(up.status == 1 && up.errors.contains("read-only"), "\(up.errors)")
    #expect(try space.wg6(["down", file], environment: path).errors == "\(space.interface): it is not up\n")
  }

  // MARK: The process that asks for names

  /// Does `body` in a namespace whose name server takes questions and never answers, once it was told to begin.
  private func withSilentServer(
    hosts: String, _ body: (Namespace, _ begin: () throws -> Void) throws -> Void
  ) throws {
    let space = try Namespace(device: false)
    // `ip netns exec` shows what is in there as if it were in /etc.
    let etc = "/etc/netns/\(space.name)"
    try FileManager.default.createDirectory(atPath: etc, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: etc) }
    for (name, text) in [("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n"), ("hosts", hosts)] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(etc)/\(name)"))
    }
    let script =
      "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',53))\ntime.sleep(60)"
    var server: Running?
    defer {
      server?.send(SIGTERM)
      _ = server?.wait()
    }
    try body(space) {
      try Data().write(to: URL(fileURLWithPath: "\(etc)/hosts"))
      server = try Running(Programs.ip!, ["netns", "exec", space.name, "/usr/bin/env", "python3", "-c", script])
      try waitUntil("the server takes questions") {
        try space.inside("/bin/cat", ["/proc/net/udp"]).output.contains("0100007F:0035 00000000")
      }
    }
  }

  /// Waits until a program of the namespace has asked the server that never answers.
  private func awaitQuestion(_ space: Namespace) throws {
    try waitUntil("somebody waits for an answer") {
      try space.inside("/bin/cat", ["/proc/net/udp"]).output.contains("0100007F:0035 01")
    }
  }

  @Test func `down ends the process that waits for a name server`() throws {
    try withSilentServer(hosts: "") { space, begin in
      let file = try configuration(space, allowedIPs: "10.8.0.0/16", endpoint: "never.example:5555")
      // Nobody listens there yet, which is told at once.
      try space.require(space.wg6(["up", file]))
      func askers() throws -> [Int32] {
        try space.processes { $0.suffix(2) == ["resolve", space.interface] }.map(\.process)
      }
      #expect(try askers().count == 1)
      try begin()
      try awaitQuestion(space)
      try space.require(space.wg6(["down", file]))
      #expect(try askers().isEmpty)
      #expect(!FileManager.default.fileExists(atPath: "/run/wg6/\(space.interface).asking"))
    }
  }

  @Test func `a reload that waits for a name server keeps no other command waiting`() throws {
    try withSilentServer(hosts: "192.0.2.1 known.example\n") { space, begin in
      let file = try configuration(space, allowedIPs: "10.8.0.0/16", endpoint: "known.example:5555")
      try space.require(space.wg6(["up", file]))
      try begin()
      let log = try space.file("log", "")
      let reload = try Running(
        Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "reload", file], environment: [:],
        files: ["/dev/null", "/dev/null", log])
      try awaitQuestion(space)
      let down = try space.wg6(["down", "-v", file])
      #expect(down.status == 0 && !down.errors.contains("waiting"), "\(down.errors)")
      #expect(reload.wait() == 1)
      #expect(try String(contentsOfFile: log, encoding: .utf8).contains("it is not up"))
    }
  }

  private func configuration(
    _ space: Namespace, _ lines: String = "", allowedIPs: String, endpoint: String = "127.0.0.1:5555"
  ) throws -> String {
    try space.file(
      "\(space.interface).conf",
      """
      [Interface]
      PrivateKey = \(try keyPair().private)
      Address = 10.9.0.1/24, fd00:9::1/64
      \(lines)
      [Peer]
      PublicKey = \(try keyPair().public)
      AllowedIPs = \(allowedIPs)
      Endpoint = \(endpoint)

      """)
  }
}
