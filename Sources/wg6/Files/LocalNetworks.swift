import WG6Linux
import WG6Protocol

/// The networks that this machine is directly connected to: what `lan` stands for in ExcludedIPs.
enum LocalNetworks {
  /// Those of all interfaces that are up, but for loopback and `interface`.
  static func connected(except interface: String?) throws -> [IPPrefix] {
    do {
      let netlink = try NetlinkSocket()
      let link = try interface.flatMap { (name) throws(NetlinkError) in try netlink.link(named: name) }
      return try netlink.connectedNetworks(except: link?.index)
    } catch {
      throw failure("cannot find the networks of this machine: \(error)")
    }
  }
}
