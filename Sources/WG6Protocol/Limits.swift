/// Time, in nanoseconds: of the boot-time clock where a deadline is meant, since 1970 where it is said so.
public typealias Nanoseconds = UInt64

/// The instant of an event, as the caller's clocks tell it. The engine reads no clock itself.
public struct Now: Sendable {
  /// CLOCK_BOOTTIME: never goes back, and runs on while the machine sleeps. Never 0.
  public var monotonic: Nanoseconds
  /// Nanoseconds since 1970, as far as this machine knows.
  public var wall: Nanoseconds

  public init(monotonic: Nanoseconds, wall: Nanoseconds) {
    self.monotonic = monotonic
    self.wall = wall
  }
}

extension Nanoseconds {
  /// How long before this instant `earlier` was; 0 where it was not. Threads look at the clock once a batch, so that what
  /// another one noted since then may well be ahead of it.
  package func since(_ earlier: Nanoseconds) -> Nanoseconds { self > earlier ? self - earlier : 0 }
}

/// The numbers that the protocol hangs on.
public enum Limits {
  public static let millisecond: Nanoseconds = 1_000_000
  public static let second: Nanoseconds = 1000 * millisecond

  // MARK: Specification (WireGuard paper §6.1)

  public static let rekeyAfterMessages: UInt64 = 1 << 60
  public static let rejectAfterMessages: UInt64 = .max - (1 << 13)
  public static let rekeyAfterTime = 120 * second
  public static let rejectAfterTime = 180 * second
  public static let rekeyAttemptTime = 90 * second
  public static let rekeyTimeout = 5 * second
  public static let keepaliveTimeout = 10 * second
  /// How long a cookie is worth something, and how often its secret changes (§5.4.7).
  public static let cookieLifetime = 120 * second

  // MARK: Implementation

  /// Added at random to Rekey-Timeout, so that two ends do not go on colliding.
  public static let rekeyTimeoutJitter = 333 * millisecond
  /// Tries for one burst of data before the peer is given up.
  public static let handshakeAttempts = Int(rekeyAttemptTime / rekeyTimeout)
  /// Data was sent, and nothing came back for this long: try a new handshake.
  public static let unansweredTimeout = keepaliveTimeout + rekeyTimeout
  /// An initiator that still receives renews a key of this age, before the other end would have to.
  public static let rekeyAfterTimeReceiving = rejectAfterTime - keepaliveTimeout - rekeyTimeout
  /// Without a new session for this long, nothing of the old ones is kept.
  public static let zeroKeysAfter = 3 * rejectAfterTime
  /// After a handshake was given up, handshake messages of other tunnels start none for this long: all of theirs that the
  /// last tries have caused will have been given up as well.
  public static let handshakePause = rekeyAttemptTime + 2 * (rekeyTimeout + rekeyTimeoutJitter)
  /// At most one initiation of a peer is looked at in this time.
  public static let initiationInterval = 20 * millisecond
  /// Timestamps in initiations are cut to a multiple of this, 2^24 ns: they must not tell how busy we are.
  public static let timestampGranularity: Nanoseconds = 1 << 24
  /// A cookie is used for a little less than its lifetime, for the time that a message is under way.
  public static let cookieUse = cookieLifetime - 5 * second
  /// Once the handshake queue was this full (see `HandshakeLoad`), the device counts as loaded for this long.
  public static let loadMemory = 1 * second
  /// Packets kept for one peer while its handshake runs; the oldest goes first.
  public static let stagedPackets = 128
  /// Bytes kept so for all peers together.
  public static let stagedBytes = 16 << 20
  /// Multicast packets kept for one peer while its handshake runs. Later ones are dropped for that peer.
  public static let stagedMulticast = 8
  /// Copies of multicast packets, of all peers together, go out at most this often, but for a burst of 20,000.
  public static let multicastCopyInterval = second / 10_000
  public static let multicastBurst = 2 * second
  /// A multicast packet counts as this many copies at least: 250 packets a second, in bursts of 500.
  public static let leastMulticastCopies = 40
  /// Allowed IPs that routes of the machine may give to the peers of one interface.
  public static let syncedPrefixes = 10_000
  /// The longest packet that goes into a tunnel: the last multiple of the padding that fits a UDP datagram over IPv4.
  public static let longestPacket = (65507 - DataMessage.overhead) / paddingMultiple * paddingMultiple
  /// What every IPv6 link must carry (RFC 8200 §5): packets up to here are never too long.
  public static let smallestMTU = 1280
  /// ICMP errors about packets from one address to another go out at most this often, but for a burst of 50; about all
  /// packets from one address twice as often.
  public static let errorInterval = 10 * millisecond
  public static let errorBurst = 50 * errorInterval
  /// ICMP errors about all packets, but for a burst of 200: 1,000 a second, as the kernel's (`icmp_msgs_per_sec`).
  public static let totalErrorInterval = millisecond
  public static let totalErrorBurst = 200 * totalErrorInterval
  /// Data is padded to a multiple of this, so that its length tells less.
  public static let paddingMultiple = 16
}
