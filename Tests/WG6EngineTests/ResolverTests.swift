import Foundation
import Testing

@testable import WG6Linux

/// What a machine's resolver is told, where its programs are stand-ins that write down how they were called.
@Suite("The system's resolver") struct ResolverTests {
  private let request = ResolverRequest(servers: ["10.66.0.1", "fd66::1"], searchDomains: ["corp.example", "lan"])

  @Test func `is systemd-resolved where that runs, and not where only its program is`() throws {
    let machine = try Machine(programs: ["resolvectl", "resolvconf"])
    #expect(machine.surroundings.service == .resolvconf)
    // A socket that nobody listens on, as a service leaves behind that was killed.
    var listener: Listener? = try Listener(at: machine.surroundings.resolvedSocket)
    #expect(listener != nil && machine.surroundings.service == .resolved)
    listener = nil
    #expect(FileManager.default.fileExists(atPath: machine.surroundings.resolvedSocket))
    #expect(machine.surroundings.service == .resolvconf)
  }

  @Test func `is not the resolvconf that is resolvectl by another name, when nothing answers behind it`() throws {
    let machine = try Machine(programs: ["resolvectl"])
    try machine.link("resolvconf", to: "resolvectl")
    #expect(machine.surroundings.service == nil)
    let listener = try Listener(at: machine.surroundings.resolvedSocket)
    #expect(machine.surroundings.service == .resolved)
    withExtendedLifetime(listener) {}
  }

  @Test func `is nobody where neither is installed`() throws {
    #expect(try Machine(programs: []).surroundings.service == nil)
  }

  @Test func `hears domains before servers from resolvectl, and is asked everything without routing domains`() throws {
    let machine = try Machine(programs: ["resolvectl"])
    try ResolverService.resolved.apply(request, to: "lo", on: machine.surroundings)
    #expect(
      try machine.calls() == [
        "resolvectl|--|domain|lo|corp.example|lan|~.", "resolvectl|--|default-route|lo|yes",
        "resolvectl|--|dns|lo|10.66.0.1|fd66::1",
      ])
  }

  @Test func `is asked about routing domains alone where there are any`() throws {
    let machine = try Machine(programs: ["resolvectl"])
    var request = request
    request.routingDomains = ["corp.example", "10.in-addr.arpa"]
    request.searchDomains = []
    try ResolverService.resolved.apply(request, to: "lo", on: machine.surroundings)
    #expect(
      try machine.calls() == [
        "resolvectl|--|domain|lo|~corp.example|~10.in-addr.arpa", "resolvectl|--|default-route|lo|no",
        "resolvectl|--|dns|lo|10.66.0.1|fd66::1",
      ])
  }

  @Test func `forgets an interface, and need not be told of one that is gone`() throws {
    let machine = try Machine(programs: ["resolvectl", "resolvconf"])
    try ResolverService.resolved.revert("lo", on: machine.surroundings)
    try ResolverService.resolved.revert("wg6-not-there", on: machine.surroundings)
    try ResolverService.resolvconf.revert("wg6-not-there", on: machine.surroundings)
    #expect(try machine.calls() == ["resolvectl|--|revert|lo", "resolvconf|-d|wg6-not-there|-f"])
  }

  @Test func `is put back where it was when it refuses a part, and says why`() throws {
    let machine = try Machine(programs: ["resolvectl"])
    try machine.fail("resolvectl", when: "dns", saying: "Failed to set DNS configuration: Link lo is loopback")
    #expect {
      try ResolverService.resolved.apply(request, to: "lo", on: machine.surroundings)
    } throws: { error in
      "\(error)"
        == "DNS: resolvectl -- dns lo 10.66.0.1 fd66::1: Failed to set DNS configuration: Link lo is loopback"
    }
    #expect(try machine.calls().last == "resolvectl|--|revert|lo")
  }

  @Test func `gets resolvconf's lines as wg-quick has them, under the name that its order knows tunnels by`() throws {
    let machine = try Machine(programs: ["resolvconf"])
    try ResolverService.resolvconf.apply(request, to: "wg0", on: machine.surroundings)
    try Data("# order\nlo.inet*\n  tun*  \ntap*\n".utf8).write(to: URL(filePath: machine.surroundings.interfaceOrder))
    try ResolverService.resolvconf.apply(ResolverRequest(servers: ["fd66::1"]), to: "wg0", on: machine.surroundings)
    try ResolverService.resolvconf.revert("wg0", on: machine.surroundings)
    #expect(
      try machine.calls() == [
        "resolvconf|-a|wg0|-m|0|-x", "< nameserver 10.66.0.1", "< nameserver fd66::1", "< search corp.example lan",
        "resolvconf|-a|tun.wg0|-m|0|-x", "< nameserver fd66::1", "resolvconf|-d|tun.wg0|-f",
      ])
  }

  @Test(arguments: [
    ("", ""), ("eth0\nlo\n", ""), ("tun*", "tun."), ("lo.!(pdns)*\nhso*\ntun*\n", "hso."), ("*\na b*\nb-1*", "b-1."),
  ])
  func `takes the first plain pattern of Debian's order of interfaces`(order: String, prefix: String) {
    #expect(Resolvconf.prefix(inOrder: order) == prefix)
  }

  @Test func `refuses routing domains where resolvconf is in charge, and has changed nothing`() throws {
    let machine = try Machine(programs: ["resolvconf"])
    var request = request
    request.routingDomains = ["corp.example"]
    #expect(!ResolverService.resolvconf.keepsRoutingDomains && ResolverService.resolved.keepsRoutingDomains)
    #expect {
      try ResolverService.resolvconf.apply(request, to: "wg0", on: machine.surroundings)
    } throws: { "\($0)".hasPrefix("DNS: ~corp.example: only systemd-resolved can") }
    #expect(try machine.calls() == [])
  }

  @Test func `is not told of domains alone`() throws {
    let machine = try Machine(programs: ["resolvectl", "resolvconf"])
    for service in [ResolverService.resolved, .resolvconf] {
      try service.apply(ResolverRequest(servers: [], searchDomains: ["lan"]), to: "lo", on: machine.surroundings)
    }
    #expect(try machine.calls() == [])
  }

  @Test func `that has gone meanwhile is an error`() throws {
    let machine = try Machine(programs: [])
    #expect {
      try ResolverService.resolvconf.apply(request, to: "wg0", on: machine.surroundings)
    } throws: { "\($0)" == "DNS: resolvconf is not in PATH" }
  }
}

