import Foundation

/// One WireGuard interface on a machine, of whatever implementation, driven by the stock `wg` and `ip`.
public final class Node {
  public let machine: any Machine
  public let implementation: Implementation
  public let interface: String
  public let keys: KeyPair
  /// The daemon behind the interface; `nil` for the kernel's.
  public private(set) var daemon: Program?

  /// Starts `implementation` on a host and waits until its interface can be configured.
  public init(on host: Host, _ implementation: Implementation, interface: String, environment: [String: String] = [:])
    throws
  {
    machine = host
    self.implementation = implementation
    self.interface = interface
    keys = try KeyPair.fresh(host.lab)
    guard let command = try implementation.command(interface: interface) else {
      preconditionFailure("the kernel's interfaces live in a guest")
    }
    var environment = environment
    environment["LOG_LEVEL"] = environment["LOG_LEVEL"] ?? "error"
    let daemon = try host.start(command, environment: environment)
    self.daemon = daemon
    // Not the socket's mere existence: a daemon that was killed leaves its own behind. And no `wg` before the socket takes
    // connections: it deletes one that does not, and wireguard-go ends when that befalls it between bind and listen.
    try waitUntil("\(implementation.rawValue) offers \(interface) on \(host.name)", within: 20) {
      guard daemon.isRunning else { throw ProgramFailed(outcome: try daemon.wait(within: 1)) }
      guard (try? ControlSocket(on: host, interface: interface)) != nil else { return false }
      return try host.attempt(["wg", "show", interface, "fwmark"]).succeeded
    }
  }

  /// Makes an interface of the kernel's own in a guest.
  public init(in guest: Guest, interface: String) throws {
    machine = guest
    implementation = .kernel
    self.interface = interface
    keys = try KeyPair.fresh(guest.lab)
    try guest.run("ip", "link", "add", interface, "type", "wireguard")
  }

  /// Sets the private key and everything else at once, as `wg setconf` does.
  public func configure(listenPort: Int = 0, mark: Int? = nil, peers: [PeerSettings]) throws {
    var text = "[Interface]\nPrivateKey = \(keys.privateKey)\n"
    if listenPort != 0 { text += "ListenPort = \(listenPort)\n" }
    if let mark { text += "FwMark = \(mark)\n" }
    text += peers.map(\.text).joined()
    try machine.run(["wg", "setconf", interface, "/dev/stdin"], input: text)
  }

  /// Gives the interface its addresses and raises it.
  public func up(_ addresses: [String], mtu: Int = 1420) throws {
    for address in addresses {
      let nodad = address.contains(":") ? ["nodad"] : []
      try machine.run(["ip", "addr", "add", address, "dev", interface] + nodad)
    }
    try machine.run("ip", "link", "set", interface, "mtu", "\(mtu)", "up")
  }

  /// `wg set` on this interface.
  public func set(_ words: String...) throws {
    try machine.run(["wg", "set", interface] + words)
  }

  /// One column of `wg show IF COLUMN`, by the peer's public key.
  public func column(_ name: String) throws -> [String: String] {
    let pairs = try machine.run("wg", "show", interface, name).lines.map { line in
      let parts = line.split(separator: "\t", maxSplits: 1).map(String.init)
      return (parts[0], parts.count > 1 ? parts[1] : "")
    }
    return Dictionary(pairs) { $1 }
  }

  /// When the newest handshake with a peer was, in seconds since 1970; 0 before the first.
  public func latestHandshake(with peer: String) throws -> Int {
    Int(try column("latest-handshakes")[peer] ?? "") ?? 0
  }

  /// The bytes that the counters of a peer say, received and sent.
  public func transfer(with peer: String) throws -> (received: Int, sent: Int) {
    let counts = try column("transfer")[peer]?.split(separator: "\t").compactMap { Int($0) } ?? []
    return counts.count == 2 ? (counts[0], counts[1]) : (0, 0)
  }

  /// Where a peer was last heard from, as `address:port`.
  public func endpoint(of peer: String) throws -> String {
    try column("endpoints")[peer] ?? ""
  }

  /// What our daemon has dropped, by the reason's name, on a network where nobody spoils anything: without the kernel's own
  /// multicast, which belongs to no peer, and first handshakes that were earlier than the cable's first answer.
  func unexpectedDrops() throws -> [String: Int] {
    let lines = try machine.run([Binaries.path(of: "wg6"), "show", interface, "drops"]).lines
    // "  data seen before: 2 (repeated by the network …)": the interface's come first, and hold its peers' as well.
    let counts = lines.filter { $0.hasPrefix("  ") }.compactMap { line -> (String, Int)? in
      let parts = line.trimmed.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, let count = parts[1].split(separator: " ").first.flatMap({ Int($0) }) else { return nil }
      return (String(parts[0]), count)
    }
    return Dictionary(counts) { first, _ in first }
      .filter { !["no peer for destination", "handshake unanswered"].contains($0.key) }
  }
}

/// A peer's section of a configuration.
public struct PeerSettings: Sendable {
  public var publicKey: String
  public var presharedKey: String?
  public var endpoint: String?
  public var allowedIPs: [String]
  public var keepalive: Int?

  public init(
    _ publicKey: String, presharedKey: String? = nil, endpoint: String? = nil, allowedIPs: [String],
    keepalive: Int? = nil
  ) {
    self.publicKey = publicKey
    self.presharedKey = presharedKey
    self.endpoint = endpoint
    self.allowedIPs = allowedIPs
    self.keepalive = keepalive
  }

  var text: String {
    var lines = ["[Peer]", "PublicKey = \(publicKey)"]
    if !allowedIPs.isEmpty { lines.append("AllowedIPs = \(allowedIPs.joined(separator: ", "))") }
    if let presharedKey { lines.append("PresharedKey = \(presharedKey)") }
    if let endpoint { lines.append("Endpoint = \(endpoint)") }
    if let keepalive { lines.append("PersistentKeepalive = \(keepalive)") }
    return lines.joined(separator: "\n") + "\n"
  }
}

/// A private key and its public half, as text.
public struct KeyPair: Sendable {
  public let privateKey: String
  public let publicKey: String

  static func fresh(_ lab: Lab) throws -> KeyPair {
    let privateKey = try lab.command("wg", "genkey")
    let publicKey = try lab.command("wg", "pubkey", input: privateKey)
    return KeyPair(privateKey: privateKey.trimmed, publicKey: publicKey.trimmed)
  }
}

extension String {
  var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
