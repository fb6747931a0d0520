import Foundation
import Testing

@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Tunnels up and down` {
  @Test func `up brings interface, addresses, routes and peers; down takes them all away`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    let up = try space.wg6(["up", "-v", file])
    try space.require(up)
    #expect(up.errors.contains(" ms] address 10.9.0.1/24\n"))
    let addresses = try space.ip("-o", "address", "show", "dev", space.interface).output
    #expect(addresses.contains("inet 10.9.0.1/24") && addresses.contains("inet6 fd00:9::1/64"))
    #expect(try space.ip("link", "show", space.interface).output.contains("mtu 1380"))
    let routes = try space.ip("route").output + space.ip("-6", "route").output
    #expect(
      routes.contains("10.8.0.0/16 dev \(space.interface)") && routes.contains("fd00:8::/48 dev \(space.interface)"))
    // Those lie in the addresses' own networks.
    #expect(!routes.contains("10.9.0.2") && !routes.contains("fd00:9::2"))
    #expect(try space.wg(["show", space.interface, "endpoints"]).output.hasSuffix("\t127.0.0.1:5555\n"))

    let again = try space.wg6(["up", file])
    #expect(again.status == 1 && again.errors == "\(space.interface): it is up already\n")
    try space.require(space.wg6(["down", file]))
    #expect(!space.hasLink && !space.hasSocket)
    let downAgain = try space.wg6(["down", space.interface])
    #expect(downAgain.status == 1 && downAgain.errors == "\(space.interface): it is not up\n")
  }

  @Test func `routes go into another table, or nowhere`() throws {
    let space = try Namespace(device: false)
    try space.require(space.wg6(["up", configuration(space, "Table = 1234", allowedIPs: "::/0, 10.8.0.0/16")]))
    #expect(try space.ip("route", "show", "table", "1234").output.contains("10.8.0.0/16 dev \(space.interface)"))
    #expect(try space.ip("-6", "route", "show", "table", "1234").output.contains("default dev \(space.interface)"))
    try space.require(space.wg6(["down", space.interface]))
    try space.require(space.wg6(["up", configuration(space, "Table = off")]))
    #expect(!(try space.ip("route").output.contains("10.8.0.0/16")))
    try space.require(space.wg6(["down", space.interface]))
  }

  @Test func `a daemon that was killed is no obstacle to the next up`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    try space.require(space.wg6(["up", file]))
    try space.killDaemon()
    try space.require(space.wg6(["up", file]))
    try space.killDaemon()
    // Its socket may be gone as well: `wg` removes those of dead daemons where it lists interfaces, for other tests too.
    #expect(try space.wg6(["show", "interfaces"]).output.contains(space.interface) == false)
    try space.require(space.wg6(["up", file]))
    try space.require(space.wg6(["down", file]))
    #expect(!space.hasSocket)
  }

  @Test(.enabled(if: Programs.wgQuick != nil, "SKIPPED: there is no wg-quick"))
  func `what wg-quick brought up is left to it where there is more than an interface, and what wg6d did is not`() throws
  {
    let space = try Namespace(device: false)
    let quick = ["WG_QUICK_USERSPACE_IMPLEMENTATION": Programs.daemon!]
    for (allowedIPs, isMore) in [("10.8.0.0/16", false), ("0.0.0.0/0", true)] {
      let file = try configuration(space, allowedIPs: allowedIPs)
      try space.require(space.inside(Programs.wgQuick!, ["up", file], environment: quick))
      let down = try space.wg6(["down", file])
      #expect((down.status == 1) == isMore && space.hasLink == isMore, "\(down.errors)")
      if isMore { try space.require(space.inside(Programs.wgQuick!, ["down", file])) }
      try waitUntil("the socket is gone") { !space.hasSocket }
    }
    // The other way round, the next command clears what wg-quick does not know of.
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0")
    try space.require(space.wg6(["up", file]))
    try space.require(space.inside(Programs.wgQuick!, ["down", file]))
    try space.require(space.wg6(["down", file]))
    #expect(try !space.ip("rule").output.contains("suppress"))
    #expect(try space.inside("/usr/sbin/nft", ["list", "tables"]).output.isEmpty)
  }

  @Test func `an interface deleted from outside leaves nothing`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    try space.require(space.wg6(["up", file]))
    try space.require(space.ip("link", "delete", space.interface))
    try waitUntil("the socket is gone") { !space.hasSocket }
    try space.require(space.wg6(["up", file]))
    try space.require(space.wg6(["down", file]))
  }

  @Test(arguments: [
    "Address = 127.0.0.1/8, ::1/128", "Address = 10.9.0.1/24, 10.9.0.1/24", "DNS = 1.1.1", "MTU = 99999",
    "Nonsense = 1",
  ])
  func `what cannot be done is said, and leaves nothing`(line: String) throws {
    let space = try Namespace(device: false)
    let up = try space.wg6(["up", configuration(space, line)])
    #expect(up.status == 1)
    #expect(up.errors.contains(line.prefix { $0 != " " }), "\(up.errors)")
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `a port that is taken is said, and leaves nothing`() throws {
    let (space, port) = (try Namespace(device: false), 51999)
    let blocker = try Running(
      Programs.ip!,
      [
        "netns", "exec", space.name, "/usr/bin/env", "python3", "-c",
        "import socket,time\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.bind(('::',\(port)))\ntime.sleep(60)",
      ])
    defer {
      blocker.send(SIGTERM)
      _ = blocker.wait()
    }
    try waitUntil("the port is taken") {
      try space.inside("/bin/cat", ["/proc/net/udp6"]).output.contains(String(format: ":%04X", port))
    }
    let up = try space.wg6(["up", configuration(space, "ListenPort = \(port)")])
    #expect(up.status == 1)
    #expect(up.errors.contains("in use"), "\(up.errors)")
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `no daemon, a false one, no file, a wrong name: each is said`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    #expect(
      try space.wg6(["up", file], environment: ["WG6D": "/nonexistent"]).errors
        == "wg6: WG6D=/nonexistent: no such program\n")
    #expect(
      try space.wg6(["up", file], environment: ["WG6D": "/bin/false"]).errors
        == "\(space.interface): /bin/false did not start\n")
    let misnamed = [try space.file("a-name-that-is-too-long.conf", ""), try space.file("x.txt", "")]
    for name in ["/nonexistent/x.conf", "no-such-tunnel"] + misnamed {
      let up = try space.wg6(["up", name])
      #expect(up.status == 1 && up.errors.contains(name), "\(up.errors)")
    }
    for name in ["lo", "/nonexistent/lo.conf"] {
      #expect(
        try space.wg6(["down", name]).errors == "lo: it is not a WireGuard interface: no daemon answers for it\n")
    }
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `a file that everybody can read gets wg-quick's warning`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: space.directory.path)
    let up = try space.wg6(["up", file])
    try space.require(up)
    #expect(up.errors.contains("\(file): warning: it is world accessible: anybody may read its keys\n"))
    try space.require(space.wg6(["down", file]))
  }

  @Test func `the daemon is told which offloads to do without, and anyone which names there are`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    try space.require(space.wg6(["up", "--no-offload", "uso,tso", file]))
    #expect(try space.daemons().map { $0.words.contains("--no-offload=tso,uso") } == [true])
    try space.require(space.wg6(["down", file]))
    for (arguments, environment) in [
      (["--no-offload", "tso,ufo"], [:]), (["--no-offload="], [:]), ([], ["WG6_NO_OFFLOAD": "fast"]),
    ] as [([String], [String: String])] {
      let up = try space.wg6(["up"] + arguments + [file], environment: environment)
      #expect(up.status != 0 && up.errors.contains("tun,tso,uso,gso,gro"), "\(arguments) \(environment): \(up.errors)")
      #expect(!space.hasLink && !space.hasSocket)
    }
    // Nothing is said there.
    try space.require(space.wg6(["up", file], environment: ["WG6_NO_OFFLOAD": ""]))
    #expect(try space.daemons().map(\.words.count) == [2])
    try space.require(space.wg6(["down", file]))
  }

  @Test func `a cipher and a number of threads are the daemon's to take or to refuse`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    for (name, value, expected) in [
      ("WG6_CIPHER", "rot13", "expected sodium or vector"), ("WG6_THREADS", "1", "expected 2 to 64"),
      ("WG6_THREADS", "65", "expected 2 to 64"), ("WG6_THREADS", "many", "expected 2 to 64"),
    ] {
      let up = try space.wg6(["up", file], environment: [name: value])
      #expect(up.status != 0 && up.errors.contains("'\(value)'") && up.errors.contains(expected), "\(up.errors)")
      #expect(!space.hasLink && !space.hasSocket)
    }
    try space.require(space.wg6(["up", file], environment: ["WG6_CIPHER": "sodium", "WG6_THREADS": "5"]))
    #expect(try space.daemons().map { $0.words.contains("--threads=5") } == [true])
    try space.require(space.wg6(["down", file]))
  }

  @Test(arguments: [SIGTERM, SIGINT]) func `in the foreground it stays until it is told to go`(signal: Int32) throws {
    let space = try Namespace(device: false)
    let log = space.directory.appendingPathComponent("steps").path
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let process = try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", "-v", "--foreground", configuration(space)],
      environment: ["WG6D": Programs.daemon!], files: ["/dev/null", "/dev/null", log])
    // Before that, a signal takes everything back, and the status says so.
    try waitUntil("the tunnel is up") { try String(contentsOfFile: log, encoding: .utf8).contains("serving until") }
    #expect(try space.ip("route").output.contains("10.8.0.0/16"))
    process.send(signal)
    #expect(process.wait() == 0)
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test(arguments: [false, true]) func `SIGHUP has the file reloaded, and nobody ends`(isForeground: Bool) throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "10.8.0.0/16")
    let prefixes = { try space.wg(["show", space.interface, "allowed-ips"]).output }
    let change = { (old: String, new: String) in
      let text = try String(contentsOfFile: file, encoding: .utf8).replacingOccurrences(of: old, with: new)
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
    }
    var foreground: Running?
    if isForeground {
      foreground = try Running(
        Programs.ip!, ["netns", "exec", space.name, Programs.wg6, "up", "--foreground", file],
        environment: ["WG6D": Programs.daemon!], files: ["/dev/null", "/dev/null", "/dev/null"])
      try waitUntil("the tunnel is up") { try space.ip("route").output.contains("10.8.0.0/16") }
    } else {
      try space.require(space.wg6(["up", file]))
    }
    let daemon = try #require(try space.daemons().first).process
    let target = foreground?.processID ?? daemon

    try change("10.8.0.0/16", "10.7.0.0/16")
    kill(target, SIGHUP)
    try waitUntil("the new prefix is there") { try prefixes().contains("10.7.0.0/16") }
    try waitUntil("its route is too") { try space.ip("route").output.contains("10.7.0.0/16") }
    // A mistake changes nothing, and another signal finds the file mended.
    try change("AllowedIPs", "AllowedIP")
    kill(target, SIGHUP)
    kill(target, SIGHUP)
    usleep(300_000)
    #expect(try prefixes().contains("10.7.0.0/16"))
    try change("AllowedIP ", "AllowedIPs ")
    try change("10.7.0.0/16", "10.6.0.0/16")
    kill(target, SIGHUP)
    try waitUntil("the newest prefix is there") { try prefixes().contains("10.6.0.0/16") }
    #expect(try space.daemons().map(\.process) == [daemon])
    if let foreground {
      foreground.send(SIGTERM)
      #expect(foreground.wait() == 0)
    } else {
      try space.require(space.wg6(["down", file]))
    }
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `a name without an address keeps no tunnel down, and gets one when there is one`() throws {
    let space = try Namespace(device: false)
    // `ip netns exec` shows what is in there as if it were in /etc.
    let etc = "/etc/netns/\(space.name)"
    try FileManager.default.createDirectory(atPath: etc, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: etc) }
    for file in ["hosts", "resolv.conf"] { _ = FileManager.default.createFile(atPath: "\(etc)/\(file)", contents: nil) }
    let file = try configuration(space, allowedIPs: "10.8.0.0/16, 192.0.2.0/24", endpoint: "late.example:5555")

    let up = try space.wg6(["up", file])
    #expect(up.status == 0 && up.errors.contains("'late.example:5555'"), "\(up.errors)")
    #expect(try space.wg(["show", space.interface, "endpoints"]).output.hasSuffix("\t(none)\n"))
    #expect(try askers(of: space).count == 1)

    let hosts = try #require(FileHandle(forWritingAtPath: "\(etc)/hosts"))
    try hosts.write(contentsOf: Data("192.0.2.77 late.example\n".utf8))
    try waitUntil("the peer has its endpoint") {
      try space.wg(["show", space.interface, "endpoints"]).output.hasSuffix("\t192.0.2.77:5555\n")
    }
    try waitUntil("nobody asks any more") { try askers(of: space).isEmpty }
    // It lies in what the peer is given. All that goes there still goes through the tunnel, but for its own datagrams.
    let mark = try space.wg(["show", space.interface, "fwmark"]).output.trimmingCharacters(in: .newlines)
    #expect(mark == "0xca6c")
    #expect(try !space.ip("route").output.contains("192.0.2."))
    for host in ["77", "78"] {
      #expect(try space.ip("route", "get", "192.0.2.\(host)").output.contains("dev \(space.interface)"))
      #expect(try space.ip("route", "get", "192.0.2.\(host)", "mark", mark).errors.contains("unreachable"))
    }
    #expect(try space.ip("route").output.contains("10.8.0.0/16 dev \(space.interface)"))
    #expect(try space.wg6(["reload", "--dry-run", file]).output == "nothing to change\n")
    // Rules that lead past it are watched over.
    let rules = try space.ip("rule").output
    try space.require(space.ip("rule", "flush", "protocol", "108"))
    try waitUntil("the rules are back") { try space.ip("rule").output == rules }
    // The address that it has now is the file's; where the peer went since then is its own.
    try space.require(space.wg(["set", space.interface, "peer", peer(of: space), "endpoint", "198.51.100.78:1"]))
    let planned = try space.wg6(["reload", "--dry-run", file])
    #expect(planned.status == 0 && !planned.output.contains("endpoint"), "\(planned.output)")
    try space.require(space.wg6(["down", file]))
    #expect(try !space.ip("rule").output.contains("108") && space.watcher() == nil)
  }

  @Test func `asking for a name ends with the tunnel`() throws {
    let space = try Namespace(device: false)
    let etc = "/etc/netns/\(space.name)"
    try FileManager.default.createDirectory(atPath: etc, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: etc) }
    for file in ["hosts", "resolv.conf"] { _ = FileManager.default.createFile(atPath: "\(etc)/\(file)", contents: nil) }
    let file = try configuration(space, endpoint: "never.example:5555")
    try space.require(space.wg6(["up", file]))
    try space.require(space.wg6(["down", file]))
    try waitUntil("nobody asks any more") { try askers(of: space).isEmpty }
    // Nothing could be asked any more behind a kill switch, and so it is asked for in time, or not brought up.
    let closed = try configuration(space, "KillSwitch = yes", endpoint: "never.example:5555")
    let up = try space.wg6(["up", closed], environment: ["WG_ENDPOINT_RESOLUTION_RETRIES": "0"])
    #expect(up.status == 1 && up.errors.contains("kill switch"), "\(up.errors)")
    #expect(!space.hasLink && !space.hasSocket)
  }

  private func peer(of space: Namespace) throws -> String {
    try space.wg(["show", space.interface, "peers"]).output.trimmingCharacters(in: .newlines)
  }

  private func configuration(
    _ space: Namespace, _ line: String = "MTU = 1380",
    allowedIPs: String = "10.9.0.2, 10.8.0.0/16, fd00:9::2/128, fd00:8::/48", endpoint: String = "127.0.0.1:5555"
  )
    throws -> String
  {
    try space.file(
      "\(space.interface).conf",
      """
      [Interface]
      PrivateKey = \(try keyPair().private)
      \(line.hasPrefix("Address") ? "" : "Address = 10.9.0.1/24, fd00:9::1/64")
      \(line)
      [Peer]
      PublicKey = \(try keyPair().public)
      AllowedIPs = \(allowedIPs)
      Endpoint = \(endpoint)
      """)
  }

  /// The processes that ask for names for the interface.
  private func askers(of space: Namespace) throws -> [Int32] {
    try space.processes { $0.suffix(2) == ["resolve", space.interface] }.map(\.process)
  }
}
