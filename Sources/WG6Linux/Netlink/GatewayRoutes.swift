import CNetlink
import Glibc
import WG6Protocol

/// A route of any program's through an interface to a gateway, and all that the kernel says of it, so that it can be taken
/// away and put back.
public struct KernelGatewayRoute: Sendable {
  public let route: GatewayRoute
  let table: UInt32
  let metric: UInt32
  /// Whether it has this gateway alone, and is a program's: those of the kernel itself, which come from router advertisements
  /// and redirects, have an end that could not be put back.
  let isSingle: Bool
  /// What tells it from the machine's other routes.
  public struct Identity: Hashable, Sendable {
    let route: GatewayRoute
    let table: UInt32
    let metric: UInt32
  }

  public var identity: Identity { Identity(route: route, table: table, metric: metric) }

  /// What follows the header of the kernel's message: an `rtmsg` and attributes.
  let payload: [UInt8]
}

extension NetlinkSocket {
  /// The routes through the interface that have a gateway, of all tables but `local` and both families, by prefix. Of those
  /// to one prefix the main table's is first, then the one with the lower metric: that is the one that counts.
  ///
  /// The kernel picks the interface's routes out (Linux 5.0). An older one tells of all.
  public static func gatewayRoutes(via index: UInt32) throws(NetlinkError) -> [KernelGatewayRoute] {
    var found: [KernelGatewayRoute] = []
    for family in [AF_INET, AF_INET6] {
      let operation = "read the routes through gateways"
      let request = try RouteEntry.request(family, for: operation)
      request.put(index, as: Int(RTA_OIF.rawValue))
      let entries = try NetlinkList.read(request, for: operation) { answer -> [KernelGatewayRoute]? in
        guard let header = answer.header(rtmsg.self), header.rtm_flags & UInt32(RTM_F_CLONED) == 0,
          let entry = RouteEntry(answer, family), entry.isUnicast, entry.table != RouteEntry.localTable,
          let prefix = entry.prefix
        else { return nil }
        let gateways = entry.gateways(through: Int32(clamping: index))
        let isSingle = gateways.count == 1 && entry.hops.count == 1 && ![1, 2, 9].contains(header.rtm_protocol)
        return gateways.map {
          KernelGatewayRoute(
            route: GatewayRoute(prefix, via: $0), table: entry.table, metric: entry.metric, isSingle: isSingle,
            payload: isSingle ? answer.payload : [])
        }
      }
      found += entries.joined()
    }
    return found.sorted { left, right in
      guard left.route.prefix == right.route.prefix else { return left.route.prefix < right.route.prefix }
      let (a, b) = (left.table == mainTable, right.table == mainTable)
      guard a == b else { return a }
      let (x, y) = (left.route.gateway.bits, right.route.gateway.bits)
      return (left.table, left.metric, x.high, x.low) < (right.table, right.metric, y.high, y.low)
    }
  }

  /// Takes routes away, as they were read. Returns those that were there and are gone now.
  public static func withdraw(_ routes: [KernelGatewayRoute]) throws(NetlinkError) -> [KernelGatewayRoute] {
    let single = routes.filter(\.isSingle)
    return try carryOut(single, type: Int(RTM_DELROUTE), flags: 0, for: "withdraw routes")
  }

  /// Puts routes back that were withdrawn. Returns those that stand now; where another route has taken the place of one,
  /// that one stays.
  public static func putBack(_ routes: [KernelGatewayRoute]) throws(NetlinkError) -> [KernelGatewayRoute] {
    try carryOut(
      routes, type: Int(RTM_NEWROUTE), flags: NLM_F_CREATE | NLM_F_EXCL, for: "put routes back")
  }

  /// Sends a message for each route; returns those that the kernel took.
  private static func carryOut(
    _ routes: [KernelGatewayRoute], type: Int, flags: Int32, for operation: String
  ) throws(NetlinkError) -> [KernelGatewayRoute] {
    var done: [KernelGatewayRoute] = []
    var start = 0
    while start < routes.count {
      let end = min(start + NetlinkTrain.capacity, routes.count)
      var train = try NetlinkTrain()
      for route in routes[start..<end] {
        guard let message = unsafe nlmsg_alloc_simple(Int32(type), flags) else {
          throw NetlinkError(NLE_NOMEM, operation)
        }
        defer { unsafe nlmsg_free(message) }
        var payload = route.settable
        let result = unsafe nlmsg_append(message, &payload, payload.count, Int32(NLMSG_ALIGNTO))
        guard result == 0 else { throw NetlinkError(result, operation) }
        unsafe train.append(message)
      }
      let results = try train.depart(for: operation)
      done += zip(routes[start..<end], results).filter { $0.1 == 0 }.map(\.0)
      start = end
    }
    return done
  }
}

extension KernelGatewayRoute {
  /// The payload without what the kernel tells and does not take: flags of the state of a next hop, times, and for a route
  /// by the number of a next hop what that next hop is.
  fileprivate var settable: [UInt8] {
    let attributes = attributes
    let hasNumber = attributes.contains { $0.type == Int(RTA_NH_ID.rawValue) }
    var untaken: Set<Int> = [Int(RTA_CACHEINFO.rawValue)]
    if hasNumber { untaken.formUnion([Int(RTA_OIF.rawValue), Int(RTA_GATEWAY.rawValue), Int(RTA_VIA.rawValue)]) }
    var bytes = Array(payload[..<MemoryLayout<rtmsg>.size])
    let onlink: UInt32 = 4
    unsafe bytes.withUnsafeMutableBytes { bytes in
      var header = unsafe bytes.loadUnaligned(as: rtmsg.self)
      header.rtm_flags &= onlink
      unsafe bytes.storeBytes(of: header, as: rtmsg.self)
    }
    for attribute in attributes where !untaken.contains(attribute.type) { bytes += payload[attribute.range] }
    return bytes
  }

  /// The attributes and where each stands, its padding included.
  private var attributes: [(type: Int, range: Range<Int>)] {
    var found: [(Int, Range<Int>)] = []
    var start = MemoryLayout<rtmsg>.size
    while start + 4 <= payload.count {
      let (length, type) = unsafe payload.withUnsafeBytes { bytes in
        unsafe (
          Int(bytes.loadUnaligned(fromByteOffset: start, as: UInt16.self)),
          Int(bytes.loadUnaligned(fromByteOffset: start + 2, as: UInt16.self) & 0x3FFF)
        )
      }
      guard length >= 4 else { break }
      let end = min(start + (length + 3) & ~3, payload.count)
      found.append((type, start..<end))
      start = end
    }
    return found
  }
}

extension NetlinkAnswer {
  /// What follows the message's header.
  fileprivate var payload: [UInt8] {
    unsafe Array(UnsafeRawBufferPointer(start: nlmsg_data(message), count: Int(nlmsg_datalen(message))))
  }
}
