import Foundation

extension Scenario {
  /// Settings come in any order and at either end, and the tunnel works as soon as the last is there.
  static let lateSettings = Scenario(
    "late-settings",
    "keys, endpoints and keepalives that are set late, at either end, over both families, towards wg6 and wireguard-go",
    needs: [.program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    for (index, setting) in LateSetting.all.enumerated() {
      let ends = try setting.build(in: lab, number: index + 1)
      try ends.changeOurKey()
      try ends.changeTheirKey()
      try ends.setEndpointLast()
      try ends.setKeepaliveLast()
      try ends.comeUpLast()
      try ends.addOurselves()
      lab.say("  \(setting): all of it")
    }
  }
}

/// Whose the other end is, what is between the two, and which of them the client is.
private struct LateSetting: CustomStringConvertible {
  let other: Implementation
  let isOverIPv6: Bool
  let isOursTheClient: Bool

  static let all = [Implementation.wg6, .wireguardGo].flatMap { other in
    [false, true].flatMap { isOverIPv6 in
      [true, false].map { LateSetting(other: other, isOverIPv6: isOverIPv6, isOursTheClient: $0) }
    }
  }

  var description: String {
    "wg6 as the \(isOursTheClient ? "client" : "server") of \(other.rawValue) over \(isOverIPv6 ? "IPv6" : "IPv4")"
  }

  func build(in lab: Lab, number: Int) throws -> Ends {
    let outer = isOverIPv6 ? "[\(Tunnel.serverOuter.v6)]" : Tunnel.serverOuter.v4
    let tunnel = try Tunnel(
      in: lab, isOursTheClient ? .wg6 : other, suffix: "\(number)", endpoint: "\(outer):\(Tunnel.port)",
      serverImplementation: isOursTheClient ? other : .wg6)
    try tunnel.establish()
    let client = End(
      host: tunnel.client, node: tunnel.clientNode, outer: Tunnel.clientOuter, inner: Tunnel.clientInner,
      isOverIPv6: isOverIPv6, key: tunnel.clientKey)
    let server = End(
      host: tunnel.server, node: tunnel.serverNode, outer: Tunnel.serverOuter, inner: Tunnel.serverInner,
      isOverIPv6: isOverIPv6, key: tunnel.serverKey)
    return Ends(
      lab: lab, title: description, ours: isOursTheClient ? client : server, theirs: isOursTheClient ? server : client)
  }
}

/// One end of the tunnel and its current key.
private struct End {
  let host: Host
  let node: Node
  let outer: (v4: String, v6: String)
  let inner: (v4: String, v6: String)
  let isOverIPv6: Bool
  var key: String

  var endpoint: String { (isOverIPv6 ? "[\(outer.v6)]" : outer.v4) + ":\(Tunnel.port)" }
  var prefixes: String { "\(inner.v4)/32,\(inner.v6)/128" }

  mutating func takeAnotherKey(_ lab: Lab) throws {
    let keys = try KeyPair.fresh(lab)
    try host.run(["wg", "set", "wg0", "private-key", "/dev/stdin"], input: keys.privateKey)
    key = keys.publicKey
  }

  func answersAtOnce(from other: End) throws -> Bool {
    try [inner.v4, inner.v6].allSatisfy {
      try other.host.attempt(["ping", "-q", "-n", "-c", "1", "-W", "1", $0], within: 10).succeeded
    }
  }
}

private final class Ends {
  let lab: Lab
  let title: String
  var ours: End
  var theirs: End

  init(lab: Lab, title: String, ours: End, theirs: End) {
    self.lab = lab
    self.title = title
    self.ours = ours
    self.theirs = theirs
  }

  /// Our end takes another key first; the other end learns of it afterwards.
  func changeOurKey() throws {
    let old = ours.key
    try ours.takeAnotherKey(lab)
    try theirs.node.set("peer", ours.key, "allowed-ips", ours.prefixes, "peer", old, "remove")
    try require(ours: theirs.answersAtOnce(from: ours), "after our key changed, our first ping is answered")
  }

  func changeTheirKey() throws {
    let old = theirs.key
    try theirs.takeAnotherKey(lab)
    try ours.node.set(
      "peer", theirs.key, "endpoint", theirs.endpoint, "allowed-ips", theirs.prefixes, "peer", old, "remove")
    try require(ours: theirs.answersAtOnce(from: ours), "after their key changed, our first ping is answered")
  }

  func setEndpointLast() throws {
    try forget()
    try ours.node.set("peer", theirs.key, "allowed-ips", theirs.prefixes, "persistent-keepalive", "25")
    try expectHandshake("an endpoint") { try ours.node.set("peer", theirs.key, "endpoint", mapped(theirs.endpoint)) }
    try require(
      ours: ours.node.endpoint(of: theirs.key) == theirs.endpoint, "an IPv4-mapped endpoint is the IPv4 address in it")
  }

  func setKeepaliveLast() throws {
    try forget()
    try ours.node.set("peer", theirs.key, "allowed-ips", theirs.prefixes, "endpoint", theirs.endpoint)
    try expectHandshake("a keepalive") { try ours.node.set("peer", theirs.key, "persistent-keepalive", "25") }
  }

  func comeUpLast() throws {
    try ours.host.ip("link", "set", "wg0", "down")
    try expectHandshake("the interface") { try ours.host.ip("link", "set", "wg0", "up") }
  }

  func addOurselves() throws {
    try ours.node.set("peer", ours.key, "allowed-ips", "10.99.0.0/24")
    try require(ours: ours.node.column("allowed-ips")[ours.key] == nil, "our own key is no peer's, without an error")
  }

  // MARK: Parts of these

  private func forget() throws {
    try ours.node.set("peer", theirs.key, "remove")
  }

  private func mapped(_ endpoint: String) -> String {
    ours.isOverIPv6 ? endpoint : "[::ffff:\(theirs.outer.v4)]:\(Tunnel.port)"
  }

  /// Waits for a handshake that no packet asked for.
  private func expectHandshake(_ what: String, after set: () throws -> Void) throws {
    // `wg` shows handshakes by the second.
    let former = try theirs.node.latestHandshake(with: ours.key)
    try waitUntil("the next second begins") { Int(Clock.wallSeconds) > former }
    try set()
    try waitUntil("\(title): a handshake, where \(what) comes last", within: 3) {
      try theirs.node.latestHandshake(with: ours.key) > former
    }
  }

  private func require(ours holds: Bool, _ claim: String) throws {
    guard holds else { throw Disproved(claim: "\(title): \(claim)", detail: "") }
  }
}
