import Glibc
import WG6Config
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
    guard !addresses.isEmpty else { return [] }
    let guarded = Set(addresses)
    let found = InterfaceAddresses().others(than: interface).filter { !tunnelsOnly || $0.isTunnel }.flatMap { holder in
      holder.addresses.filter { guarded.contains($0.address) }.map {
        Sharer(address: $0.address, interface: holder.name)
      }
    }
    return Set(found).sorted()
  }
}

/// The interfaces of this namespace that have addresses, as they are when this is made.
struct InterfaceAddresses {
  struct Holder {
    let name: String
    /// Whether it is one that no network can give an address.
    let isTunnel: Bool
    fileprivate(set) var addresses: [AssignedAddress]
  }

  private var holders: [UInt32: Holder] = [:]

  /// Without loopback, and without an interface whose name can't stand in a rule: what comes by such a one is dropped.
  init() {
    let netlink = try? NetlinkSocket()
    for assigned in (try? NetlinkSocket.assignedAddresses()) ?? [] {
      if holders[assigned.interface]?.addresses.append(assigned) != nil { continue }
      var bytes = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
      guard unsafe if_indextoname(assigned.interface, &bytes) != nil else { continue }
      let name = String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard name != "lo", FirewallRules.canName(name) else { continue }
      holders[assigned.interface] = Holder(
        name: name, isTunnel: netlink?.tunnelMTU(assigned.interface) != nil, addresses: [assigned])
    }
  }

  /// In an order that stays the same.
  func others(than interface: String) -> [Holder] {
    holders.values.filter { $0.name != interface }.sorted { $0.name < $1.name }
  }

  func addresses(of interface: String) -> [AssignedAddress] {
    holders.values.first { $0.name == interface }?.addresses ?? []
  }
}

extension FirewallRules {
  /// Whether an interface's name can stand in a rule, and in a journal. The kernel takes any 15 bytes but for slashes,
  /// colons and spaces; nft takes no quotation mark between others, and `*` and `\` not for themselves.
  static func canName(_ interface: String) -> Bool {
    let special = Set(#""*\,/ "#.utf8)
    return (1...15).contains(interface.utf8.count)
      && interface.utf8.allSatisfy { (0x21...0x7E).contains($0) && !special.contains($0) }
  }

  /// The same guard with the addresses that the interfaces have now, for a tunnel that is up.
  ///
  /// Addresses that other programs gave the interface are guarded too, and those that the kernel answers to for their
  /// networks. Of the interfaces that a command found to have a guarded address too, those that still have it count, and
  /// tunnels whenever they have one; any other that has got one since does not, for that is what a DHCP server of the
  /// network outside would do.
  ///
  /// - Returns: The rules, and the interfaces that do not count.
  func followingAddresses() -> (rules: FirewallRules, ignored: [Sharer]) {
    guard hasGuard else { return (self, []) }
    var rules = self
    let present = InterfaceAddresses()
    let others = present.others(than: interface)
    let own = present.addresses(of: interface).filter { !$0.address.isLinkLocal }
    func holders(_ address: IPAddress) -> [InterfaceAddresses.Holder] {
      others.filter { $0.addresses.contains { $0.address == address } }
    }

    let further = Set(own.map(\.address)).subtracting(guardedAddresses).filter { holders($0).allSatisfy(\.isTunnel) }
    rules.guardedAddresses += further.sorted { "\($0)" < "\($1)" }
    var ignored: [Sharer] = []
    rules.sharers = []
    for address in rules.guardedAddresses {
      for holder in holders(address) {
        let sharer = Sharer(address: address, interface: holder.name)
        if holder.isTunnel || sharers.contains(sharer) { rules.sharers.append(sharer) } else { ignored.append(sharer) }
      }
    }
    rules.groupAddresses = Set(own.flatMap(\.groupAddresses)).subtracting(rules.guardedAddresses)
      .sorted { "\($0)" < "\($1)" }
    for address in rules.groupAddresses {
      for holder in others where holder.addresses.contains(where: { $0.groupAddresses.contains(address) }) {
        rules.sharers.append(Sharer(address: address, interface: holder.name))
      }
    }
    rules.sharers = Set(rules.sharers).sorted()
    return (rules, ignored)
  }
}
