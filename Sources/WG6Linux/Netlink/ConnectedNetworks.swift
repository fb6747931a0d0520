import CNetlink
import Glibc
import WG6Protocol

extension NetlinkSocket {
  /// The networks that this machine is in: what its main table reaches without a router, by any interface but loopback,
  /// tunnels and `link`; link-local ones included. IPv4 first, ascending.
  public func connectedNetworks(except link: Int32?) throws(NetlinkError) -> [IPPrefix] {
    var found: Set<IPPrefix> = []
    for family in [AF_INET, AF_INET6] {
      let operation = "read the networks of this machine"
      let request = try RouteEntry.request(family, for: operation)
      request.put(NetlinkSocket.mainTable, as: Int(RTA_TABLE.rawValue))
      let networks = try NetlinkList.read(request, for: operation) { answer -> (prefix: IPPrefix, interface: Int32)? in
        guard let entry = RouteEntry(answer, family), entry.table == NetlinkSocket.mainTable, entry.isUnicast,
          let hop = entry.hops.first, !hop.hasGateway, hop.interface != link, let prefix = entry.prefix,
          // A default route without a router leads through a modem or another tunnel: that is no network of ours.
          prefix.length > 0
        else { return nil }
        return (prefix, hop.interface)
      }
      let loopback = unsafe Int32(if_nametoindex("lo"))
      let left = Set(networks.map(\.interface)).filter { $0 == loopback || tunnelMTU(UInt32($0)) != nil }
      found.formUnion(networks.filter { !left.contains($0.interface) }.map(\.prefix))
    }
    return found.sorted { $0.precedes($1) }
  }
}

extension IPPrefix {
  fileprivate func precedes(_ other: IPPrefix) -> Bool {
    let (mine, others) = (address.bits, other.address.bits)
    return (address.isIPv6 ? 1 : 0, mine.high, mine.low, length)
      < (other.address.isIPv6 ? 1 : 0, others.high, others.low, other.length)
  }
}
