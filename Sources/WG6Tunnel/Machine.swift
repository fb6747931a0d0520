import WG6Linux
import WG6Protocol

/// What planning asks of the machine that the tunnel is on.
struct Machine {
  /// Networks that this machine is on itself, without a router between.
  var connectedNetworks: [IPPrefix] = []
  /// What its main table reaches through a router, default routes aside.
  var routedNetworks: [IPPrefix] = []
  /// Whether a routing table is anybody's, of either family.
  var isTableEmpty: (UInt32) throws(NetlinkError) -> Bool = { _ in true }
  /// The MTU, in bytes, of the way to an address past the tunnel; `nil` where there is no way.
  var pathMTU: (IPAddress) -> Int? = { _ in nil }
  /// The same of the default route.
  var defaultPathMTU: () -> Int? = { nil }

  /// This machine, asked through `netlink`; ways are looked up under `mark`, which keeps out of the tunnel, whose
  /// interface is `link` where it is up already. The tables in `taken` are somebody's before they have a route.
  static func this(
    _ netlink: borrowing NetlinkSocket, link: Link?, mark: UInt32, taken: Set<UInt32>
  ) throws(NetlinkError) -> Machine {
    let networks = try netlink.machineNetworks(except: link?.index)
    var machine = Machine(connectedNetworks: networks.connected, routedNetworks: networks.routed)
    // A socket of their own, for the closures outlive a borrow.
    machine.isTableEmpty = { (table) throws(NetlinkError) in
      if taken.contains(table) { return false }
      return try NetlinkSocket().isTableEmpty(table)
    }
    let index = link?.index
    machine.pathMTU = { address in (try? NetlinkSocket())?.routeMTU(to: address, mark: mark, past: index) }
    machine.defaultPathMTU = { (try? NetlinkSocket())?.defaultRouteMTU() }
    return machine
  }
}
