import WG6Crypto
import WG6Protocol

/// Hosts, a network between them, and a clock that jumps from event to event. Everything follows from the seed.
public final class World {
  public private(set) var now: Now
  public var random: SeededRandom
  public private(set) var hosts: [Host] = []

  /// What becomes of each datagram; by default it arrives after 10 ms.
  public var link: (Datagram, inout SeededRandom) -> [Delivery] = { datagram, _ in [Delivery(datagram)] }
  /// Every datagram that was put on the wire, as an eavesdropper sees it.
  public private(set) var wire: [Datagram] = []

  private var underWay: [(at: Nanoseconds, order: Int, datagram: Datagram)] = []
  private var sentCount = 0

  /// A datagram on the wire.
  public struct Datagram {
    public let sentAt: Nanoseconds
    public var source: Endpoint
    public var destination: Endpoint
    public var bytes: [UInt8]

    /// 1 to 4, as the first byte says.
    public var type: UInt8 { bytes.first ?? 0 }
  }

  /// A datagram that arrives, some time after it was sent.
  public struct Delivery {
    public let datagram: Datagram
    public let delay: Nanoseconds

    public init(_ datagram: Datagram, after delay: Nanoseconds = 10 * Limits.millisecond) {
      self.datagram = datagram
      self.delay = delay
    }
  }

  public init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    now = Now(monotonic: 1000 * Limits.second, wall: 1_700_000_000 * Limits.second)
  }

  /// A host at `address`, port 51820, with a fresh key, up.
  public func addHost(_ name: String, at address: IPAddress) -> Host {
    let host = Host(name, world: self, endpoint: Endpoint(address: address, port: 51820))
    hosts.append(host)
    return host
  }

  /// Lets `duration` pass.
  public func run(for duration: Nanoseconds) {
    let end = now.monotonic + duration
    while let next = nextEvent, next <= end { step(to: next) }
    advanceClock(to: end)
  }

  /// Lets time pass until `condition` holds; false where it does not within `limit`.
  public func run(atMost limit: Nanoseconds, until condition: () -> Bool) -> Bool {
    let end = now.monotonic + limit
    while !condition() {
      guard let next = nextEvent, next <= end else { return condition() }
      step(to: next)
    }
    return true
  }

  /// Puts a datagram on the wire, as an attacker might.
  public func inject(_ datagram: Datagram) {
    wire.append(datagram)
    for delivery in link(datagram, &random) {
      sentCount += 1
      underWay.append((now.monotonic + delivery.delay, sentCount, delivery.datagram))
    }
  }

  /// Sets every host's idea of the time of day; the boot-time clock stays as it is.
  public func setWallClock(_ wall: Nanoseconds) {
    now.wall = wall
  }

  private var nextEvent: Nanoseconds? {
    let timers = hosts.compactMap { $0.device.nextWake(now: now.monotonic) }
    return (timers + underWay.map(\.at)).min()
  }

  private func step(to instant: Nanoseconds) {
    advanceClock(to: instant)
    for host in hosts { host.advance() }
    let due = underWay.filter { $0.at <= now.monotonic }.sorted { ($0.at, $0.order) < ($1.at, $1.order) }
    underWay.removeAll { $0.at <= now.monotonic }
    for arrival in due {
      hosts.first { $0.endpoint == arrival.datagram.destination }?.receive(arrival.datagram)
    }
  }

  private func advanceClock(to instant: Nanoseconds) {
    guard instant > now.monotonic else { return }
    now.wall += instant - now.monotonic
    now.monotonic = instant
  }
}
