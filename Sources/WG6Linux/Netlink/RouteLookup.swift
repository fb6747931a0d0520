import CNetlink
import Glibc
import WG6Protocol

extension NetlinkSocket {
  /// The index of the interface that a datagram along `path` would leave by now, under `mark`; nil where the kernel knows
  /// no way, or the path's source is none of this machine's addresses.
  public func interfaceLeft(along path: PackedPath, mark: UInt32) -> UInt32? {
    guard let request = unsafe nlmsg_alloc_simple(Int32(RTM_GETROUTE), 0) else { return nil }
    defer { unsafe nlmsg_free(request) }
    var header = rtmsg()
    header.rtm_family = UInt8(path.isIPv6 ? AF_INET6 : AF_INET)
    let bitCount: UInt8 = path.isIPv6 ? 128 : 32
    header.rtm_dst_len = bitCount
    header.rtm_src_len = path.hasSource ? bitCount : 0
    var result = unsafe nlmsg_append(request, &header, MemoryLayout<rtmsg>.size, Int32(NLMSG_ALIGNTO))
    result |= unsafe put(path.remote, as: RTA_DST, isIPv6: path.isIPv6, in: request)
    if path.hasSource { result |= unsafe put(path.source, as: RTA_SRC, isIPv6: path.isIPv6, in: request) }
    if path.zone != 0 { result |= unsafe nla_put_u32(request, Int32(RTA_OIF.rawValue), path.zone) }
    if mark != 0 { result |= unsafe nla_put_u32(request, Int32(RTA_MARK.rawValue), mark) }
    guard result == 0, unsafe nl_send_auto(socket, request) >= 0 else { return nil }

    guard let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else { return nil }
    defer { unsafe nl_cb_put(callbacks) }
    var answer: OpaquePointer?
    result = unsafe withUnsafeMutablePointer(to: &answer) { answer in
      unsafe nl_cb_set(
        callbacks, NL_CB_VALID, NL_CB_CUSTOM,
        { message, answer in
          let answer = unsafe answer!.assumingMemoryBound(to: OpaquePointer?.self)
          guard unsafe answer.pointee == nil else { return Int32(NL_SKIP.rawValue) }
          return unsafe min(rtnl_route_parse(nlmsg_hdr(message), answer), 0)
        }, answer)
      // Either an error, or a route and then an acknowledgement.
      let result = unsafe nl_recvmsgs(socket, callbacks)
      return unsafe result < 0 ? result : nl_wait_for_ack(socket)
    }
    guard let route = unsafe answer else { return nil }
    defer { unsafe rtnl_route_put(route) }
    guard result >= 0, let hop = unsafe rtnl_route_nexthop_n(route, 0) else { return nil }
    return unsafe UInt32(rtnl_route_nh_get_ifindex(hop))
  }

  @unsafe private func put(
    _ address: AddressBits, as type: rtattr_type_t, isIPv6: Bool, in request: OpaquePointer
  ) -> Int32 {
    var bytes: InlineArray<2, UInt64> = [address.high.bigEndian, address.low.bigEndian]
    return unsafe nla_put(request, Int32(type.rawValue), isIPv6 ? 16 : 4, &bytes)
  }
}
