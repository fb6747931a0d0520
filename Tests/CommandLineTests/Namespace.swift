import Foundation
import Synchronization
import Testing

/// A network namespace with one device in it; both are gone when it ends.
final class Namespace {
  private static let counter = Atomic(0)

  let name: String
  let interface: String
  let directory: URL

  /// With `device`, the daemon is started for it.
  init(device: Bool = true) throws {
    let number = Namespace.counter.add(1, ordering: .relaxed).newValue
    // Control sockets of all namespaces lie in one directory: interfaces need names of their own.
    interface = "c\(getpid())n\(number)"
    name = "wg6-cli-\(interface)"
    directory = FileManager.default.temporaryDirectory.appendingPathComponent("wg6-cli-\(interface)")
    try FileManager.default.createDirectory(
      at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    try require(run(Programs.ip!, ["netns", "add", name]))
    try require(ip("link", "set", "lo", "up"))
    if device {
      try require(inside(Programs.daemon!, [interface]))
      try waitUntil("the device answers") { try inside(Programs.wg!, ["show", interface]).status == 0 }
    }
  }

  deinit {
    _ = try? ip("link", "delete", interface)
    try? waitUntil("the socket is gone") { !hasSocket }
    _ = try? run(Programs.ip!, ["netns", "delete", name])
    try? FileManager.default.removeItem(at: directory)
  }

  var hasSocket: Bool { FileManager.default.fileExists(atPath: "/var/run/wireguard/\(interface).sock") }
  var hasLink: Bool { (try? ip("link", "show", interface).status) == 0 }

  @discardableResult
  func inside(_ program: String, _ arguments: [String], input: String = "", environment: [String: String] = [:]) throws
    -> Outcome
  {
    try run(
      Programs.ip!, ["netns", "exec", name, program] + arguments, input: Data(input.utf8), environment: environment)
  }

  func ip(_ arguments: String...) throws -> Outcome {
    try run(Programs.ip!, ["-n", name] + arguments)
  }

  func wg(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
    try inside(Programs.wg!, arguments, environment: environment)
  }

  func wg6(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
    try inside(Programs.wg6, arguments, environment: ["WG6D": Programs.daemon!].merging(environment) { $1 })
  }

  /// Writes a file that only its owner reads, and returns its path.
  func file(_ name: String, _ text: String) throws -> String {
    let path = directory.appendingPathComponent(name).path
    _ = FileManager.default.createFile(atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
    return path
  }

  /// `kill -9` of the daemon that has our interface's name for its argument.
  func killDaemon() throws {
    for daemon in try daemons() { kill(daemon.process, SIGKILL) }
    try waitUntil("the interface is gone") { !hasLink }
  }

  /// The processes that serve the interface, and how they were called.
  func daemons() throws -> [(process: Int32, words: [String])] {
    try processes { words in
      words.last == interface
        && words.first?.hasSuffix(URL(fileURLWithPath: Programs.daemon!).lastPathComponent) == true
    }
  }

  /// The process that watches over the interface's tunnel.
  func watcher() throws -> Int32? {
    try processes { $0.suffix(2) == ["watch", interface] }.first?.process
  }

  /// `kill -9` of that process.
  func endWatching() throws {
    let watcher = try #require(try watcher(), "nobody watches over \(interface)")
    kill(watcher, SIGKILL)
    try waitUntil("nobody watches") { try self.watcher() == nil }
  }

  /// The processes that were called in some way.
  func processes(where condition: ([String]) -> Bool) throws -> [(process: Int32, words: [String])] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { entry in
      guard let process = Int32(entry), let line = FileManager.default.contents(atPath: "/proc/\(entry)/cmdline") else {
        return nil
      }
      let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      return condition(words) ? (process, words) : nil
    }
  }

  func require(_ outcome: Outcome) throws {
    try #require(outcome.status == 0, "\(outcome.errors)")
  }
}

/// Asks every 10 ms until `condition` holds; fails after ten seconds.
func waitUntil(_ what: String, _ condition: () throws -> Bool) throws {
  for _ in 0..<1000 {
    if try condition() { return }
    usleep(10_000)
  }
  Issue.record("waited ten seconds in vain until \(what)")
}

/// A new private key and its public key, made by `wg`.
func keyPair() throws -> (private: String, public: String) {
  let key = try run(Programs.wg!, ["genkey"]).output
  let publicKey = try run(Programs.wg!, ["pubkey"], input: Data(key.utf8)).output
  return (key.trimmingCharacters(in: .newlines), publicKey.trimmingCharacters(in: .newlines))
}

/// A file for a tunnel with one peer, written into the namespace's directory. Returns its path.
///
/// - Parameter number: tells the addresses of several tunnels apart.
func configuration(
  _ space: Namespace, _ lines: String = "", named interface: String? = nil, allowedIPs: String,
  endpoint: String = "127.0.0.1:5555", number: Int = 0
) throws -> String {
  try space.file(
    "\(interface ?? space.interface).conf",
    """
    [Interface]
    PrivateKey = \(try keyPair().private)
    Address = 10.9.\(number).1/24, fd00:9:\(number)::1/64
    \(lines)
    [Peer]
    PublicKey = \(try keyPair().public)
    AllowedIPs = \(allowedIPs)
    Endpoint = \(endpoint)
    """)
}
