import CNetlink
import Glibc

/// Tells that routes, rules, interfaces, addresses or a table of nftables were changed, by whatever program.
@safe public struct PolicyEvents: ~Copyable {
  // SAFETY: allocated in init, freed in deinit, lent to libnl for the length of a call.
  private let routes: OpaquePointer
  private let filter: OpaquePointer?

  /// - Parameter table: the name of the tables of the families `inet` and `arp` whose changes are reported.
  public init(table: String) throws(NetlinkError) {
    self.table = table
    let groups = [
      RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE,
      RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
    ]
    unsafe routes = try PolicyEvents.listen(NETLINK_ROUTE, groups.map { Int32($0.rawValue) })
    // A kernel without nftables has no table to lose.
    unsafe filter = try? PolicyEvents.listen(NETLINK_NETFILTER, [Int32(NFNLGRP_NFTABLES.rawValue)])
  }

  private let table: String

  deinit {
    unsafe nl_socket_free(routes)
    if let filter = unsafe filter { unsafe nl_socket_free(filter) }
  }

  /// What becomes readable when something has changed.
  public var descriptors: [Int32] {
    unsafe [nl_socket_get_fd(routes)] + (filter.map { unsafe [nl_socket_get_fd($0)] } ?? [])
  }

  /// Takes all events, and says whether one of them matters: rules, interfaces and addresses, routes that are ours or may have
  /// been, networks that the machine has come into or left, the table. Events that were lost matter.
  public func take() -> Bool {
    let reader = Reader(table)
    unsafe reader.read(routes)
    if let filter = unsafe filter { unsafe reader.read(filter) }
    return reader.matters
  }

  private static func listen(_ family: Int32, _ groups: [Int32]) throws(NetlinkError) -> OpaquePointer {
    let operation = "listen for changes"
    guard let socket = unsafe nl_socket_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    unsafe nl_socket_disable_seq_check(socket)
    var result = unsafe nl_connect(socket, family)
    if result >= 0 { result = unsafe nl_socket_set_nonblocking(socket) }
    for group in groups where result >= 0 { result = unsafe nl_socket_add_membership(socket, group) }
    guard result >= 0 else {
      unsafe nl_socket_free(socket)
      throw NetlinkError(result, operation)
    }
    return unsafe socket
  }

  private final class Reader {
    private let table: String
    private(set) var matters = false

    init(_ table: String) { self.table = table }

    @unsafe func read(_ socket: OpaquePointer) {
      guard let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else { return matters = true }
      defer { unsafe nl_cb_put(callbacks) }
      unsafe nl_cb_set(callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, { _, _ in Int32(NL_OK.rawValue) }, nil)
      unsafe nl_cb_set(
        callbacks, NL_CB_VALID, NL_CB_CUSTOM,
        { message, reader in
          let reader = unsafe Unmanaged<Reader>.fromOpaque(reader!).takeUnretainedValue()
          unsafe reader.look(at: NetlinkAnswer(message: nlmsg_hdr(message)))
          return Int32(NL_OK.rawValue)
        }, Unmanaged.passUnretained(self).toOpaque())
      while true {
        let result = withExtendedLifetime(self) { unsafe nl_recvmsgs(socket, callbacks) }
        if result == -NLE_AGAIN { return }
        // The socket's buffer was too small for all of them, or a message could not be read.
        if result < 0 { matters = true }
        if result < 0 && result != -NLE_NOMEM { return }
      }
    }

    private func look(at event: NetlinkAnswer) {
      switch unsafe Int(event.message.pointee.nlmsg_type) {
      case RTM_NEWRULE, RTM_DELRULE, Int(RTM_NEWLINK), Int(RTM_DELLINK), RTM_NEWADDR, RTM_DELADDR: matters = true
      case Int(RTM_NEWROUTE), Int(RTM_DELROUTE):
        guard let header = event.header(rtmsg.self) else { return }
        if header.rtm_protocol == RouteEntry.ownProtocol {
          if unsafe Int(event.message.pointee.nlmsg_type) == Int(RTM_DELROUTE) { matters = true }
        } else if header.isOfNetwork, !event.has(Int(RTA_GATEWAY.rawValue), behind: rtmsg.self),
          !event.has(Int(RTA_VIA.rawValue), behind: rtmsg.self)
        {
          matters = true
        }
      case let type where type >> 8 == Int(NFNL_SUBSYS_NFTABLES):
        // Of all objects of a table the first attribute is its name.
        let families = [FilterTables.Family.inet, .arp].map(\.rawValue)
        if let family = event.header(nfgenmsg.self)?.nfgen_family, families.contains(family),
          event.text(1, behind: nfgenmsg.self) == table
        {
          matters = true
        }
      default: break
      }
    }
  }
}

extension rtmsg {
  /// Whether it may tell of a network that the machine is in itself: of a route in the main table other than a default
  /// route. What a router of the internet learns by the thousand has gateways.
  fileprivate var isOfNetwork: Bool {
    UInt32(rtm_table) == NetlinkSocket.mainTable && Int32(rtm_type) == Int32(RTN_UNICAST) && rtm_dst_len > 0
      && rtm_flags & UInt32(RTM_F_CLONED) == 0
  }
}

extension NetlinkAnswer {
  /// An attribute that is a text, behind a `Header`.
  fileprivate func text<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> String? {
    guard let found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)),
      let text = unsafe nla_get_string(found)
    else { return nil }
    return unsafe String(cString: text)
  }
}
