import CNetlink
import Glibc
import WG6Protocol

extension NetlinkSocket {
  /// The index of the interface that a datagram along `path` would leave by now, under `mark`; nil where the kernel knows
  /// no way, or the path's source is none of this machine's addresses.
  public func interfaceLeft(along path: PackedPath, mark: UInt32) -> UInt32? {
    route(along: path, mark: mark)?.hops.first.map { UInt32($0.interface) }
  }

  /// The route that a datagram along `path` would take; nil if there is none, or the source is none of this machine's.
  func route(along path: PackedPath, mark: UInt32) -> RouteEntry? {
    guard let request = lookUp(path.remote, from: path.hasSource ? path.source : nil, isIPv6: path.isIPv6, mark) else {
      return nil
    }
    if path.zone != 0 { request.put(path.zone, as: Int(RTA_OIF.rawValue)) }
    return answer(to: request)
  }

  /// This machine's address on the route to `destination`; nil where the kernel knows no way.
  func ownAddress(towards destination: IPAddress) -> IPAddress? {
    guard let request = lookUp(destination.bits, from: nil, isIPv6: destination.isIPv6, 0) else { return nil }
    return answer(to: request)?.source
  }

  /// The largest packet, in bytes, that the route to `address` takes under `mark`: what the route says itself, else the
  /// MTU of its interface; `nil` where the kernel knows no way. Where that leads through `tunnel`, the machine's default
  /// route is taken for it, which the tunnel's own datagrams will go by.
  ///
  /// An MTU that the network told the kernel of ("fragmentation needed") does not count over IPv4, where anyone can forge
  /// it and the tunnel's datagrams ignore it.
  public func routeMTU(to address: IPAddress, mark: UInt32, past tunnel: Int32? = nil) -> Int? {
    guard let request = lookUp(address.bits, from: nil, isIPv6: address.isIPv6, mark), let route = answer(to: request)
    else { return nil }
    if tunnel != nil, route.hops.first?.interface == tunnel { return defaultRouteMTU() }
    guard !address.isIPv6,
      let asWritten = lookUp(address.bits, from: nil, isIPv6: false, mark, flags: NetlinkSocket.asWritten),
      let written = answer(to: asWritten)
    else { return mtu(of: route) }
    return written.mtu ?? route.hops.first.flatMap { mtu(ofInterface: $0.interface) }
  }

  /// `RTM_F_FIB_MATCH`: the route as it stands in the table, without what was learned of its path. Linux before 4.13 does
  /// not know it.
  private static let asWritten: UInt32 = 0x2000

  /// What the machine's default route takes, in bytes: IPv4's, or IPv6's where there is none of IPv4; `nil` without any.
  public func defaultRouteMTU() -> Int? {
    for family in [AF_INET, AF_INET6] {
      let operation = "look for the default route"
      guard let request = try? RouteEntry.request(family, for: operation) else { return nil }
      request.put(NetlinkSocket.mainTable, as: Int(RTA_TABLE.rawValue))
      let routes = try? NetlinkList.read(request, for: operation, limit: 1) { answer in
        RouteEntry(answer, family).flatMap {
          $0.table == NetlinkSocket.mainTable && $0.isUnicast && $0.prefix?.length == 0 ? $0 : nil
        }
      }
      if let mtu = routes?.first.flatMap({ mtu(of: $0) }) { return mtu }
    }
    return nil
  }

  private func mtu(of route: RouteEntry) -> Int? {
    route.mtu ?? route.hops.first.flatMap { mtu(ofInterface: $0.interface) }
  }

  private func lookUp(
    _ destination: AddressBits, from source: AddressBits?, isIPv6: Bool, _ mark: UInt32, flags: UInt32 = 0
  ) -> NetlinkRequest? {
    var header = rtmsg()
    header.rtm_flags = flags
    header.rtm_family = UInt8(isIPv6 ? AF_INET6 : AF_INET)
    let bitCount: UInt8 = isIPv6 ? 128 : 32
    header.rtm_dst_len = bitCount
    header.rtm_src_len = source == nil ? 0 : bitCount
    guard let request = try? NetlinkRequest(Int(RTM_GETROUTE), header, for: "look up a route") else { return nil }
    request.put(destination, isIPv6: isIPv6, as: Int(RTA_DST.rawValue))
    if let source { request.put(source, isIPv6: isIPv6, as: Int(RTA_SRC.rawValue)) }
    if mark != 0 { request.put(mark, as: Int(RTA_MARK.rawValue)) }
    return request
  }

  /// The one route that the kernel answers with; `nil` where it has none.
  private func answer(to request: borrowing NetlinkRequest) -> RouteEntry? {
    var route: RouteEntry?
    let result = ask(request) { answer in
      route = route ?? RouteEntry(answer, Int32(answer.header(rtmsg.self)?.rtm_family ?? 0))
    }
    return result >= 0 ? route : nil
  }
}
