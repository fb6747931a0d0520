import CNetlink
import Glibc

extension NetlinkSocket {
  /// The MTUs that routes through the interface set for themselves, each once, ascending; of all tables and both families.
  ///
  /// The kernel picks the interface's routes out (`NETLINK_GET_STRICT_CHK`, Linux 5.0); where it can't there are none, for
  /// reading a whole routing table is too much to do whenever it changes. A socket that was asked this once is for
  /// nothing else.
  public func routeMTUs(via index: UInt32) -> [Int] {
    let solNetlink: Int32 = 270, strictCheck: Int32 = 12
    var on: Int32 = 1
    guard
      unsafe setsockopt(
        nl_socket_get_fd(socket), solNetlink, strictCheck, &on, socklen_t(MemoryLayout<Int32>.size)) == 0
    else { return [] }
    var found: Set<Int> = []
    for family in [AF_INET, AF_INET6] { unsafe collect(&found, family, index) }
    return found.sorted()
  }

  @unsafe private func collect(_ found: inout Set<Int>, _ family: Int32, _ index: UInt32) {
    guard let request = unsafe nlmsg_alloc_simple(Int32(RTM_GETROUTE), NLM_F_DUMP) else { return }
    defer { unsafe nlmsg_free(request) }
    var header = rtmsg()
    header.rtm_family = UInt8(family)
    var result = unsafe nlmsg_append(request, &header, MemoryLayout<rtmsg>.size, Int32(NLMSG_ALIGNTO))
    result |= unsafe nla_put_u32(request, Int32(RTA_OIF.rawValue), index)
    guard result == 0, unsafe nl_send_auto(socket, request) >= 0 else { return }
    guard let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else { return }
    defer { unsafe nl_cb_put(callbacks) }
    unsafe withUnsafeMutablePointer(to: &found) { found in
      unsafe nl_cb_set(
        callbacks, NL_CB_VALID, NL_CB_CUSTOM,
        { message, found in
          var route: OpaquePointer?
          guard unsafe rtnl_route_parse(nlmsg_hdr(message), &route) >= 0, let route = unsafe route else {
            return Int32(NL_SKIP.rawValue)
          }
          defer { unsafe rtnl_route_put(route) }
          var mtu: UInt32 = 0
          if unsafe rtnl_route_get_metric(route, Int32(RTAX_MTU), &mtu) >= 0, mtu > 0 {
            unsafe found!.assumingMemoryBound(to: Set<Int>.self).pointee.insert(Int(mtu))
          }
          return Int32(NL_OK.rawValue)
        }, found)
      _ = unsafe nl_recvmsgs(socket, callbacks)
    }
  }
}
