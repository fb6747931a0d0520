import WG6Linux
import WG6Protocol

/// The networks that this machine is directly connected to: what `lan` stands for in ExcludedIPs.
enum LocalNetworks {
  /// All but those of `interface`.
  static func connected(except interface: String?) throws -> [IPPrefix] {
    do {
      let netlink = try NetlinkSocket()
      let link = try interface.flatMap { try netlink.link(named: $0) }
      return try netlink.connectedNetworks(except: link?.index)
    } catch let error as NetlinkError {
      throw failure("\(error)")
    }
  }
}
