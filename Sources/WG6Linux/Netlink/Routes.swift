import CNetlink
import WG6Protocol

extension NetlinkSocket {
  /// The table that `ip route` shows, `RT_TABLE_MAIN`.
  public static let mainTable: UInt32 = 254

  /// `RTPROT_BOOT`: put there by an administrator's tool, as `ip route add` says.
  private static let bootProtocol: UInt8 = 3

  /// Sends `prefix` to the interface. Throws `isExisting` where the table has such a route already.
  public func addRoute(to prefix: IPPrefix, via link: Link, table: UInt32 = mainTable) throws(NetlinkError) {
    let operation = "add a route to \(link.name)"
    let destination = try NetlinkAddress(prefix.address, prefixLength: prefix.length)
    guard let route = unsafe rtnl_route_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    defer { unsafe rtnl_route_put(route) }
    unsafe rtnl_route_set_table(route, table)
    unsafe rtnl_route_set_protocol(route, NetlinkSocket.bootProtocol)
    try check(unsafe rtnl_route_set_dst(route, destination.address), operation)
    guard let hop = unsafe rtnl_route_nh_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    unsafe rtnl_route_nh_set_ifindex(hop, link.index)
    // The route owns the hop from here on.
    unsafe rtnl_route_add_nexthop(route, hop)
    try check(unsafe rtnl_route_add(socket, route, Int32(NLM_F_EXCL)), operation)
  }

  /// Where the routes through the interface lead, of one table.
  public func routes(via link: Link, table: UInt32 = mainTable) throws(NetlinkError) -> Set<IPPrefix> {
    var prefixes: Set<IPPrefix> = []
    for family in [AF_INET, AF_INET6] {
      var cache: OpaquePointer?
      try check(
        unsafe rtnl_route_alloc_cache(socket, family, 0, &cache), "read the routes of \(link.name)")
      guard let cache = unsafe cache else { continue }
      defer { unsafe nl_cache_free(cache) }
      var object = unsafe nl_cache_get_first(cache)
      while let route = unsafe object {
        if unsafe rtnl_route_get_table(route) == table, unsafe leads(route, to: link.index),
          let prefix = unsafe destination(of: route, family)
        {
          prefixes.insert(prefix)
        }
        unsafe object = nl_cache_get_next(route)
      }
    }
    return prefixes
  }

  @unsafe private func leads(_ route: OpaquePointer, to index: Int32) -> Bool {
    for number in 0..<(unsafe rtnl_route_get_nnexthops(route)) {
      if let hop = unsafe rtnl_route_nexthop_n(route, number), unsafe rtnl_route_nh_get_ifindex(hop) == index {
        return true
      }
    }
    return false
  }

  @unsafe private func destination(of route: OpaquePointer, _ family: Int32) -> IPPrefix? {
    guard let address = unsafe rtnl_route_get_dst(route) else { return nil }
    let length = unsafe Int(nl_addr_get_prefixlen(address))
    let byteCount = unsafe Int(nl_addr_get_len(address))
    var bytes: [UInt8] = []
    if byteCount > 0, let base = unsafe nl_addr_get_binary_addr(address) {
      bytes = unsafe Array(UnsafeRawBufferPointer(start: base, count: byteCount))
    }
    // A default route may come without bytes.
    func word(_ offset: Int) -> UInt64 {
      (0..<8).reduce(0) { $0 << 8 | UInt64(offset + $1 < bytes.count ? bytes[offset + $1] : 0) }
    }
    let isIPv6 = family == AF_INET6
    guard length <= (isIPv6 ? 128 : 32) else { return nil }
    return IPPrefix(isIPv6 ? .v6(high: word(0), low: word(8)) : .v4(UInt32(word(0) >> 32)), length: length)
  }
}
