import CNetlink
import Glibc
import WG6Protocol

/// Whole routing tables, as programs that go their own way have them.
extension NetlinkSocket {
  /// Makes the table's answer final: what none of its other routes takes goes nowhere, rather than to the next rule.
  public func closeTable(_ table: UInt32, isIPv6: Bool) throws(NetlinkError) {
    let operation = "close the routing table \(table)"
    guard let route = unsafe rtnl_route_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    defer { unsafe rtnl_route_put(route) }
    let everything = try NetlinkAddress(isIPv6 ? .v6(high: 0, low: 0) : .v4(0), prefixLength: 0)
    unsafe rtnl_route_set_table(route, table)
    unsafe rtnl_route_set_protocol(route, RouteEntry.ownProtocol)
    unsafe rtnl_route_set_type(route, UInt8(RTN_UNREACHABLE))
    unsafe rtnl_route_set_priority(route, .max)
    try check(unsafe rtnl_route_set_dst(route, everything.address), operation)
    do throws(NetlinkError) {
      unsafe try send(route, adding: true, for: operation)
    } catch  where error.isExisting {
    }
  }

  /// Gives `table` the routes that the main table has now, but for those that lead to `link`, and takes away what it had
  /// of an earlier copy. A route that the kernel refuses to have twice is left out.
  public func copyMainTable(to table: UInt32, without link: Int32, isIPv6: Bool) throws(NetlinkError) {
    let operation = "copy the main routing table"
    let wanted = try entries(of: NetlinkSocket.mainTable, isIPv6: isIPv6, for: operation)
      .filter { !$0.leads(to: link) }
    for entry in wanted { entry.move(to: table) }
    for entry in try entries(of: table, isIPv6: isIPv6, for: operation)
    where entry.isUnicast && !wanted.contains(where: { $0 == entry }) {
      try? unsafe send(entry.route, adding: false, for: operation)
    }
    // Networks first: a router is taken only where its network is known.
    for entry in wanted.sorted(by: { !$0.hasGateway && $1.hasGateway }) {
      try? unsafe send(entry.route, adding: true, for: operation)
    }
  }

  /// Removes all routes of the table. None is fine.
  public func emptyTable(_ table: UInt32) throws(NetlinkError) {
    let operation = "empty the routing table \(table)"
    for isIPv6 in [false, true] {
      for entry in try entries(of: table, isIPv6: isIPv6, for: operation) {
        do throws(NetlinkError) {
          unsafe try send(entry.route, adding: false, for: operation)
        } catch  where error.isMissing {
        }
      }
    }
  }

  private func entries(of table: UInt32, isIPv6: Bool, for operation: String) throws(NetlinkError) -> [RouteEntry] {
    let family = isIPv6 ? AF_INET6 : AF_INET
    let request = try RouteEntry.request(family, for: operation)
    request.put(table, as: Int(RTA_TABLE.rawValue))
    return try NetlinkList.read(request, for: operation) { answer in
      RouteEntry(answer, family).flatMap { $0.table == table ? $0 : nil }
    }
  }

  @unsafe private func send(_ route: OpaquePointer, adding: Bool, for operation: String) throws(NetlinkError) {
    var message: OpaquePointer?
    let result: Int32
    if adding {
      unsafe result = rtnl_route_build_add_request(route, NLM_F_CREATE | NLM_F_EXCL, &message)
    } else {
      unsafe result = rtnl_route_build_del_request(route, 0, &message)
    }
    guard result >= 0, let message = unsafe message else { throw NetlinkError(result, operation) }
    defer { unsafe nlmsg_free(message) }
    unsafe try NetlinkTrain.send(message, for: operation)
  }
}

extension RouteEntry {
  fileprivate var hasGateway: Bool { hops.contains { $0.hasGateway } }

  /// Makes it a route of ours in another table, without the flags that the kernel only reports.
  fileprivate func move(to table: UInt32) {
    unsafe rtnl_route_set_table(route, table)
    unsafe rtnl_route_set_protocol(route, RouteEntry.ownProtocol)
    for number in 0..<(unsafe rtnl_route_get_nnexthops(route)) {
      let told = UInt32(RTNH_F_DEAD | RTNH_F_LINKDOWN | RTNH_F_OFFLOAD | RTNH_F_TRAP)
      if let hop = unsafe rtnl_route_nexthop_n(route, number) { unsafe rtnl_route_nh_unset_flags(hop, told) }
    }
  }

  fileprivate static func == (one: RouteEntry, other: RouteEntry) -> Bool {
    unsafe nl_object_diff64(one.route, other.route) == 0
  }
}
