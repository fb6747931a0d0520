import CNetlink
import Glibc
import WG6Protocol

/// Where the main table leads besides its default routes, by interfaces that are neither loopback nor tunnels. IPv4 first,
/// ascending.
public struct MachineNetworks: Hashable, Sendable {
  /// What is reached without a router.
  public var connected: [IPPrefix] = []
  /// What is reached through a router.
  public var routed: [IPPrefix] = []

  public init(connected: [IPPrefix] = [], routed: [IPPrefix] = []) {
    self.connected = connected
    self.routed = routed
  }
}

extension NetlinkSocket {
  /// The networks that this machine is in: what its main table reaches without a router, by any interface but loopback,
  /// tunnels and `link`; link-local ones included. IPv4 first, ascending.
  public func connectedNetworks(except link: Int32?) throws(NetlinkError) -> [IPPrefix] {
    try machineNetworks(except: link).connected
  }

  /// Where the main table leads, by any interface but loopback, tunnels and `link`. Of several next hops each counts: one
  /// router among them is enough for a network not to be connected.
  public func machineNetworks(except link: Int32?) throws(NetlinkError) -> MachineNetworks {
    let loopback = unsafe Int32(if_nametoindex("lo"))
    var isLeftOut: [Int32: Bool] = [loopback: true]
    if let link { isLeftOut[link] = true }
    var connected: Set<IPPrefix> = [], routed: Set<IPPrefix> = []
    for family in [AF_INET, AF_INET6] {
      let operation = "read the networks of this machine"
      let request = try RouteEntry.request(family, for: operation)
      request.put(NetlinkSocket.mainTable, as: Int(RTA_TABLE.rawValue))
      let found = try NetlinkList.read(request, for: operation) { answer -> RouteEntry.Way? in
        guard let entry = RouteEntry(answer, family), entry.table == NetlinkSocket.mainTable, entry.isUnicast,
          // A default route without a router leads through a modem or another tunnel: that is no network of ours.
          let prefix = entry.prefix, prefix.length > 0
        else { return nil }
        return RouteEntry.Way(prefix: prefix, hops: entry.hops)
      }
      for way in found {
        for hop in way.hops where isLeftOut[hop.interface] == nil {
          isLeftOut[hop.interface] = tunnelMTU(UInt32(hop.interface)) != nil
        }
        let hops = way.hops.filter { isLeftOut[$0.interface] != true }
        if hops.isEmpty { continue }
        if way.hops.count == hops.count, !hops.contains(where: \.hasGateway) {
          connected.insert(way.prefix)
        } else {
          routed.insert(way.prefix)
        }
      }
    }
    return MachineNetworks(
      connected: connected.sorted(),
      routed: routed.subtracting(connected).sorted())
  }
}

extension RouteEntry {
  /// A prefix, and the ways that lead there.
  fileprivate struct Way {
    let prefix: IPPrefix
    let hops: [(interface: Int32, hasGateway: Bool)]
  }
}
