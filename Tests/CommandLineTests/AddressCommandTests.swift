import Foundation
import Testing

/// The addresses are the vectors of docs/addresses.md.
@Suite(.enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Addresses from keys on the command line` {
  private static let laptop = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

  @Test func `a name of the book, a key and the whole book have their addresses and lines`() throws {
    let folder = try Folder()
    let keys = ["WG6_KEYS": try folder.keys()]
    let text = """
      laptop  \(Self.laptop)
        link-local  fe80::6e93:96c3:ba42:4f11
        ula:home    fd58:f25b:e75d:0:6e93:96c3:ba42:4f11
        plain WireGuard, in [Interface] of laptop:
          Address = fe80::6e93:96c3:ba42:4f11/64, fd58:f25b:e75d:0:6e93:96c3:ba42:4f11/64
        plain WireGuard, in a [Peer] that is laptop:
          AllowedIPs = fe80::6e93:96c3:ba42:4f11/128, fd58:f25b:e75d:0:6e93:96c3:ba42:4f11/128

      """
    for words in [["@laptop"], ["laptop"], [Self.laptop], []] {
      let outcome = try run(Programs.wg6, ["address", "--network", "home"] + words, environment: keys)
      #expect(outcome == Outcome(status: 0, output: text, errors: ""), "\(words)")
    }
    let wrong = try run(Programs.wg6, ["address", "@lapto"], environment: keys)
    #expect(
      wrong.status == 1 && wrong.errors == "wg6: \(folder.path)/keys has no name 'lapto'. Did you mean '@laptop'?\n")
    let name = try run(Programs.wg6, ["address", "--network", "a/b", "@laptop"], environment: keys)
    #expect(name.status == 64 && name.errors.contains("--network a/b: expected 1 to 63 letters"))
  }

  @Test func `a tunnel's file has this machine's addresses, and those of each peer`() throws {
    let folder = try Folder()
    let file = try folder.file(
      "home.conf",
      "[Interface]\nPrivateKey = \(try keyPair().private)\nAddress = ula:home\n[Peer]\nPublicKey = @laptop\n[Peer]\nPublicKey = @laptop\n"
    )
    let outcome = try run(Programs.wg6, ["address", file], environment: ["WG6_KEYS": folder.keys()])
    let lines = outcome.output.split(separator: "\n")
    #expect(lines.first?.hasPrefix("this machine  ") == true)
    #expect(lines.count { $0.contains("ula:home") } == 2 && lines.count { $0.hasPrefix("laptop  ") } == 1, "\(outcome)")
    let without = try folder.file("none.conf", "[Interface]\n")
    #expect(try run(Programs.wg6, ["address", without]).errors.contains("no PrivateKey"))
  }

  @Test func `a tunnel comes up, is reloaded, saved and goes down with addresses that follow from keys`() throws {
    let space = try Namespace(device: false)
    func write(_ settings: String) throws -> String {
      try space.file(
        "\(space.interface).conf",
        "[Interface]\nPrivateKey = \(key)\n\(settings)\n[Peer]\nPublicKey = \(Self.laptop)\nAllowedIPs = 10.8.0.0/16\n")
    }
    let key = try keyPair().private
    func addresses() throws -> [String] {
      try space.ip("-6", "-o", "address", "show", "dev", space.interface).output.split(separator: "\n").map {
        String($0.split(separator: " ")[3])
      }
    }
    func allowed() throws -> Set<Substring> {
      let line = try space.wg(["show", space.interface, "allowed-ips"]).output
      return Set(line.split { $0.isWhitespace }.dropFirst())
    }
    let derived: Set<Substring> = ["fe80::6e93:96c3:ba42:4f11/128", "ff02::/16"]
    let home: Substring = "fd58:f25b:e75d:0:6e93:96c3:ba42:4f11/128"
    let file = try write("LinkLocal = auto")
    try space.require(space.wg6(["up", file]))
    let own = try addresses()
    #expect(own.count == 1 && own[0].hasPrefix("fe80::") && own[0].hasSuffix("/64"))
    #expect(try allowed() == derived.union(["10.8.0.0/16"]))
    #expect(try space.wg6(["reload", "--dry-run", file]).output == "nothing to change\n")
    // Debian's wg knows nothing of this.
    try space.require(space.wg(["set", space.interface, "peer", Self.laptop, "allowed-ips", "10.9.0.0/16"]))
    #expect(try allowed() == derived.union(["10.9.0.0/16"]))

    let taking = try space.wg6([
      "set", space.interface, "peer", keyPair().public, "allowed-ips", "fe80::6e93:96c3:ba42:4f11/128",
    ])
    #expect(taking.status == 1)
    #expect(
      taking.errors.hasSuffix(
        "an allowed IP is another peer's address, or this interface's, by its key (LinkLocal, ula:)\n"))
    #expect(try space.wg(["show", space.interface, "peers"]).output.split(separator: "\n").count == 1)

    _ = try write("LinkLocal = auto\nAddress = ula:home\nAcceptRA = yes")
    let changes = try space.wg6(["reload", "-v", file])
    try space.require(changes)
    #expect(changes.output.contains("addresses from keys in fd58:f25b:e75d::/64, fe80::/64\n"), "\(changes)")
    #expect(try allowed() == derived.union([home, "10.8.0.0/16"]))
    #expect(try addresses().count == 2)
    #expect(try space.inside("/sbin/sysctl", ["-n", "net.ipv6.conf.\(space.interface).accept_ra"]).output == "2\n")
    #expect(try space.wg6(["reload", "--dry-run", file]).output == "nothing to change\n")

    try space.require(space.wg6(["save", file]))
    let saved = try String(contentsOfFile: file, encoding: .utf8)
    #expect(
      saved.contains("LinkLocal = auto\n") && saved.contains("Address = ula:home\n")
        && saved.contains("AcceptRA = yes\n"))
    #expect(!saved.contains("fe80") && !saved.contains("fd58") && !saved.contains("ff02"), "\(saved)")
    #expect(try space.wg6(["reload", "--dry-run", file]).output == "nothing to change\n")

    _ = try write("")
    try space.require(space.wg6(["reload", file]))
    #expect(try allowed() == ["10.8.0.0/16"] && addresses() == [])
    #expect(try space.inside("/sbin/sysctl", ["-n", "net.ipv6.conf.\(space.interface).accept_ra"]).output == "0\n")
    try space.require(space.wg6(["down", file]))
    #expect(!space.hasLink)
  }

  @Test func `up -v tells each step with its time, and what came of the handshake`() throws {
    let space = try Namespace(device: false)
    func file(_ endpoint: String) throws -> String {
      try configuration(space, allowedIPs: "10.8.0.0/16", endpoint: endpoint)
    }
    let closed = try file("127.0.0.1:9")
    let refused = try space.wg6(["up", "-v", closed])
    try space.require(refused)
    let steps = refused.errors.split(separator: "\n")
    #expect(steps.first?.hasSuffix(" ms] reading \(closed)") == true, "\(refused.errors)")
    #expect(steps.contains { $0.contains(" ms] handshake message sent to 127.0.0.1:9, peer ") })
    #expect(steps.contains { $0.contains("an ICMP error came back: nothing there listens on UDP port 9") }, "\(steps)")
    #expect(steps.last?.hasPrefix("\(space.interface): tunnel is up: ") == true)
    #expect(steps.last?.hasSuffix(" ms, without an answer") == true)
    try space.require(space.wg6(["down", closed]))

    // Somebody who has the port, and says nothing.
    let script =
      "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 9)); time.sleep(60)"
    let silent = try Running(
      Programs.ip!, ["netns", "exec", space.name, "/usr/bin/env", "python3", "-c", script],
      files: ["/dev/null", "/dev/null", "/dev/null"])
    // One that is not waited for keeps tests that fork from learning of their own (`waitid` tells of it again and again).
    defer {
      silent.send(SIGKILL)
      _ = silent.wait()
    }
    try waitUntil("the port is taken") {
      try space.inside("/usr/bin/env", ["ss", "-Hlun"]).output.contains("127.0.0.1:9 ")
    }
    let start = Date()
    let unheard = try space.wg6(["up", "-v", closed])
    try space.require(unheard)
    #expect(Date().timeIntervalSince(start) < 10)
    #expect(unheard.errors.contains("2 handshake messages sent to 127.0.0.1:9, peer "), "\(unheard.errors)")
    #expect(unheard.errors.contains("; nothing came back within 6"), "\(unheard.errors)")
    try space.require(space.wg6(["down", closed]))
    // Nobody waits who did not ask.
    let quick = Date()
    let quiet = try space.wg6(["up", closed])
    #expect(quiet.status == 0 && !quiet.errors.contains("handshake") && Date().timeIntervalSince(quick) < 3)
    try space.require(space.wg6(["down", closed]))
  }
}
