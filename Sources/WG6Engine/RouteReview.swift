import WG6Linux
import WG6Protocol

/// Looks at the peers' local addresses, where the ways to them lead, and the MTUs of the routes into the tunnel, when routes
/// have changed: soon, but never more than a tenth of the time, however many peers there are and however restless the
/// routes.
struct RouteReview: ~Copyable {
  private static let interval = 100 * Limits.millisecond

  private var isDue = false
  /// Whether the routes into the tunnel are to be read as well: among a million others that takes the kernel a second.
  private var ownRoutesAreDue = true
  private var notBefore: Nanoseconds = 0
  /// When the last review will have taken no more than a tenth of the time.
  private var restedAt: Nanoseconds = 0
  private var kernel: Kernel?

  /// When `review` wants to be called; nil while nothing has changed.
  var nextWake: Nanoseconds? { isDue ? notBefore : nil }

  /// Interfaces, addresses, routes or rules are not what they were.
  mutating func noteChanges(_ changes: InterfaceMonitor.Changes) {
    if changes.contains(.routes) { isDue = true }
    if changes.contains(.ownRoutes) { ownRoutesAreDue = true }
  }

  /// Endpoints or the mark are not what they were. That is no restlessness: the tenth is all there is to keep to.
  mutating func configurationChanged() {
    isDue = true
    notBefore = min(notBefore, restedAt)
  }

  /// Does what is due. Returns the MTUs that routes through the tunnel set for themselves; nil where those are as before.
  ///
  /// - Parameter interface: the index of the tunnel's own.
  mutating func review(_ device: Device, interface: UInt32, mark: UInt32) -> [Int]? {
    let begun = Clock.monotonic
    guard isDue, begun >= notBefore else { return nil }
    isDue = false
    if kernel == nil { kernel = try? Kernel() }
    guard let kernel else { return nil }
    var tunnelMTUs: [UInt32: Int?] = [:]
    device.routesChanged { path in
      guard let index = kernel.socket.interfaceLeft(along: path, mark: mark) else { return nil }
      if tunnelMTUs[index] == nil { tunnelMTUs[index] = .some(kernel.socket.tunnelMTU(index)) }
      return Device.Way(interface: index, tunnelMTU: tunnelMTUs[index]!)
    }
    let routeMTUs = ownRoutesAreDue ? NetlinkSocket.routeMTUs(via: interface) : nil
    ownRoutesAreDue = false
    let now = Clock.monotonic
    restedAt = now + 10 * now.since(begun)
    notBefore = max(restedAt, now + RouteReview.interval)
    return routeMTUs
  }

  /// A socket that can be missing.
  private final class Kernel {
    let socket: NetlinkSocket

    init() throws(NetlinkError) { socket = try NetlinkSocket() }
  }
}
