import CNetlink
import Glibc
import WG6Protocol

/// A route through an interface: what leads there, and the table that says so.
public struct Route: Hashable, Sendable {
  public var prefix: IPPrefix
  public var table: UInt32

  public init(_ prefix: IPPrefix, table: UInt32 = NetlinkSocket.mainTable) {
    self.prefix = prefix
    self.table = table
  }
}

/// Where a route leads, and the indexes of the interfaces that it leads by.
public struct RouteHops: Hashable, Sendable {
  public var prefix: IPPrefix
  public var interfaces: [Int32]

  public init(prefix: IPPrefix, interfaces: [Int32]) {
    self.prefix = prefix
    self.interfaces = interfaces
  }
}

/// A route that could not be made or removed, and why.
public struct RouteError: Error, Sendable, CustomStringConvertible {
  public let route: Route
  public let reason: NetlinkError

  public var description: String { reason.description }
}

extension NetlinkSocket {
  /// The table that `ip route` shows, `RT_TABLE_MAIN`.
  public static let mainTable: UInt32 = 254

  /// Sends each prefix to the interface, in order. Throws with the first route that failed, `isExisting` where there is
  /// such a route already; those before it stand, those behind it are not there.
  public func addRoutes(_ routes: [Route], via link: Link) throws(RouteError) {
    for carried in NetlinkSocket.trains(of: routes) {
      let errors = try carryOut(carried, link, adding: true)
      guard let failed = errors.firstIndex(where: { $0 != nil }), let error = errors[failed] else { continue }
      // The kernel went on behind it.
      let behind = zip(carried, errors).dropFirst(failed + 1).filter { $0.1 == nil }.map(\.0)
      try removeRoutes(behind, via: link)
      throw error
    }
  }

  /// Removes routes that `addRoutes` made. One that is not there is fine. Throws with the first one that failed; the others
  /// may be gone or not.
  public func removeRoutes(_ routes: [Route], via link: Link) throws(RouteError) {
    for carried in NetlinkSocket.trains(of: routes) {
      // Where the kernel does not know the family, it has no routes of it.
      let errors = try carryOut(carried, link, adding: false).compactMap { $0 }
      if let error = errors.first(where: { !$0.reason.isMissing && !$0.reason.isUnsupported }) { throw error }
    }
  }

  /// The routes that lead through the interface, of all tables but `local`.
  ///
  /// - Parameter includingKernels: also those that the kernel made for the interface's addresses.
  public func routes(via link: Link, includingKernels: Bool = false) throws(NetlinkError) -> Set<Route> {
    var found: Set<Route> = []
    for family in [AF_INET, AF_INET6] {
      let operation = "read the routes of \(link.name)"
      let request = try RouteEntry.request(family, for: operation)
      request.put(UInt32(link.index), as: Int(RTA_OIF.rawValue))
      found.formUnion(
        try NetlinkList.read(request, for: operation) { answer in
          guard let entry = RouteEntry(answer, family), entry.isUnicast, entry.table != RouteEntry.localTable,
            entry.leads(to: link.index), includingKernels || !entry.isKernels, let prefix = entry.prefix
          else { return nil }
          return Route(prefix, table: entry.table)
        })
    }
    return found
  }

  /// The routes that lead through the interface, of all tables but `local`, with all their next hops.
  public func hops(ofRoutesVia link: Link) throws(NetlinkError) -> [RouteHops] {
    var found: [RouteHops] = []
    for family in [AF_INET, AF_INET6] {
      let operation = "read the routes of \(link.name)"
      let request = try RouteEntry.request(family, for: operation)
      request.put(UInt32(link.index), as: Int(RTA_OIF.rawValue))
      found += try NetlinkList.read(request, for: operation) { answer in
        guard let entry = RouteEntry(answer, family), entry.isUnicast, entry.table != RouteEntry.localTable,
          entry.leads(to: link.index), let prefix = entry.prefix
        else { return nil }
        return RouteHops(prefix: prefix, interfaces: entry.hops.map(\.interface))
      }
    }
    return found
  }

  /// Whether no route of either family is in the table. The kernel is asked for this table alone, and no more is read of
  /// it than its beginning; a kernel before 5.0 tells of all tables.
  public func isTableEmpty(_ table: UInt32) throws(NetlinkError) -> Bool {
    for family in [AF_INET, AF_INET6] {
      let operation = "look into the routing table \(table)"
      let request = try RouteEntry.request(family, for: operation)
      request.put(table, as: Int(RTA_TABLE.rawValue))
      let entries = try NetlinkList.read(request, for: operation, limit: 1) { answer in
        RouteEntry(answer, family).flatMap { $0.table == table ? true : nil }
      }
      if !entries.isEmpty { return false }
    }
    return true
  }

  private static func trains(of routes: [Route]) -> [ArraySlice<Route>] {
    stride(from: 0, to: routes.count, by: NetlinkTrain.capacity).map {
      routes[$0..<min($0 + NetlinkTrain.capacity, routes.count)]
    }
  }

  /// Sends a request for each route, and returns what each was refused for.
  private func carryOut(_ routes: ArraySlice<Route>, _ link: Link, adding: Bool) throws(RouteError) -> [RouteError?] {
    let operation = "\(adding ? "add" : "remove") a route \(adding ? "to" : "from") \(link.name)"
    var underWay = routes[routes.startIndex]
    do throws(NetlinkError) {
      var train = try NetlinkTrain()
      for route in routes {
        underWay = route
        let request = try RouteRequest(route, via: link, adding: adding, for: operation)
        unsafe train.append(request.message)
      }
      underWay = routes[routes.startIndex]
      let results = try train.depart(for: operation)
      return zip(routes, results).map { route, result in
        guard result != 0 else { return nil }
        let explanation = route.prefix.address.explanation(of: result)
        return RouteError(
          route: route, reason: NetlinkError(systemError: result, operation, explanation: explanation))
      }
    } catch {
      throw RouteError(route: underWay, reason: error)
    }
  }
}

/// What is sent to add or remove a route.
@safe private struct RouteRequest: ~Copyable {
  // SAFETY: one reference, dropped in deinit.
  let message: OpaquePointer

  init(_ wanted: Route, via link: Link, adding: Bool, for operation: String) throws(NetlinkError) {
    let destination = try NetlinkAddress(wanted.prefix.address, prefixLength: wanted.prefix.length)
    guard let route = unsafe rtnl_route_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    defer { unsafe rtnl_route_put(route) }
    unsafe rtnl_route_set_table(route, wanted.table)
    unsafe rtnl_route_set_protocol(route, RouteEntry.ownProtocol)
    var result = unsafe rtnl_route_set_dst(route, destination.address)
    guard result >= 0 else { throw NetlinkError(result, operation) }
    guard let hop = unsafe rtnl_route_nh_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    unsafe rtnl_route_nh_set_ifindex(hop, link.index)
    // The route owns the hop from here on.
    unsafe rtnl_route_add_nexthop(route, hop)
    var message: OpaquePointer?
    unsafe result =
      adding
      ? rtnl_route_build_add_request(route, NLM_F_CREATE | NLM_F_EXCL, &message)
      : rtnl_route_build_del_request(route, 0, &message)
    guard result >= 0, let message = unsafe message else { throw NetlinkError(result, operation) }
    unsafe self.message = message
  }

  deinit {
    unsafe nlmsg_free(message)
  }
}
