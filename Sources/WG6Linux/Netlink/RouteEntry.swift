import CNetlink
import Glibc
import WG6Protocol

/// A route as the kernel tells of it, in libnl-route-3's words.
@safe final class RouteEntry {
  // SAFETY: one reference, dropped in deinit.
  let route: OpaquePointer

  /// `RT_TABLE_LOCAL`: the machine's own addresses.
  static let localTable: UInt32 = 255
  /// The protocol number of wg6's routes and rules: other programs, and people, can tell them from their own. 108, the
  /// low byte of WireGuard's usual port, is nobody's in iproute2's rt_protos.
  static let ownProtocol: UInt8 = 0x6C

  /// `nil` for anything but a route of `family`: without IPv6, the kernel answers with IPv4.
  init?(_ answer: NetlinkAnswer, _ family: Int32) {
    guard let header = answer.header(rtmsg.self), header.rtm_family == UInt8(family) else { return nil }
    var route: OpaquePointer?
    guard unsafe rtnl_route_parse(answer.message, &route) >= 0, let route = unsafe route else { return nil }
    unsafe self.route = route
  }

  deinit {
    unsafe rtnl_route_put(route)
  }

  /// A request for all routes of a family, to which attributes for the kernel's filter may be added.
  static func request(_ family: Int32, for operation: String) throws(NetlinkError) -> NetlinkRequest {
    var header = rtmsg()
    header.rtm_family = UInt8(family)
    return try NetlinkRequest(Int(RTM_GETROUTE), flags: NLM_F_DUMP, header, for: operation)
  }

  var table: UInt32 { unsafe rtnl_route_get_table(route) }
  var isUnicast: Bool { unsafe rtnl_route_get_type(route) == UInt8(RTN_UNICAST) }
  /// Whether the kernel made it for an address (`RTPROT_KERNEL`).
  var isKernels: Bool { unsafe rtnl_route_get_protocol(route) == 2 }

  /// Whether the kernel made it for a router advertisement (`RTPROT_RA`).
  var isOfRouter: Bool { unsafe rtnl_route_get_protocol(route) == 9 }

  /// The MTU, in bytes, that the route sets for itself, or that was learned of its path.
  var mtu: Int? {
    var mtu: UInt32 = 0
    return unsafe rtnl_route_get_metric(route, Int32(RTAX_MTU), &mtu) >= 0 && mtu > 0 ? Int(mtu) : nil
  }

  /// The interfaces that it leads to, and whether there is a router behind each.
  var hops: [(interface: Int32, hasGateway: Bool)] {
    (0..<(unsafe rtnl_route_get_nnexthops(route))).compactMap { number in
      guard let hop = unsafe rtnl_route_nexthop_n(route, number) else { return nil }
      return unsafe (
        rtnl_route_nh_get_ifindex(hop), rtnl_route_nh_get_gateway(hop) != nil || rtnl_route_nh_get_via(hop) != nil
      )
    }
  }

  /// Among routes to the same prefix of a table, the lowest counts.
  var metric: UInt32 { unsafe rtnl_route_get_priority(route) }

  /// The gateways through `interface`, of either family.
  func gateways(through interface: Int32) -> [IPAddress] {
    (0..<(unsafe rtnl_route_get_nnexthops(route))).compactMap { number in
      guard let hop = unsafe rtnl_route_nexthop_n(route, number), unsafe rtnl_route_nh_get_ifindex(hop) == interface,
        let address = unsafe rtnl_route_nh_get_gateway(hop) ?? rtnl_route_nh_get_via(hop),
        let base = unsafe nl_addr_get_binary_addr(address)
      else { return nil }
      return unsafe IPAddress(
        networkBytes: UnsafeRawBufferPointer(start: base, count: Int(nl_addr_get_len(address))))
    }
  }

  /// The address that is to be sent from.
  var source: IPAddress? {
    guard let address = unsafe rtnl_route_get_pref_src(route), let base = unsafe nl_addr_get_binary_addr(address) else {
      return nil
    }
    return unsafe IPAddress(
      networkBytes: UnsafeRawBufferPointer(start: base, count: Int(nl_addr_get_len(address))))
  }

  func leads(to interface: Int32) -> Bool { hops.contains { $0.interface == interface } }

  /// Where it leads to.
  var prefix: IPPrefix? {
    guard let address = unsafe rtnl_route_get_dst(route) else { return nil }
    let length = unsafe Int(nl_addr_get_prefixlen(address))
    let isIPv6 = unsafe rtnl_route_get_family(route) == UInt8(AF_INET6)
    guard length <= (isIPv6 ? 128 : 32) else { return nil }
    // A default route comes without bytes.
    guard unsafe nl_addr_get_len(address) > 0, let base = unsafe nl_addr_get_binary_addr(address) else {
      return IPPrefix(isIPv6 ? .v6(high: 0, low: 0) : .v4(0), length: length)
    }
    let bytes = unsafe UnsafeRawBufferPointer(start: base, count: Int(nl_addr_get_len(address)))
    return unsafe IPAddress(networkBytes: bytes).map { IPPrefix($0, length: length) }
  }
}
