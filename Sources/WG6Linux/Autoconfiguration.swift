import CNetlink
import Glibc
import SystemPackage

/// What the kernel would configure on an interface by itself, or at the word of the other end: a link-local address, and
/// whatever router advertisements and redirects say (routes, addresses, MTU, hop limit).
///
/// The kernel's own WireGuard turns off the address and redirects of its own in `wg_open`. All of this is the interface's,
/// and gone with it.
public enum Autoconfiguration {
  /// Settings that no message of rtnetlink has, and what they must be.
  private static let settings = [("accept_ra", "0"), ("accept_redirects", "0")]

  /// Turns all of it off for `interface`, in the network namespace of the calling thread, and removes the address that the
  /// kernel has made already. To do so again changes nothing.
  ///
  /// Called when the interface has just been made: that is before it is up, and makes an address. It loses these settings
  /// when it moves to another namespace, and those of IPv6 while its MTU is below 1,280 bytes.
  ///
  /// Returns what could not be changed, in words for people, as in a container whose /proc/sys is read-only; empty where
  /// all could, and where there is no IPv6.
  public static func turnOff(_ interface: String) -> [String] {
    var problems: [String] = []
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      guard let link = try netlink.link(named: interface) else { return [] }
      try netlink.refuseRedirects(link.index, interface)
      try netlink.refuseOwnAddress(link.index, interface)
      try netlink.removeAutomaticAddresses(of: link)
    } catch {
      problems.append("\(error)")
    }
    let directory = "net/ipv6/conf/\(interface)"
    guard let isDisabled = try? Sysctl.value(of: "\(directory)/disable_ipv6") else { return problems }
    for (name, value) in settings {
      do throws(Errno) {
        let setting = "\(directory)/\(name)"
        if try Sysctl.value(of: setting) == value { continue }
        try Sysctl.set(setting, to: value)
      } catch {
        // Without IPv6 on it the interface takes neither.
        if isDisabled == "1" || error == .noSuchFileOrDirectory { continue }
        problems.append("\(directory)/\(name) cannot be set to \(value): \(error)")
      }
    }
    return problems
  }
}

extension NetlinkSocket {
  /// IPv4's settings of redirects, `accept_redirects` and `send_redirects`.
  fileprivate func refuseRedirects(_ index: Int32, _ interface: String) throws(NetlinkError) {
    let operation = "turn off redirects on \(interface)"
    // IPV4_DEVCONF_ACCEPT_REDIRECTS and IPV4_DEVCONF_SEND_REDIRECTS of <linux/ip.h>.
    try changeLink(index, AF_INET, for: operation) { request in
      request.nest(Int(IFLA_INET_CONF)) { settings in
        settings.put(0, as: 4)
        settings.put(0, as: 6)
      }
    }
  }

  /// No address but those that somebody adds.
  fileprivate func refuseOwnAddress(_ index: Int32, _ interface: String) throws(NetlinkError) {
    try changeLink(index, AF_INET6, for: "turn off the link-local address of \(interface)") { request in
      request.put(byte: UInt8(IN6_ADDR_GEN_MODE_NONE.rawValue), as: Int(IFLA_INET6_ADDR_GEN_MODE))
    }
  }

  /// Sets attributes of one family. An interface, or a kernel, without that family has none to set.
  private func changeLink(
    _ index: Int32, _ family: Int32, for operation: String, _ body: (borrowing NetlinkRequest) -> Void
  ) throws(NetlinkError) {
    var header = ifinfomsg()
    header.ifi_index = index
    let request = try NetlinkRequest(RTM_SETLINK, flags: NLM_F_REQUEST | NLM_F_ACK, header, for: operation)
    request.nest(Int(IFLA_AF_SPEC)) { families in families.nest(Int(family)) { body($0) } }
    let sent = unsafe nl_send_auto(socket, request.message)
    guard sent >= 0 else { throw NetlinkError(sent, operation) }
    let result = unsafe nl_wait_for_ack(socket)
    let error = NetlinkError(result, operation)
    if result < 0, !error.isUnsupported { throw error }
  }
}
