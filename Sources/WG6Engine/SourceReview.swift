import WG6Linux
import WG6Protocol

/// Looks at the peers' local addresses when routes have changed: soon, but never more than a tenth of the time, however
/// many peers there are and however restless the routes.
struct SourceReview: ~Copyable {
  private static let interval = 100 * Limits.millisecond

  private var isDue = false
  private var notBefore: Nanoseconds = 0
  private var kernel: Kernel?

  /// When `review` wants to be called; nil while nothing has changed.
  var nextWake: Nanoseconds? { isDue ? notBefore : nil }

  /// Routes, addresses or rules are not what they were.
  mutating func routesChanged() { isDue = true }

  mutating func review(_ device: Device, mark: UInt32) {
    let begun = Clock.monotonic
    guard isDue, begun >= notBefore else { return }
    isDue = false
    if kernel == nil { kernel = try? Kernel() }
    guard let kernel else { return }
    device.routesChanged { kernel.socket.interfaceLeft(along: $0, mark: mark) }
    let now = Clock.monotonic
    notBefore = now + max(SourceReview.interval, 10 * now.since(begun))
  }

  /// A socket that can be missing.
  private final class Kernel {
    let socket: NetlinkSocket

    init() throws(NetlinkError) {
      socket = try NetlinkSocket()
    }
  }
}
