import Glibc
import WG6Linux
import WG6Protocol

/// Looks at the peers' local addresses, where the ways to them lead, and the MTUs of the routes into the tunnel, when routes
/// have changed: soon, but never more than a tenth of the time, however many peers there are and however restless the
/// routes.
struct SourceReview: ~Copyable {
  private static let interval = 100 * Limits.millisecond

  private var isDue = false
  private var notBefore: Nanoseconds = 0
  /// When the last review will have taken no more than a tenth of the time.
  private var restedAt: Nanoseconds = 0
  private var kernel: Kernel?

  /// When `review` wants to be called; nil while nothing has changed.
  var nextWake: Nanoseconds? { isDue ? notBefore : nil }

  /// Routes, addresses or rules are not what they were.
  mutating func routesChanged() { isDue = true }

  /// Endpoints or the mark are not what they were. That is no restlessness: the tenth is all there is to keep to.
  mutating func configurationChanged() {
    isDue = true
    notBefore = min(notBefore, restedAt)
  }

  /// What a review found out.
  struct Findings {
    /// Whether the way to some peer leads through a tunnel, this one or another. A datagram that is too long for a tunnel
    /// must not go into it in pieces: where tunnels lead through each other in a circle, packets grow with every round,
    /// and pieces would make them many instead of ending them.
    let leadsThroughTunnel: Bool
    /// The MTUs that routes through the interface set for themselves.
    let routeMTUs: [Int]
  }

  /// Does what is due; nil where nothing is.
  ///
  /// - Parameter interface: the name of the tunnel's own.
  mutating func review(_ device: Device, interface: String, mark: UInt32) -> Findings? {
    let begun = Clock.monotonic
    guard isDue, begun >= notBefore else { return nil }
    isDue = false
    if kernel == nil { kernel = try? Kernel() }
    guard let kernel else { return nil }
    device.routesChanged { kernel.socket.interfaceLeft(along: $0, mark: mark) }
    let interfaces = Set(device.paths.compactMap { kernel.socket.interfaceLeft(along: $0, mark: mark) })
    let findings = Findings(
      leadsThroughTunnel: interfaces.contains { kernel.socket.isTunnel($0) },
      routeMTUs: unsafe kernel.strictSocket.routeMTUs(via: if_nametoindex(interface)))
    let now = Clock.monotonic
    restedAt = now + 10 * now.since(begun)
    notBefore = max(restedAt, now + SourceReview.interval)
    return findings
  }

  /// Sockets that can be missing.
  private final class Kernel {
    let socket: NetlinkSocket
    let strictSocket: NetlinkSocket

    init() throws(NetlinkError) {
      socket = try NetlinkSocket()
      strictSocket = try NetlinkSocket()
    }
  }
}
