import CLinux
import CNetlink
import Glibc
import WG6Protocol

extension NetlinkSocket {
  /// The addresses of the interface, but for those that the kernel gave it of its own accord: a link-local one, and those of
  /// router advertisements, which have a lifetime.
  public func addresses(of link: Link) throws(NetlinkError) -> [(address: IPAddress, prefixLength: Int)] {
    try addresses(of: link, .set)
  }

  /// Whether the kernel says who made an address. Before Linux 5.18, `addresses` has no link-local one of length 64.
  public static var tellsOriginOfAddresses: Bool { linux_kernel_is_at_least(5, 18) != 0 }

  /// Those with a lifetime.
  func temporaryAddresses(of link: Link) throws(NetlinkError) -> [(address: IPAddress, prefixLength: Int)] {
    try addresses(of: link, .temporary)
  }

  /// Takes away what the kernel gave the interface of its own accord. Before Linux 5.18 it does not tell what that is, and
  /// nothing is taken away.
  func removeAutomaticAddresses(of link: Link) throws(NetlinkError) {
    guard NetlinkSocket.tellsOriginOfAddresses else { return }
    for (address, length) in try addresses(of: link, .automatic) {
      do throws(NetlinkError) {
        try removeAddress(address, prefixLength: length, from: link)
      } catch  where error.isMissing {
      }
    }
  }

  private func addresses(
    of link: Link, _ origin: AddressOrigin
  ) throws(NetlinkError) -> [(address: IPAddress, prefixLength: Int)] {
    var found: [(address: IPAddress, prefixLength: Int)] = []
    for family in [AF_INET, AF_INET6] {
      var header = ifaddrmsg()
      header.ifa_family = UInt8(family)
      header.ifa_index = UInt32(link.index)
      let operation = "read the addresses of \(link.name)"
      let request = try NetlinkRequest(RTM_GETADDR, flags: NLM_F_DUMP, header, for: operation)
      found += try NetlinkList.read(request, for: operation) { answer -> (address: IPAddress, prefixLength: Int)? in
        guard let entry = answer.header(ifaddrmsg.self), entry.ifa_index == UInt32(link.index),
          entry.ifa_family == UInt8(family), answer.origin(of: entry) == origin,
          // An IPv6 address that has no peer comes as IFA_ADDRESS alone.
          let address = answer.address(IFA_LOCAL, behind: ifaddrmsg.self)
            ?? answer.address(IFA_ADDRESS, behind: ifaddrmsg.self)
        else { return nil }
        return (address, Int(entry.ifa_prefixlen))
      }
    }
    return found
  }

  /// Gives the interface an address of its own. Throws `isExisting` where it has that already.
  public func addAddress(_ address: IPAddress, prefixLength: Int, to link: Link) throws(NetlinkError) {
    let operation = "add an address to \(link.name)"
    let entry = try NetlinkAddressEntry(address, prefixLength: prefixLength, of: link, for: operation)
    var request: OpaquePointer?
    try check(unsafe rtnl_addr_build_add_request(entry.entry, NLM_F_CREATE | NLM_F_EXCL, &request), operation)
    guard let request = unsafe request else { return }
    defer { unsafe nlmsg_free(request) }
    unsafe try NetlinkTrain.send(request, for: operation) { address.explanation(of: $0) }
  }

  /// Takes the address from the interface. Throws `isMissing` where it does not have it.
  public func removeAddress(_ address: IPAddress, prefixLength: Int, from link: Link) throws(NetlinkError) {
    let operation = "remove an address from \(link.name)"
    let entry = try NetlinkAddressEntry(address, prefixLength: prefixLength, of: link, for: operation)
    var request: OpaquePointer?
    try check(unsafe rtnl_addr_build_delete_request(entry.entry, 0, &request), operation)
    guard let request = unsafe request else { return }
    defer { unsafe nlmsg_free(request) }
    do throws(NetlinkError) {
      unsafe try NetlinkTrain.send(request, for: operation) { address.explanation(of: $0) }
    } catch  where error.code == abs(nl_syserr2nlerr(EADDRNOTAVAIL)) {
      throw NetlinkError(systemError: ENOENT, operation, explanation: "it has no such address")
    }
  }
}

/// An interface's address as libnl-route-3 has it.
@safe private struct NetlinkAddressEntry: ~Copyable {
  // SAFETY: one reference, dropped in deinit.
  let entry: OpaquePointer

  init(_ address: IPAddress, prefixLength: Int, of link: Link, for operation: String) throws(NetlinkError) {
    let local = try NetlinkAddress(address, prefixLength: prefixLength)
    guard let entry = unsafe rtnl_addr_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    unsafe rtnl_addr_set_ifindex(entry, link.index)
    let result = unsafe rtnl_addr_set_local(entry, local.address)
    guard result >= 0 else {
      unsafe rtnl_addr_put(entry)
      throw NetlinkError(result, operation)
    }
    unsafe self.entry = entry
  }

  deinit {
    unsafe rtnl_addr_put(entry)
  }
}

extension IPAddress {
  /// What an error of the kernel means where an address or a route of this family was to be set; `nil` where it says that
  /// itself.
  func explanation(of error: Int32) -> String? {
    guard isIPv6 else { return nil }
    switch error {
    case EACCES: return "IPv6 is switched off for this interface (sysctl net.ipv6.conf.*.disable_ipv6)"
    case EOPNOTSUPP, EAFNOSUPPORT: return "this kernel has no IPv6"
    default: return nil
    }
  }
}

/// Where an address comes from.
private enum AddressOrigin { case set, automatic, temporary }

extension NetlinkAnswer {
  fileprivate func origin(of entry: ifaddrmsg) -> AddressOrigin {
    if isAutomaticAddress(entry) { return .automatic }
    // IFA_F_PERMANENT of <linux/if_addr.h>.
    return entry.ifa_family == UInt8(AF_INET6) && entry.ifa_flags & 0x80 == 0 ? .temporary : .set
  }

  /// Whether the kernel made the address because an IPv6 interface has to have one (fe80::/64).
  ///
  /// Linux 5.18 and later tell who made it. Before that a link-local address of this length counts as the kernel's.
  fileprivate func isAutomaticAddress(_ entry: ifaddrmsg) -> Bool {
    guard entry.ifa_family == UInt8(AF_INET6), entry.ifa_scope == UInt8(RT_SCOPE_LINK.rawValue) else { return false }
    let originAttribute = 11, kernelsLinkLocal: UInt8 = 3
    if NetlinkSocket.tellsOriginOfAddresses {
      return byte(originAttribute, behind: ifaddrmsg.self) == kernelsLinkLocal
    }
    return entry.ifa_prefixlen == 64
  }
}
