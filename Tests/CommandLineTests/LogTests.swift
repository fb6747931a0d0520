import Foundation
import Testing

/// What a daemon in the background says, and where people find it.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices && Programs.unshare != nil, Programs.devicesAbsence))
struct `The daemon's log` {
  @Test func `goes to the journal, with the interface in a field`() throws {
    let space = try Namespace(device: false)
    let journal = try Receiver(space.directory.appendingPathComponent("journal"), "socket")
    try refuseSomething(space, "mount --bind '\(journal.directory)' /run/systemd/journal")
    let message = try journal.message()
    let fields = message.split(separator: "\n").map(String.init)
    #expect(fields.contains("WG6_INTERFACE=\(space.interface)") && fields.contains("SYSLOG_IDENTIFIER=wg6d"))
    #expect(fields.contains("PRIORITY=3"), "\(message)")
    #expect(
      fields.contains { $0.hasPrefix("MESSAGE=\(space.interface): cannot listen on UDP port 5998") }, "\(message)")
  }

  @Test func `goes to syslog where there is no journal`() throws {
    let space = try Namespace(device: false)
    let syslog = try Receiver(space.directory.appendingPathComponent("syslog"), "log")
    // /dev is the machine's own: another in its place has what the daemon needs, and the log.
    try refuseSomething(
      space,
      """
      mkdir /run/dev && mount --bind /dev /run/dev && mount -t tmpfs none /dev
      mkdir /dev/net && touch /dev/net/tun /dev/null /dev/urandom /dev/log
      for name in net/tun null urandom; do mount --bind /run/dev/$name /dev/$name; done
      mount --bind '\(syslog.directory)/log' /dev/log
      """)
    let message = try syslog.message()
    #expect(
      message.hasPrefix("<27>wg6d[") && message.contains("]: \(space.interface): cannot listen on UDP port 5998"),
      "\(message)")
  }

  @Test func `log asks the journal where there is one`() throws {
    let space = try Namespace(device: false)
    let journal = try Receiver(space.directory.appendingPathComponent("journal"), "socket")
    let program = try space.file("journalctl", "#!/bin/sh\necho \"$@\"\n")
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
    let mount = "mount --bind '\(journal.directory)' /run/systemd/journal"
    let outcome = try inPrivate(space, mount, [Programs.wg6, "log", "-f", "-n", "7", space.interface])
    #expect(outcome.output == "WG6_INTERFACE=\(space.interface) --follow --lines=7\n", "\(outcome)")
  }

  @Test func `log finds the interface's lines in a syslog file, or says that there is none`() throws {
    let space = try Namespace(device: false)
    let own = space.interface
    let lines = [
      "Nov 28 20:00:00 host wg6d[7]: \(own): one", "Nov 28 20:00:01 host wg6d[8]: \(own)x: other",
      "Nov 28 20:00:02 host kernel: \(own): other", "2026-11-28T20:00:03+00:00 host wg6d[9]: \(own): two",
    ]
    let log = try space.file("syslog", lines.joined(separator: "\n") + "\n")
    let mount = "mount -t tmpfs none /var/log && cp '\(log)' /var/log/syslog"
    func show(_ words: String...) throws -> Outcome { try inPrivate(space, mount, [Programs.wg6, "log", own] + words) }
    #expect(try show() == Outcome(status: 0, output: "\(lines[0])\n\(lines[3])\n", errors: ""))
    #expect(try show("-n", "1").output == "\(lines[3])\n")
    let follow = try show("-f")
    #expect(follow.status == 1 && follow.errors.contains("tail -F /var/log/syslog"))
    let none = try inPrivate(space, "mount -t tmpfs none /var/log", [Programs.wg6, "log", own])
    #expect(
      none.status == 1 && none.errors.hasPrefix("wg6: there is no log on this machine, neither systemd's journal nor"))
  }

  /// Starts a daemon in the background, with the mounts that `script` makes, and has it refuse a request.
  private func refuseSomething(_ space: Namespace, _ script: String) throws {
    let (daemon, wg6) = ("\(Programs.directory)/wg6d", Programs.wg6)
    let (own, holder) = (space.interface, "p\(space.interface)".prefix(15))
    let commands = """
      \(daemon) \(holder) && \(wg6) set \(holder) listen-port 5998 && \(daemon) \(own) || exit
      \(wg6) set \(own) listen-port 5998
      ip link delete \(own); ip link delete \(holder)
      """
    let outcome = try inPrivate(space, script, ["/bin/sh", "-c", commands])
    #expect(outcome.errors.contains("Unable to modify interface"), "\(outcome)")
  }

  /// Runs a program in the namespace, with a `/run` of its own and the mounts that `script` makes.
  private func inPrivate(_ space: Namespace, _ script: String, _ words: [String]) throws -> Outcome {
    let setting = """
      set -e; mount -t tmpfs none /run; mkdir -p /run/systemd/journal /run/wireguard; cd '\(space.directory.path)'
      \(script)
      exec "$@"
      """
    return try space.inside(
      Programs.unshare!, ["-m", "/bin/sh", "-c", setting, "sh"] + words,
      environment: ["LOG_LEVEL": "", "PATH": "\(space.directory.path):/usr/sbin:/usr/bin:/sbin:/bin"])
  }
}

/// A socket that datagrams are sent to, as a log's.
private final class Receiver {
  let directory: String
  private let descriptor: Int32

  init(_ directory: URL, _ name: String) throws {
    self.directory = directory.path
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = directory.appendingPathComponent(name).path
    try #require(path.utf8.count < MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(result == 0)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// The first message about a port; waits up to ten seconds for each.
  func message() throws -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      try #require(count > 0, "nothing was logged")
      let text = String(decoding: buffer[..<count], as: UTF8.self)
      if text.contains("cannot listen") { return text }
    }
  }
}
