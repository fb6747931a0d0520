import Foundation

extension Scenario {
  /// The kernel, left alone, would send the outer datagrams from an address of the inside.
  static let ownAddress = Scenario(
    "own-address", "an address of the tunnel is never the outer source: another is chosen, or nothing is sent",
    needs: [.program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    try staysInside(lab, .client, beside: lab.implementation, suffix: "1")
    try staysInside(lab, .server, beside: lab.implementation, suffix: "2")
    guard lab.implementation == .wg6 else { return }
    lab.say("with wireguard-go at the other end")
    try staysInside(lab, .client, beside: .wireguardGo, suffix: "3")
    try staysInside(lab, .server, beside: .wireguardGo, suffix: "4")
  }

  private static func staysInside(_ lab: Lab, _ side: Side, beside other: Implementation, suffix: String) throws {
    let tunnel = try Tunnel(
      in: lab, side == .client ? lab.implementation : other, suffix: suffix,
      serverImplementation: side == .client ? other : lab.implementation)
    try tunnel.establish()
    let leaks = try tunnel.end(side).host.capture(
      on: "wan", "udp and (src net 10.66.0.0/24 or src net fd66::/64 or src net 10.99.0.0/24 or src net fd99::/64)")
    try answersFromOutside(lab, tunnel, side)
    try survivesUplinkAddress(lab, tunnel, side)
    try borrowsAnotherAddress(lab, tunnel, side)
    leaks.stop()
    try lab.require(
      leaks.packets().isEmpty, "\(side): no datagram had an address of the tunnel for its source", leaks.digest())
  }

  /// A datagram that was written to an address of the tunnel is answered, from another one.
  private static func answersFromOutside(_ lab: Lab, _ tunnel: Tunnel, _ side: Side) throws {
    let (one, other) = (tunnel.end(side), tunnel.end(side.other))
    for (inner, mask, target) in [("10.99.0.1", "/32", one.outer.v4), ("fd99::1", "/128", one.outer.v6)] {
      try one.host.ip("address", "add", inner + mask, "dev", "wg0")
      try other.host.route(inner + mask, via: target)
      try other.host.reach(inner)
      try other.node.set("peer", one.node.keys.publicKey, "endpoint", bracketed(inner))
      try lab.require(
        tunnel.answersAtOnce(from: other.host, one.inner.v4)
          && other.node.endpoint(of: one.node.keys.publicKey) == bracketed(target),
        "\(side): written to its inner \(inner), it answers from \(target)",
        other.node.endpoint(of: one.node.keys.publicKey))
    }
  }

  /// The uplink's IPv6 address is deprecated, goes, leaving the link-local one, and comes again.
  private static func survivesUplinkAddress(_ lab: Lab, _ tunnel: Tunnel, _ side: Side) throws {
    let (one, other) = (tunnel.end(side), tunnel.end(side.other))
    let own = one.outer.v6, target = other.outer.v6
    let seen = { try other.node.endpoint(of: one.node.keys.publicKey) }
    let restart = {
      // The kernel chooses anew for a fresh endpoint.
      try one.node.set("peer", other.node.keys.publicKey, "endpoint", bracketed(target))
    }
    try restart()
    try one.host.reach(other.inner.v6)
    try one.host.ip("address", "change", own + "/64", "dev", "wan", "preferred_lft", "0")
    try restart()
    try lab.require(
      tunnel.answersAtOnce(from: one.host, other.inner.v6) && seen() == bracketed(own),
      "\(side): deprecated, \(own) goes on being the source", seen())

    try waitUntil("the link-local address can be used") {
      try !one.host.ip("-6", "address", "show", "dev", "wan", "tentative").contains("fe80")
    }
    try one.host.ip("route", "add", "2001:db8:100::/64", "dev", "wan", "metric", "2000")
    try one.host.port("wan").remove(own + "/64")
    try lab.require(
      tunnel.answersAtOnce(from: one.host, other.inner.v6) && seen().hasPrefix("[fe80:"),
      "\(side): \(own) is removed in mid-session, and the link-local address is the source", seen())
    try restart()
    try lab.require(
      tunnel.answersAtOnce(from: one.host, other.inner.v6) && seen().hasPrefix("[fe80:"),
      "\(side): a fresh endpoint is called from there as well", seen())

    try one.host.ip("address", "add", own + "/64", "dev", "wan", "nodad")
    try restart()
    try lab.require(
      tunnel.answersAtOnce(from: one.host, other.inner.v6) && seen() == bracketed(own),
      "\(side): added again, it is the source", seen())
  }

  /// The uplink has no IPv4 address: another interface's serves; without that, nothing is sent.
  private static func borrowsAnotherAddress(_ lab: Lab, _ tunnel: Tunnel, _ side: Side) throws {
    let (one, other) = (tunnel.end(side), tunnel.end(side.other))
    let spare = "203.0.113.7"
    try one.host.port("wan").remove(one.outer.v4 + "/24")
    try one.host.ip("route", "add", other.outer.v4 + "/32", "dev", "wan")
    // The kernel takes the address of the first interface that has any.
    try lab.cable(one.host.port("spare"), other.host.port("spare"))
    try other.host.ip("route", "add", spare + "/32", "dev", "wan")
    let before = try one.node.drops("no outer source")
    try one.node.set("peer", other.node.keys.publicKey, "endpoint", bracketed(other.outer.v4))
    let answered = try tunnel.answersAtOnce(from: one.host, other.inner.v4)
    try lab.require(!answered, "\(side): with no IPv4 address but the tunnel's nothing is answered")
    if one.node.implementation == .wg6 {
      try lab.require(one.node.drops("no outer source") > before, "\(side): and wg6 counts what it did not send")
    }
    try one.host.ip("address", "add", spare + "/32", "dev", "spare")
    try waitUntil("it is answered from another interface's address", within: 12) {
      try tunnel.answersAtOnce(from: one.host, other.inner.v4)
    }
    try lab.require(
      other.node.endpoint(of: one.node.keys.publicKey) == bracketed(spare),
      "\(side): another interface's \(spare) is the source", other.node.endpoint(of: one.node.keys.publicKey))
  }

  private static func bracketed(_ address: String) -> String {
    address.contains(":") ? "[\(address)]:\(Tunnel.port)" : "\(address):\(Tunnel.port)"
  }
}

extension Node {
  /// How much our daemon has dropped for the reason of that name; 0 for another's.
  func drops(_ reason: String) throws -> Int {
    guard implementation == .wg6 else { return 0 }
    return try unexpectedDrops()[reason] ?? 0
  }
}
