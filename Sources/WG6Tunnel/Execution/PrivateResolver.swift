import CLinux
import Glibc
import SystemPackage
import WG6Linux

/// Whom a program asks for names: files of its own in the place of the machine's, which nobody else sees.
///
/// Names are asked for by the program itself then. Services that would do it in its place, by the machine's settings and
/// routes, are out of its reach: systemd-resolved, nscd and Avahi over their sockets, and what nsswitch.conf may load.
public struct PrivateResolver: Equatable, Sendable {
  public var servers: [String]
  public var searchDomains: [String]

  public init(servers: [String], searchDomains: [String]) {
    self.servers = servers
    self.searchDomains = searchDomains
  }

  /// Sockets of services that resolve names for others.
  private static let services = [
    "/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket", "/run/avahi-daemon/socket",
  ]

  /// resolv.conf(5).
  var resolvConf: String {
    servers.map { "nameserver \($0)\n" }.joined()
      + (searchDomains.isEmpty ? "" : "search \(searchDomains.joined(separator: " "))\n")
  }

  /// nsswitch.conf(5) with hosts from files and from DNS, and all else as it was.
  static func switching(_ text: String) -> String {
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("hosts:") }
    return lines.map { "\($0)\n" }.joined() + "hosts: files dns\n"
  }

  /// Gives this process, and all that it starts, these servers. Without servers it keeps the machine's, and asks them
  /// itself.
  public func install() throws(ExecutionError) {
    try TunnelExecution.attempt("make mounts of its own") { () throws(Errno) in
      try PrivateResolver.check(linux_own_mounts())
    }
    let text = servers.isEmpty ? nil : resolvConf
    if let text { try PrivateResolver.replace("/etc/resolv.conf", with: text) }
    let switchFile = "/etc/nsswitch.conf"
    let old = (try? PrivateResolver.contents(of: switchFile)) ?? ""
    if unsafe access(switchFile, F_OK) == 0 {
      try PrivateResolver.replace(switchFile, with: PrivateResolver.switching(old))
    }
    for service in PrivateResolver.services where unsafe access(service, F_OK) == 0 {
      try TunnelExecution.attempt("cover \(service)") { () throws(Errno) in
        try PrivateResolver.check(unsafe linux_mount_file("/dev/null", service))
      }
    }
  }

  /// A file in memory in the place of `path`. It comes into being where something is mounted over for that moment.
  private static func replace(_ path: String, with text: String) throws(ExecutionError) {
    let workplace = "/run"
    try TunnelExecution.attempt("put another file in the place of \(path)") { () throws(Errno) in
      // The link that it may be has to be followed before its goal is out of sight.
      guard let target = unsafe realpath(path, nil) else { throw Errno(rawValue: errno) }
      defer { unsafe free(target) }
      let place = unsafe open(target, O_RDONLY | O_CLOEXEC)
      guard place >= 0 else { throw Errno(rawValue: errno) }
      let old = OwnedDescriptor(place)
      try check(unsafe linux_mount_memory(workplace))
      defer { _ = unsafe linux_unmount(workplace) }
      let written = unsafe open("\(workplace)/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
      guard written >= 0 else { throw Errno(rawValue: errno) }
      let file = OwnedDescriptor(written)
      fchmod(file.rawValue, 0o644)
      var text = text
      let count = text.utf8.count
      guard text.withUTF8({ unsafe write(file.rawValue, $0.baseAddress, $0.count) }) == count else {
        throw Errno(rawValue: errno)
      }
      try check(unsafe linux_mount_file("\(workplace)/file", "/proc/self/fd/\(old.rawValue)"))
    }
  }

  private static func contents(of path: String) throws(Errno) -> String {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    let owned = OwnedDescriptor(file)
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = unsafe read(owned.rawValue, &bytes, bytes.count)
    guard count >= 0 else { throw Errno(rawValue: errno) }
    return String(decoding: bytes[..<count], as: UTF8.self)
  }

  private static func check(_ result: Int32) throws(Errno) {
    if result < 0 { throw Errno(rawValue: -result) }
  }
}

extension PrivateResolver {
  /// The servers that the machine had before the tunnel, as far as that can be told: systemd-resolved's or resolvconf's
  /// of all interfaces but the tunnel's, else those of resolv.conf, each time without the tunnel's own.
  public static func withoutTunnel(_ interface: String, tunnelServers: [String]) -> PrivateResolver {
    var files: [String] = []
    for directory in ["/run/resolvconf/interface", "/run/resolvconf/interfaces", "/run/resolvconf/keys"] {
      files += names(in: directory).filter { $0 != interface && $0 != "tun.\(interface)" }.map { "\(directory)/\($0)" }
    }
    // The list of resolved itself, rather than its own address on this machine.
    for file in files + ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"] {
      var found = PrivateResolver(reading: (try? contents(of: file)) ?? "")
      found.servers.removeAll(where: tunnelServers.contains)
      if !found.servers.isEmpty { return found }
    }
    return PrivateResolver(servers: [], searchDomains: [])
  }

  /// What a resolv.conf(5) says.
  init(reading text: String) {
    self.init(servers: [], searchDomains: [])
    for line in text.split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
      switch words.first {
      case "nameserver": servers += words.dropFirst().prefix(1)
      case "search": searchDomains = Array(words.dropFirst())
      default: break
      }
    }
  }

  private static func names(in directory: String) -> [String] {
    StateDirectory.names(in: directory).filter { !$0.hasPrefix(".") }.sorted()
  }
}
