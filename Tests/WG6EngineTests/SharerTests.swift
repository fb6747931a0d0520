import Testing
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence))
struct `Interfaces that have an address of the tunnel too` {
  private final class Held: Sendable {
    let tun: TUN
    init(_ tun: consuming TUN) { self.tun = tun }
  }

  @Test(arguments: ["10.77.0.1", "fd77::1"])
  func
    `are, once the tunnel is up, those that had it before and have it still, and tunnels, which no network gives one`(
      text: String
    ) throws
  {
    let pair = try VethPair(), namespace = pair.left, address = try #require(IPAddress(text))
    let tunnels = try ["own0", "tun0"].map { name in try namespace.inside { Held(try TUN(named: name)) } }
    for name in ["own0", "tun0"] {
      try namespace.ip("address add \(text) dev \(name)\(address.isIPv6 ? " nodad" : "")")
      try namespace.ip("link set \(name) up")
    }
    func found(tunnelsOnly: Bool) throws -> [String] {
      try namespace.inside { Sharer.all(of: [address], but: "own0", tunnelsOnly: tunnelsOnly) }.map(\.interface)
    }
    #expect(try found(tunnelsOnly: false) == ["tun0", "v0"])
    #expect(try found(tunnelsOnly: true) == ["tun0"])
    var rules = FirewallRules(interface: "own0", guardedAddresses: [address])
    for (before, now) in [([], ["tun0"]), (["v0", "gone0"], ["tun0", "v0"])] as [([String], [String])] {
      rules.sharers = before.map { Sharer(address: address, interface: $0) }
      let former = rules
      let sharers = try namespace.inside { former.followingAddresses().rules.sharers }
      #expect(sharers.map(\.interface) == now && sharers.allSatisfy { $0.address == address })
    }
    withExtendedLifetime((tunnels, pair)) {}
  }
}
