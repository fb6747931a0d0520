import WG6Protocol

/// A stretch of network, and what it does to datagrams.
public struct Link: Sendable {
  public var delay = 10 * Limits.millisecond
  /// Up to this much is added to the delay of each datagram; those that get more are overtaken.
  public var jitter: Nanoseconds = 0
  /// Probabilities for each datagram: to vanish, to come twice, to be held up for several delays, to lose a bit's value.
  public var loss = 0.0
  public var duplication = 0.0
  public var reordering = 0.0
  public var corruption = 0.0
  /// Bytes of UDP payload; what is bigger vanishes.
  public var mtu = 65527

  public init() {}

  /// Nothing gets through.
  public static let cut: Link = {
    var link = Link()
    link.loss = 1
    return link
  }()

  /// Some weather, up to a third lost, from a generator.
  public static func random(_ random: inout SeededRandom) -> Link {
    var link = Link()
    link.delay = random.duration(0, 150 * Limits.millisecond)
    link.jitter = random.duration(0, 100 * Limits.millisecond)
    link.loss = Double(random.below(34)) / 100
    link.duplication = Double(random.below(20)) / 100
    link.reordering = Double(random.below(20)) / 100
    link.corruption = Double(random.below(5)) / 100
    // Handshake messages and small packets pass everywhere.
    link.mtu = random.pick([65527, 1472, 1280, 576])
    return link
  }

  /// What became of a datagram.
  enum Fate {
    /// It arrives after each of these times, with the bit at this place turned over.
    case arrives(Nanoseconds, again: Nanoseconds?, flippedBit: Int?)
    case lost
    case tooBig
  }

  func carry(byteCount: Int, _ random: inout SeededRandom) -> Fate {
    guard byteCount <= mtu else { return .tooBig }
    guard !random.happens(loss) else { return .lost }
    let again = random.happens(duplication) ? time(&random) : nil
    let flipped = byteCount > 0 && random.happens(corruption) ? random.below(8 * byteCount) : nil
    return .arrives(time(&random), again: again, flippedBit: flipped)
  }

  private func time(_ random: inout SeededRandom) -> Nanoseconds {
    let time = delay + (jitter > 0 ? random.duration(0, jitter) : 0)
    return random.happens(reordering) ? time + random.duration(delay, 3 * delay + 20 * Limits.millisecond) : time
  }
}
