import CNetlink
import Glibc

/// Tables of nftables as objects of the kernel: what libnftables has no words for in all versions, ownership above all.
/// What is in a table is libnftables' business.
public enum FilterTables {
  /// What a table filters (NFPROTO_INET, NFPROTO_ARP).
  public enum Family: UInt8, Sendable {
    case inet = 1
    case arp = 3
  }

  /// How a table is kept.
  public struct State: Sendable, Equatable {
    /// One process has it to itself: nobody else can change or delete it, `nft flush ruleset` included.
    public var isOwned: Bool
    /// It outlives its owner (Linux 6.9). Such a table is anybody's when its owner has ended.
    public var persists: Bool

    public init(isOwned: Bool, persists: Bool) {
      self.isOwned = isOwned
      self.persists = persists
    }
  }

  /// NFT_TABLE_F_OWNER, Linux 5.12.
  fileprivate static let owner: UInt32 = 2
  /// NFT_TABLE_F_PERSIST, Linux 6.9. Not in all systems' headers.
  fileprivate static let persist: UInt32 = 4

  /// How the table `name` is kept; `nil` where there is none, or no nftables.
  public static func state(of name: String, family: Family = .inet) throws(NetlinkError) -> State? {
    let operation = "look up the firewall table \(name)"
    let request = try tableRequest(NFT_MSG_GETTABLE, flags: 0, name, family, for: operation)
    let reader = Reader()
    do throws(NetlinkError) {
      let netlink = try FilterSocket()
      try reader.read(request, netlink, for: operation)
    } catch  where error.isMissing || error.isUnsupported {
      return nil
    }
    guard let flags = reader.flags else { return nil }
    return State(isOwned: flags & owner != 0, persists: flags & persist != 0)
  }

  /// Makes an empty table that outlives whoever owns it, and that nobody owns yet. Throws `isUnsupported` where the kernel
  /// has no such tables.
  public static func createPersistent(_ name: String) throws(NetlinkError) {
    try FilterSocket().setTable(name, flags: persist, for: "make the firewall table \(name)")
  }

  fileprivate static func tableRequest(
    _ type: nf_tables_msg_types, flags: Int32, _ name: String, _ family: Family = .inet, for operation: String
  ) throws(NetlinkError) -> NetlinkRequest {
    var header = nfgenmsg()
    header.nfgen_family = family.rawValue
    let number = Int(NFNL_SUBSYS_NFTABLES) << 8 | Int(type.rawValue)
    let request = try NetlinkRequest(number, flags: NLM_F_REQUEST | flags, header, for: operation)
    request.put(name, as: Int(NFTA_TABLE_NAME.rawValue))
    return request
  }

  private final class Reader {
    var flags: UInt32?

    func read(
      _ request: borrowing NetlinkRequest, _ netlink: borrowing FilterSocket, for operation: String
    ) throws(NetlinkError) {
      guard let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else { throw NetlinkError(NLE_NOMEM, operation) }
      defer { unsafe nl_cb_put(callbacks) }
      unsafe nl_cb_set(
        callbacks, NL_CB_VALID, NL_CB_CUSTOM,
        { message, reader in
          let reader = unsafe Unmanaged<Reader>.fromOpaque(reader!).takeUnretainedValue()
          let answer = unsafe NetlinkAnswer(message: nlmsg_hdr(message))
          reader.flags = UInt32(
            bigEndian: answer.number(Int(NFTA_TABLE_FLAGS.rawValue), behind: nfgenmsg.self) ?? 0)
          return Int32(NL_OK.rawValue)
        }, Unmanaged.passUnretained(self).toOpaque())
      let sent = unsafe nl_send_auto(netlink.socket, request.message)
      guard sent >= 0 else { throw NetlinkError(sent, operation) }
      let result = withExtendedLifetime(self) { unsafe nl_recvmsgs(netlink.socket, callbacks) }
      if result < 0 { throw NetlinkError(result, operation) }
    }
  }
}

/// The right to change a table, which this process has to itself for as long as this lives.
public struct TableOwnership: ~Copyable, Sendable {
  private let socket: FilterSocket

  /// Takes over a persistent table that nobody owns.
  public init(of name: String) throws(NetlinkError) {
    let socket = try FilterSocket()
    try socket.setTable(name, flags: FilterTables.owner | FilterTables.persist, for: "own the firewall table \(name)")
    self.socket = socket
  }
}

/// A connection to nftables; a table's owner is known by it.
@safe struct FilterSocket: ~Copyable, @unchecked Sendable {
  // SAFETY: allocated in init, freed in deinit, lent to libnl for the length of a call; its one owner uses it.
  let socket: OpaquePointer

  init() throws(NetlinkError) {
    let operation = "open a netfilter socket"
    guard let socket = unsafe nl_socket_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    let result = unsafe nl_connect(socket, NETLINK_NETFILTER)
    guard result >= 0 else {
      unsafe nl_socket_free(socket)
      throw NetlinkError(result, operation)
    }
    unsafe nl_socket_disable_seq_check(socket)
    unsafe self.socket = socket
  }

  deinit {
    unsafe nl_socket_free(socket)
  }

  /// Makes a table with these flags, or gives them to the one that there is. A transaction is one write that begins and
  /// ends with a message of its own.
  func setTable(_ name: String, flags: UInt32, for operation: String) throws(NetlinkError) {
    var frame = nfgenmsg()
    frame.res_id = UInt16(NFNL_SUBSYS_NFTABLES).bigEndian
    let begin = try NetlinkRequest(Int(NFNL_MSG_BATCH_BEGIN), flags: NLM_F_REQUEST, frame, for: operation)
    let table = try FilterTables.tableRequest(NFT_MSG_NEWTABLE, flags: NLM_F_CREATE | NLM_F_ACK, name, for: operation)
    table.put(flags.bigEndian, as: Int(NFTA_TABLE_FLAGS.rawValue))
    let end = try NetlinkRequest(Int(NFNL_MSG_BATCH_END), flags: NLM_F_REQUEST, frame, for: operation)
    var bytes = begin.bytes + table.bytes + end.bytes
    let socket = unsafe socket
    let sent = unsafe bytes.withUnsafeMutableBytes { unsafe nl_sendto(socket, $0.baseAddress, $0.count) }
    guard sent >= 0 else { throw NetlinkError(sent, operation) }
    let result = unsafe nl_wait_for_ack(socket)
    if result < 0 { throw NetlinkError(result, operation) }
  }
}

extension NetlinkRequest {
  fileprivate func put(_ text: String, as attribute: Int) {
    _ = unsafe nla_put_string(message, Int32(attribute), text)
  }

  /// The message as it is sent, with its padding.
  fileprivate var bytes: [UInt8] {
    guard let header = unsafe nlmsg_hdr(message) else { return [] }
    let length = unsafe Int(header.pointee.nlmsg_len)
    return unsafe Array(UnsafeRawBufferPointer(start: header, count: length))
      + repeatElement(0, count: -length & 3)
  }
}