/// A directory with programs that write their names, arguments and input into one file.
private final class Machine {
  let surroundings: ResolverSurroundings
  private let directory: URL

  init(programs: [String]) throws {
    directory = FileManager.default.temporaryDirectory.appending(path: "wg6-dns-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    surroundings = ResolverSurroundings(
      searchPath: directory.path, resolvedSocket: directory.path + "/socket",
      interfaceOrder: directory.path + "/interface-order")
    for program in programs { try install(program) }
  }

  deinit { try? FileManager.default.removeItem(at: directory) }

  func link(_ name: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(
      atPath: directory.path + "/" + name, withDestinationPath: target)
  }

  func fail(_ name: String, when word: String, saying line: String) throws {
    try install(name, also: "case \"$*\" in *\(word)*) echo '\(line)' >&2; exit 1;; esac")
  }

  /// Each call on a line, and each line of its input behind a "<".
  func calls() throws -> [String] {
    let path = directory.path + "/calls"
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
  }

  private func install(_ name: String, also: String = "") throws {
    let path = directory.path + "/" + name
    let script = """
      #!/bin/sh
      { printf '\(name)'; printf '|%s' "$@"; echo; sed 's/^/< /'; } >>\(directory.path)/calls
      \(also)

      """
    // Written by somebody else: another test's child may hold what this process has open for writing, and then the kernel
    // would not run it.
    let (ending, output) = try Program.run("/bin/sh", ["-c", "cat >\"$0\" && chmod 755 \"$0\"", path], input: script)
    try #require(ending == .exited(0), "\(output)")
  }
}

/// Someone who listens on a Unix socket, and leaves it behind.
private final class Listener {
  private let descriptor: OwnedDescriptor

  init(at path: String) throws {
    descriptor = OwnedDescriptor(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor.rawValue, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(result == 0 && listen(descriptor.rawValue, 5) == 0)
  }

  // A program that another test starts has the descriptor until it runs: closing it here is not enough.
  deinit { shutdown(descriptor.rawValue, Int32(SHUT_RDWR)) }
}
