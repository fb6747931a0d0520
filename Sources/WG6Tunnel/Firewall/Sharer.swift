import Glibc
import WG6Linux
import WG6Protocol

/// An interface that has an address of the tunnel's interface too, as routers without a network of their own do, and tunnels
/// of providers that give everybody the same.
public struct Sharer: Hashable, Sendable, Comparable {
  public var address: IPAddress
  public var interface: String

  public init(address: IPAddress, interface: String) {
    self.address = address
    self.interface = interface
  }

  public static func < (one: Sharer, other: Sharer) -> Bool {
    ("\(one.address)", one.interface) < ("\(other.address)", other.interface)
  }
}

extension Sharer {
  /// The other interfaces that have one of `addresses` now, in an order that stays the same. With `tunnelsOnly` those that no
  /// network can give an address.
  static func all(of addresses: [IPAddress], but interface: String, tunnelsOnly: Bool) -> [Sharer] {
    guard !addresses.isEmpty, let present = try? NetlinkSocket.localAddresses() else { return [] }
    let netlink = try? NetlinkSocket()
    let guarded = Set(addresses)
    let found = present.filter { guarded.contains($0.address) }.compactMap { local -> Sharer? in
      var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
      guard unsafe if_indextoname(local.interface, &name) != nil else { return nil }
      let sharer = Sharer(
        address: local.address, interface: String(decoding: name.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self))
      guard sharer.interface != interface, sharer.interface != "lo" else { return nil }
      if tunnelsOnly, netlink?.tunnelMTU(local.interface) == nil { return nil }
      return sharer
    }
    return Set(found).sorted()
  }
}

extension FirewallRules {
  /// The same guard, with the addresses that other interfaces have now. For a tunnel that is up.
  func sharingAnew() -> FirewallRules {
    var rules = self
    let tunnels = Sharer.all(of: guardedAddresses, but: interface, tunnelsOnly: true)
    rules.sharers = Set(sharers).union(tunnels).sorted()
    return rules
  }
}
