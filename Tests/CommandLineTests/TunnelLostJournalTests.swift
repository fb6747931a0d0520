import Foundation
import Testing

/// What 'down' does when it can't read what 'up' changed, or can't end the daemon.
extension `Tunnels beside each other and after a failure` {
  @Test func `a lost journal is no reason to stay cut off`() throws {
    let space = try Namespace(device: false)
    try space.require(space.wg6(["up", configuration(space, "KillSwitch = yes", allowedIPs: "10.8.0.0/16")]))
    try FileManager.default.removeItem(atPath: "/run/wg6/\(space.interface).journal")
    try space.require(space.wg6(["down", space.interface]))
    #expect(try tables(space).isEmpty && !space.hasLink)
  }

  @Test(arguments: ["removed", "emptied", "removed, and the interface renamed"])
  func `down without a journal undoes rules and daemon first and the kill switch last`(case name: String) throws {
    let space = try Namespace(device: false)
    let other = "\(space.interface)b"
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0, ::/0")
    try space.require(space.wg6(["up", configuration(space, named: other, allowedIPs: "0.0.0.0/0, ::/0", number: 1)]))
    let before = try rules(space)
    let device = name.hasSuffix("renamed") ? "elsewhere" : space.interface
    // Killed after each step: the table stands for as long as there is an interface.
    for point in 1...20 {
      try space.require(space.wg6(["up", file]))
      if device != space.interface {
        try space.require(space.ip("link", "set", space.interface, "down"))
        try space.require(space.ip("link", "set", space.interface, "name", device))
      }
      let journal = "/run/wg6/\(space.interface).journal"
      try FileManager.default.removeItem(atPath: journal)
      if name == "emptied" { _ = FileManager.default.createFile(atPath: journal, contents: nil) }
      let down = try space.wg6(["down", space.interface], environment: ["WG6_FAULT": "\(point)"])
      let hasTable = try tables(space).contains("wg6-\(space.interface)\n")
      let hasLink = try space.ip("link", "show", device).status == 0
      #expect(hasTable || !hasLink, "killed at point \(point)")
      if down.status == 0 {
        #expect(!hasTable && !hasLink && point > 4)
        #expect(down.errors.contains("its journal is lost"), "\(down.errors)")
        break
      }
      let next = try space.wg6(["down", space.interface])
      #expect(next.status == 0 || next.errors.contains("it is not up"), "\(next.errors)")
      #expect(point < 20, "it does not end: \(down.errors)")
    }
    #expect(try rules(space) == before)
    #expect(try !space.hasSocket && space.daemons().isEmpty)
    try space.require(space.wg6(["down", other]))
  }

  @Test func `down without a journal changes nothing where it must refuse`() throws {
    let space = try Namespace(device: false), elsewhere = try Namespace(device: false)
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0")
    try space.require(space.wg6(["up", file]))
    try FileManager.default.removeItem(atPath: "/run/wg6/\(space.interface).journal")
    // As wg-quick makes it: with the same mark, and no protocol number of ours.
    let mark = try space.wg(["show", space.interface, "fwmark"]).output.trimmingCharacters(in: .newlines)
    let rule = ["not", "fwmark", mark, "table", "51999"]
    try space.require(run(Programs.ip!, ["-n", space.name, "rule", "add"] + rule))
    let before = try rules(space)
    let refused = try space.wg6(["down", space.interface])
    #expect(refused.status == 1 && refused.errors.contains("wg-quick"), "\(refused.errors)")
    #expect(try tables(space).contains("wg6-\(space.interface)") && rules(space) == before && space.hasLink)
    try space.require(run(Programs.ip!, ["-n", space.name, "rule", "delete"] + rule))

    // Another namespace has a table of that name, and no daemon.
    try space.require(elsewhere.inside(Programs.nft!, ["add", "table", "inet", "wg6-\(space.interface)"]))
    let absent = try elsewhere.wg6(["down", space.interface])
    #expect(absent.status == 1 && absent.errors.contains("another network namespace"), "\(absent.errors)")
    #expect(try tables(elsewhere).contains("wg6-\(space.interface)") && space.hasLink)
    try space.require(space.wg6(["down", space.interface]))
    #expect(try tables(space).isEmpty && !rules(space).contains("suppress_prefixlength"))
    try space.require(elsewhere.wg6(["down", space.interface]))
    #expect(try tables(elsewhere).isEmpty)
  }

  @Test func `a kill switch stays in force for as long as the daemon cannot be stopped`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "KillSwitch = yes", allowedIPs: "0.0.0.0/0")
    try space.require(space.wg6(["up", file]))
    try space.killDaemon()
    // Another program has the socket, and does not let go when it is removed.
    let path = "/var/run/wireguard/\(space.interface).sock"
    try FileManager.default.removeItem(atPath: path)
    let listener = try listen(path)
    let down = try space.wg6(["down", space.interface])
    #expect(
      down.status == 1 && down.errors.contains("its daemon still runs") && down.errors.contains("stays in force"),
      "\(down.errors)")
    #expect(try tables(space).contains("wg6-\(space.interface)"))
    close(listener)
    try space.require(space.wg6(["down", space.interface]))
    #expect(try tables(space).isEmpty)
  }

  /// A socket that listens there, of this process.
  private func listen(_ path: String) throws -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(result == 0 && Glibc.listen(descriptor, 5) == 0)
    return descriptor
  }
}
