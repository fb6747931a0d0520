import WG6Crypto
import WG6Linux
import WG6Protocol

/// Looks at the peers' local addresses, where the ways to them lead, and the MTUs of the routes into the tunnel, when routes
/// have changed: at once, within a budget, however many peers there are and however often the routes change.
struct RouteReview: ~Copyable {
  private var isDue = false
  // Unknown at first.
  private var addressesAreDue = true
  /// Whether the routes into the tunnel are to be read as well: among a million others that takes the kernel a second.
  private var ownRoutesAreDue = true
  private var budget = ReviewBudget()
  private var kernel: Kernel?

  /// When `review` wants to be called; nil while nothing has changed.
  var nextWake: Nanoseconds? { isDue || addressesAreDue ? budget.opensAt : nil }

  /// Interfaces, addresses, routes or rules have changed.
  mutating func noteChanges(_ changes: InterfaceMonitor.Changes) {
    if changes.contains(.routes) { isDue = true }
    if changes.contains(.links) { addressesAreDue = true }
    if changes.contains(.ownRoutes) { ownRoutesAreDue = true }
  }

  /// Endpoints or the mark have changed.
  mutating func configurationChanged() { isDue = true }

  /// Does what is due, if the budget allows it. Returns the MTUs that routes through the tunnel set for themselves; nil if
  /// those are as before.
  ///
  /// - Parameter interface: the index of the tunnel's own.
  mutating func review(
    _ device: Device, _ sources: borrowing OuterSources, interface: UInt32, mark: UInt32
  ) -> [Int]? {
    let begun = Clock.monotonic
    guard nextWake.map({ begun >= $0 }) == true else { return nil }
    defer { budget.spend(from: begun, to: Clock.monotonic) }
    let isDue = isDue
    self.isDue = false
    if addressesAreDue, let addresses = try? NetlinkSocket.localAddresses() {
      sources.setAddresses(addresses, tunnel: interface)
    }
    addressesAreDue = false
    if kernel == nil { kernel = try? Kernel() }
    guard isDue, let kernel else { return nil }
    var tunnelMTUs: [UInt32: Int?] = [:]
    let way = { (path: PackedPath) -> Device.Way? in
      guard let index = kernel.socket.interfaceLeft(along: path, mark: mark) else { return nil }
      if tunnelMTUs[index] == nil { tunnelMTUs[index] = .some(kernel.socket.tunnelMTU(index)) }
      return Device.Way(interface: index, tunnelMTU: tunnelMTUs[index]!)
    }
    device.routesChanged(way: way)
    let routeMTUs = ownRoutesAreDue ? NetlinkSocket.routeMTUs(via: interface) : nil
    ownRoutesAreDue = false
    return routeMTUs
  }

  /// A socket that can be missing.
  private final class Kernel {
    let socket: NetlinkSocket

    init() throws(NetlinkError) { socket = try NetlinkSocket() }
  }
}
