import CNetlink
import Glibc
import WG6Protocol

/// What the kernel says of an interface.
public struct Link: Sendable, Equatable {
  public let name: String
  public let index: Int32
  /// Bytes.
  public let mtu: Int
  public let isUp: Bool
  /// The driver's kind, as "tun", "wireguard" or "veth"; nil for a network card.
  public let kind: String?
}

extension NetlinkSocket {
  /// The interface called `name`; `nil` where there is none.
  public func link(named name: String) throws(NetlinkError) -> Link? {
    var found: OpaquePointer?
    let result = unsafe rtnl_link_get_kernel(socket, 0, name, &found)
    guard result >= 0, let link = unsafe found else {
      let error = NetlinkError(result, "look up the interface \(name)")
      if error.isMissing { return nil }
      throw error
    }
    defer { unsafe rtnl_link_put(link) }
    return unsafe Link(
      name: name, index: rtnl_link_get_ifindex(link), mtu: Int(rtnl_link_get_mtu(link)),
      isUp: rtnl_link_get_flags(link) & UInt32(IFF_UP) != 0,
      kind: rtnl_link_get_type(link).map { unsafe String(cString: $0) })
  }

  /// The MTU, in bytes, of a layer-3 tunnel: some program's TUN, or the kernel's own WireGuard; nil for any other interface.
  public func tunnelMTU(_ index: UInt32) -> Int? {
    var found: OpaquePointer?
    guard unsafe rtnl_link_get_kernel(socket, Int32(clamping: index), nil, &found) >= 0, let link = unsafe found else {
      return nil
    }
    defer { unsafe rtnl_link_put(link) }
    guard let kind = unsafe rtnl_link_get_type(link), unsafe strcmp(kind, "tun") == 0 || strcmp(kind, "wireguard") == 0
    else { return nil }
    return unsafe Int(rtnl_link_get_mtu(link))
  }

  /// The MTU, in bytes, of any interface; nil where there is none of this index.
  func mtu(ofInterface index: Int32) -> Int? {
    var found: OpaquePointer?
    guard unsafe rtnl_link_get_kernel(socket, index, nil, &found) >= 0, let link = unsafe found else { return nil }
    defer { unsafe rtnl_link_put(link) }
    return unsafe Int(rtnl_link_get_mtu(link))
  }

  /// Sets the interface's MTU, in bytes.
  public func setMTU(_ mtu: Int, of link: Link) throws(NetlinkError) {
    unsafe try change(link, "set the MTU of \(link.name) to \(mtu)") { unsafe rtnl_link_set_mtu($0, UInt32(mtu)) }
  }

  /// Has the kernel tell its listeners how the interface is now. It tells of a lost carrier at most once a second, for all
  /// interfaces of all namespaces together; of any setting at once, so the group is set to what it is.
  public func announce(_ link: Link) throws(NetlinkError) {
    var found: OpaquePointer?
    guard unsafe rtnl_link_get_kernel(socket, link.index, nil, &found) >= 0, let current = unsafe found else { return }
    let group = unsafe rtnl_link_get_group(current)
    unsafe rtnl_link_put(current)
    unsafe try change(link, "announce \(link.name)") { unsafe rtnl_link_set_group($0, group) }
  }

  public func setUp(_ link: Link) throws(NetlinkError) {
    unsafe try change(link, "set \(link.name) up") { unsafe rtnl_link_set_flags($0, UInt32(IFF_UP)) }
  }

  /// Deletes the interface; its addresses and routes go with it.
  public func delete(_ link: Link) throws(NetlinkError) {
    guard let request = unsafe rtnl_link_alloc() else { throw NetlinkError(NLE_NOMEM, "delete \(link.name)") }
    defer { unsafe rtnl_link_put(request) }
    unsafe rtnl_link_set_ifindex(request, link.index)
    try check(unsafe rtnl_link_delete(socket, request), "delete \(link.name)")
  }

  private func change(_ link: Link, _ operation: String, _ set: (OpaquePointer) -> Void) throws(NetlinkError) {
    guard let original = unsafe rtnl_link_alloc(), let changes = unsafe rtnl_link_alloc() else {
      throw NetlinkError(NLE_NOMEM, operation)
    }
    defer {
      unsafe rtnl_link_put(original)
      unsafe rtnl_link_put(changes)
    }
    unsafe rtnl_link_set_ifindex(original, link.index)
    unsafe set(changes)
    try check(unsafe rtnl_link_change(socket, original, changes, 0), operation)
  }
}
