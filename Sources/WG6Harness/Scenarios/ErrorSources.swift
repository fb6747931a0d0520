import Foundation

extension Scenario {
  /// An ICMP error comes from the machine that refused the packet, by its address on the way back.
  static let errorSources = Scenario(
    "error-sources",
    "ICMP errors past a router that drops what is not from its neighbour's network, with NAT and without, also from another namespace",
    needs: [.program("nft", package: "nftables"), .program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    for (number, setting) in [(1, true, Implementation.wireguardGo), (2, false, .wg6)].enumerated() {
      let (_, isClient, other) = setting
      let network = try ErrorNetwork(lab, number: number + 1, isClient: isClient, other: other)
      lab.say("wg6 as the \(isClient ? "client" : "server") of \(other.rawValue)")
      try network.check("straight")
      try network.masquerade()
      try network.check("behind NAT")
      try network.stopMasquerading()
      try network.check("after NAT has gone")
    }
    try ErrorNetwork.inAnotherNamespace(lab)
  }
}

/// far — edge — gateway ═ tunnel: `edge` lets nothing in from `gateway` whose source is not of the network between them.
private final class ErrorNetwork {
  let lab: Lab
  let gateway: Host
  let far: Host
  let mtu = 1420
  private let inner: (v4: String, v6: String)

  init(_ lab: Lab, number: Int, isClient: Bool, other: Implementation) throws {
    self.lab = lab
    let tunnel = try Tunnel(
      in: lab, isClient ? .wg6 : other, suffix: "\(number)", serverImplementation: isClient ? other : .wg6)
    try tunnel.establish()
    gateway = isClient ? tunnel.client : tunnel.server
    inner = isClient ? Tunnel.serverInner : Tunnel.clientInner
    let node = isClient ? tunnel.clientNode : tunnel.serverNode
    far = try lab.host("far\(number)")
    let edge = try lab.host("edge\(number)")
    try lab.cable(gateway.port("lan", "10.1.0.1/24", "fd10::1/64"), edge.port("near", "10.1.0.254/24", "fd10::fe/64"))
    try lab.cable(edge.port("away", "10.2.0.1/24", "fd20::1/64"), far.port("eth", "10.2.0.2/24", "fd20::2/64"))
    try gateway.forward()
    try edge.forward()
    try far.route(via: "10.2.0.1")
    try far.route(via: "fd20::1")
    try edge.route(via: "10.1.0.1")
    try edge.route(via: "fd10::1")
    try gateway.ip("route", "add", "10.2.0.0/24", "via", "10.1.0.254")
    try gateway.ip("-6", "route", "add", "fd20::/64", "via", "fd10::fe")
    try far.reach("10.1.0.1")
    try far.reach("fd10::1")
    try edge.nft(
      """
      table inet filter {
        chain forward {
          type filter hook forward priority filter;
          iifname "near" ip saddr != 10.1.0.0/24 drop
          iifname "near" ip6 saddr != fd10::/64 ip6 saddr != fe80::/10 drop
        }
      }
      """)
    let nowhere = try KeyPair.fresh(lab)
    try node.set("peer", nowhere.publicKey, "allowed-ips", "10.78.0.0/24,fd78::/64")
    for prefix in ["10.77.0.0/24", "10.78.0.0/24", "fd77::/64", "fd78::/64"] {
      try gateway.ip(prefix.contains(":") ? "-6" : "-4", "route", "add", prefix, "dev", "wg0")
    }
  }

  /// Each kind of error reaches the sender, from the gateway's address in the network between.
  func check(_ how: String) throws {
    for (what, target) in [
      ("no peer", "10.77.0.9"), ("no peer", "fd77::9"), ("no endpoint", "10.78.0.9"), ("no endpoint", "fd78::9"),
    ] {
      let gateway = target.contains(":") ? "fd10::1" : "10.1.0.1"
      let said = try ping(target).output.lowercased()
      try lab.require(
        said.contains("from \(gateway)") && said.contains("unreachable"),
        "\(how), \(what) for \(target): from \(gateway)",
        said)
    }
    for target in [inner.v4, inner.v6] {
      // A machine remembers what it was told of a path.
      try far.ip("route", "flush", "cache")
      try far.ip("-6", "route", "flush", "cache")
      let gateway = target.contains(":") ? "fd10::1" : "10.1.0.1"
      let size = mtu + 1 - (target.contains(":") ? 48 : 28)
      let said = try ping(target, "-M", "do", "-s", "\(size)").output.lowercased()
      try lab.require(
        said.contains("from \(gateway)") && said.contains("mtu"), "\(how), too big for \(target): from \(gateway)", said
      )
    }
  }

  func masquerade() throws {
    try gateway.nft(
      """
      table inet nat {
        chain postrouting {
          type nat hook postrouting priority srcnat;
          oifname "wg0" masquerade
        }
      }
      """)
  }

  func stopMasquerading() throws { try gateway.nft("delete table inet nat") }

  private func ping(_ target: String, _ options: String...) throws -> Outcome {
    try far.attempt(["ping", "-n", "-c", "1", "-W", "2"] + options + [target])
  }

  /// An interface that was moved away from its daemon: the error comes from where it is.
  static func inAnotherNamespace(_ lab: Lab) throws {
    let outside = try lab.host("outside"), inside = try lab.host("inside")
    let node = try Node(on: outside, .wg6, interface: "wg0")
    try node.configure(peers: [])
    try outside.ip("link", "set", "wg0", "netns", inside.namespace)
    for address in ["10.66.0.1/24", "fd66::1/64"] { try inside.ip("addr", "add", address, "dev", "wg0") }
    try inside.ip("link", "set", "wg0", "up")
    for (target, own) in [("10.66.0.9", "10.66.0.1"), ("fd66::9", "fd66::1")] {
      let said = try inside.attempt(["ping", "-n", "-c", "1", "-W", "2", target]).output.lowercased()
      try lab.require(
        said.contains("from \(own)") && said.contains("unreachable"),
        "an interface in another namespace than its daemon: from \(own), in that one", said)
    }
  }
}
