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
      isUp: rtnl_link_get_flags(link) & UInt32(IFF_UP) != 0)
  }

  /// Whether the interface is a layer-3 tunnel: some program's TUN, or the kernel's own WireGuard.
  public func isTunnel(_ index: UInt32) -> Bool {
    var found: OpaquePointer?
    guard unsafe rtnl_link_get_kernel(socket, Int32(clamping: index), nil, &found) >= 0, let link = unsafe found else {
      return false
    }
    defer { unsafe rtnl_link_put(link) }
    guard let kind = unsafe rtnl_link_get_type(link) else { return false }
    return unsafe strcmp(kind, "tun") == 0 || strcmp(kind, "wireguard") == 0
  }

  /// Sets the interface's MTU, in bytes.
  public func setMTU(_ mtu: Int, of link: Link) throws(NetlinkError) {
    unsafe try change(link, "set the MTU of \(link.name) to \(mtu)") { unsafe rtnl_link_set_mtu($0, UInt32(mtu)) }
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

extension NetlinkSocket {
  /// Gives the interface an address of its own. Throws `isExisting` where it has that already.
  public func addAddress(_ address: IPAddress, prefixLength: Int, to link: Link) throws(NetlinkError) {
    let operation = "add an address to \(link.name)"
    let local = try NetlinkAddress(address, prefixLength: prefixLength)
    guard let entry = unsafe rtnl_addr_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    defer { unsafe rtnl_addr_put(entry) }
    unsafe rtnl_addr_set_ifindex(entry, link.index)
    try check(unsafe rtnl_addr_set_local(entry, local.address), operation)
    try check(unsafe rtnl_addr_add(socket, entry, 0), operation)
  }
}
