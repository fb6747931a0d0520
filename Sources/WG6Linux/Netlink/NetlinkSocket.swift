import CLinux
import CNetlink
import Glibc
import WG6Protocol

/// A connection to the kernel's routing tables (rtnetlink), over libnl-route-3, or to another part of it. One thread at a
/// time.
@safe public struct NetlinkSocket: ~Copyable {
  // SAFETY: allocated in init, freed in deinit, lent to libnl for the length of a call.
  let socket: OpaquePointer

  public init() throws(NetlinkError) { try self.init(NETLINK_ROUTE) }

  /// - Parameter family: `NETLINK_ROUTE`, or another part of the kernel.
  init(_ family: Int32) throws(NetlinkError) {
    guard let socket = unsafe nl_socket_alloc() else { throw NetlinkError(NLE_NOMEM, "open a netlink socket") }
    let result = unsafe nl_connect(socket, family)
    guard result >= 0 else {
      unsafe nl_socket_free(socket)
      throw NetlinkError(result, "open a netlink socket")
    }
    unsafe self.socket = socket
  }

  deinit {
    unsafe nl_socket_free(socket)
  }

  /// How long an answer is waited for; without it, for ever.
  func setPatience(milliseconds: Int) {
    var time = timeval(tv_sec: 0, tv_usec: milliseconds * 1000)
    _ = unsafe setsockopt(
      nl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  /// Throws what `result` says where it is negative, as libnl's results are.
  func check(_ result: Int32, _ operation: @autoclosure () -> String) throws(NetlinkError) {
    if result < 0 { throw NetlinkError(result, operation()) }
  }
}

/// An address with a prefix length, as libnl holds one.
@safe struct NetlinkAddress: ~Copyable {
  // SAFETY: one reference, dropped in deinit; libnl takes its own where it keeps one.
  let address: OpaquePointer

  init(_ address: IPAddress, prefixLength: Int) throws(NetlinkError) {
    let built: OpaquePointer?
    switch address {
    case .v4(let bits):
      var bytes = bits.bigEndian
      unsafe built = nl_addr_build(AF_INET, &bytes, 4)
    case .v6(let high, let low):
      var bytes: InlineArray<2, UInt64> = [high.bigEndian, low.bigEndian]
      unsafe built = nl_addr_build(AF_INET6, &bytes, 16)
    }
    guard let built = unsafe built else { throw NetlinkError(NLE_NOMEM, "build an address") }
    unsafe nl_addr_set_prefixlen(built, Int32(prefixLength))
    unsafe self.address = built
  }

  deinit {
    unsafe nl_addr_put(address)
  }
}
