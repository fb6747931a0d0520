import CHarness
import Foundation
import Synchronization
import Testing
import WG6Linux

/// Network namespaces for tests inside this process: threads that go there, and open what stays there.
enum NetworkNamespaces {
  static let areThere = getuid() == 0 && ip != nil && FileManager.default.fileExists(atPath: "/dev/net/tun")
  static let absence: Comment = "SKIPPED: needs root, /dev/net/tun and ip (Debian: iproute2)"

  private static let ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  /// Runs `ip` with the words of `command`.
  static func ip(_ command: String) throws {
    let child = try Child(try #require(ip), command.split(separator: " ").map(String.init))
    guard try child.wait() == .exited(0) else { throw Failure(command: command) }
  }

  struct Failure: Error {
    let command: String
  }
}

/// One network namespace, as long as it is held.
final class NetworkNamespace: Sendable {
  private static let counter = Atomic(0)

  let name: String

  init() throws {
    name = "wg6-engine-\(getpid())-\(NetworkNamespace.counter.add(1, ordering: .relaxed).newValue)"
    try NetworkNamespaces.ip("netns add \(name)")
    try ip("link set lo up")
  }

  deinit { try? NetworkNamespaces.ip("netns delete \(name)") }

  /// Runs `ip`. An IPv6 address that it has given to an interface that is up takes packets when it returns.
  func ip(_ command: String) throws {
    try NetworkNamespaces.ip("-n \(name) \(command)")
    let words = command.split(separator: " ")
    guard words.contains("nodad"), let verb = words.firstIndex(of: "add"), let device = words.firstIndex(of: "dev"),
      let address = words[verb + 1].split(separator: "/").first, try isUp(String(words[device + 1]))
    else { return }
    try awaitAddress(String(address))
  }

  /// Waits until the kernel takes packets to an IPv6 address of its own. It makes the route for them a moment after the
  /// address, in a work queue, also where no duplicate is looked for: on a busy machine packets come before that.
  func awaitAddress(_ address: String) throws {
    let start = ContinuousClock.now
    while try ipAnswer("-6 route show table local type local \(address)").isEmpty {
      try #require(ContinuousClock.now - start < .seconds(10), "no packet to \(address) is taken")
      usleep(2000)
    }
  }

  private func isUp(_ interface: String) throws -> Bool {
    (try ipAnswer("link show dev \(interface)").first?["flags"] as? [String])?.contains("UP") == true
  }

  /// Runs `body` on a thread inside. Sockets and TUN descriptors stay where they were made.
  func inside<Value>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
    let box = Box<Value>()
    let name = name
    let thread = try WG6Linux.Thread(named: "inside") {
      let descriptor = open("/run/netns/\(name)", O_RDONLY | O_CLOEXEC)
      guard harness_enter_network_namespace(descriptor) == 0 else { return }
      close(descriptor)
      box.result = Result { try body() }
    }
    thread.join()
    return try #require(box.result, "no way into \(name)").get()
  }
}

/// Carries a result over; the end of the thread orders the accesses.
private final class Box<Value>: @unchecked Sendable {
  var result: Result<Value, any Error>?
}

/// Two namespaces and a veth pair between them: 10.77.0.1 and .2, fd77::1 and ::2.
struct VethPair {
  let left: NetworkNamespace
  let right: NetworkNamespace

  init(mtu: Int = 1500) throws {
    left = try NetworkNamespace()
    right = try NetworkNamespace()
    try left.ip("link add v0 address 02:00:00:00:00:01 type veth peer v0 address 02:00:00:00:00:02 netns \(right.name)")
    // Neighbours by hand: a young veth loses the first solicitation, and a test would wait a second for the next.
    for (host, own, other) in [(left, 1, 2), (right, 2, 1)] {
      try host.ip("link set v0 mtu \(mtu) up")
      try host.ip("address add 10.77.0.\(own)/24 dev v0")
      try host.ip("address add fd77::\(own)/64 dev v0 nodad")
      try host.ip("neighbour replace 10.77.0.\(other) lladdr 02:00:00:00:00:0\(other) dev v0 nud permanent")
      try host.ip("neighbour replace fd77::\(other) lladdr 02:00:00:00:00:0\(other) dev v0 nud permanent")
    }
  }
}
