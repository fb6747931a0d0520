import CNetlink
import Glibc

/// Lists that the kernel gives on request: of routes, rules, addresses.
///
/// Each is asked for on a connection of its own. So the list can be left in the middle, and nobody else's answers get
/// between.
enum NetlinkList {
  /// Reads the list that `request` asks for (with `NLM_F_DUMP`), and returns what `parse` makes of its entries, up to
  /// `limit` of them.
  ///
  /// The kernel leaves out what the request's attributes exclude if it can (`NETLINK_GET_STRICT_CHK`, Linux 5.0, and not
  /// all attributes even then): `parse` has to look again. A table that does not exist is empty, and so is each one of a
  /// family that the kernel does not have.
  ///
  /// - Parameter needsFilter: rather nothing than all that a kernel without filters has.
  static func read<Element>(
    _ request: borrowing NetlinkRequest, for operation: String, limit: Int = .max,
    needsFilter: Bool = false, _ parse: @escaping (NetlinkAnswer) -> Element?
  ) throws(NetlinkError) -> [Element] {
    // A list that changes while it is read has to be read again; one that always does is taken as it comes.
    let attempts = 8
    for attempt in 1...attempts {
      let reader = Reader()
      var elements: [Element] = []
      reader.take = { answer in
        if let element = parse(answer) { elements.append(element) }
        return elements.count < limit
      }
      let result = try reader.read(request, for: operation, needsFilter)
      if result >= 0 || (result == -NLE_DUMP_INTR && attempt == attempts) { return elements }
      if result == -NLE_DUMP_INTR { continue }
      let error = NetlinkError(result, operation)
      if error.isMissing || error.isUnsupported { return [] }
      throw error
    }
    return []
  }

  private final class Reader {
    /// Whether to read on.
    var take: (NetlinkAnswer) -> Bool = { _ in true }

    /// libnl's result.
    func read(
      _ request: borrowing NetlinkRequest, for operation: String, _ needsFilter: Bool
    ) throws(NetlinkError) -> Int32 {
      let netlink = try NetlinkSocket()
      guard netlink.filterInKernel() || !needsFilter else { return 0 }
      guard let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else { throw NetlinkError(NLE_NOMEM, operation) }
      defer { unsafe nl_cb_put(callbacks) }
      unsafe nl_cb_set(
        callbacks, NL_CB_VALID, NL_CB_CUSTOM,
        { message, reader in
          let reader = unsafe Unmanaged<Reader>.fromOpaque(reader!).takeUnretainedValue()
          let isToGoOn = unsafe reader.take(NetlinkAnswer(message: nlmsg_hdr(message)))
          return Int32((isToGoOn ? NL_OK : NL_STOP).rawValue)
        }, Unmanaged.passUnretained(self).toOpaque())
      let sent = unsafe nl_send_auto(netlink.socket, request.message)
      guard sent >= 0 else { return sent }
      return withExtendedLifetime(self) { unsafe nl_recvmsgs(netlink.socket, callbacks) }
    }
  }
}

extension NetlinkSocket {
  /// Lets the kernel look at the attributes of requests for lists (`NETLINK_GET_STRICT_CHK`, Linux 5.0). Returns whether
  /// it can.
  fileprivate func filterInKernel() -> Bool {
    let solNetlink: Int32 = 270, strictCheck: Int32 = 12
    var on: Int32 = 1
    return unsafe setsockopt(
      nl_socket_get_fd(socket), solNetlink, strictCheck, &on, socklen_t(MemoryLayout<Int32>.size)) == 0
  }
}
