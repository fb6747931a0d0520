import Glibc
import WG6Protocol

/// What can be read on the wire is what the four messages show.
public struct NothingInTheClear: Claim {
  public static let sentence =
    "no plaintext leaves: every datagram is one of the four messages, of the right length, and shows nothing inside"

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    guard case .sent(let datagram, let host) = observation else { return nil }
    let bytes = datagram.bytes
    guard bytes.count >= 32, bytes[1] == 0, bytes[2] == 0, bytes[3] == 0 else { return "host \(host) sent no message" }
    let isRight =
      switch bytes[0] {
      case 1: bytes.count == 148
      case 2: bytes.count == 92
      case 3: bytes.count == 64
      case 4: NothingInTheClear.isPadded(bytes.count - 32, mtu: world.hosts[host].device.plane.mtu)
      default: false
      }
    guard isRight else { return "host \(host) sent a message \(bytes[0]) of \(bytes.count) bytes" }
    return NothingInTheClear.showsMarker(bytes) ? "host \(host) sent plaintext" : nil
  }

  /// To a multiple of 16, and never past the MTU.
  private static func isPadded(_ length: Int, mtu: Int) -> Bool {
    length <= mtu && (length.isMultiple(of: 16) || length == mtu)
  }

  static func showsMarker(_ bytes: [UInt8]) -> Bool {
    unsafe bytes.withUnsafeBytes { bytes in
      var place = 0
      // The first byte is looked for quickly, the rest with care.
      while place + Packet.marker.count <= bytes.count,
        let found = unsafe memchr(bytes.baseAddress! + place, Int32(Packet.marker[0]), bytes.count - place)
      {
        let start = unsafe UnsafeRawPointer(found) - bytes.baseAddress!
        if unsafe bytes[start...].starts(with: Packet.marker) { return true }
        place = start + 1
      }
      return false
    }
  }
}

/// Handshakes are begun rarely, and not for ever.
public struct NoStorm: Claim {
  public static let sentence =
    "at most one initiation per 5 s and peer, and no more than 18 tries for one burst of data"

  private struct Pair: Hashable {
    let host: Int
    let peer: Int
  }

  private var lastSent: [Pair: Nanoseconds] = [:]
  private var tries: [Pair: Int] = [:]
  /// By host: initiations on the wire that the device has not yet told of.
  private var untold: [Int: Int] = [:]

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    switch observation {
    case .pushed(_, let host, let peer): tries[Pair(host: host, peer: peer)] = 0
    case .accepted(_, let host, let cause):
      if let sender = cause.sender { tries[Pair(host: host, peer: sender.host)] = 0 }
    case .changed(.restarted, let host), .changed(.key, let host):
      for peer in world.hosts.indices {
        lastSent[Pair(host: host, peer: peer)] = nil
        tries[Pair(host: host, peer: peer)] = 0
      }
    case .reported(.sessionEstablished(let key, _), let host, _):
      if let peer = world.host(of: key) { tries[Pair(host: host, peer: peer.number)] = 0 }
    case .sent(let datagram, let host) where datagram.type == 1:
      untold[host, default: 0] += 1
      // Sent first, told next: one at a time.
      if untold[host]! > 1 { return "host \(host) sent an initiation that it does not tell of" }
    case .reported(.initiationSent(let key, _), let host, _):
      untold[host, default: 0] -= 1
      guard let peer = world.host(of: key)?.number else { return nil }
      return check(Pair(host: host, peer: peer), in: world)
    default: break
    }
    return nil
  }

  private mutating func check(_ pair: Pair, in world: World) -> String? {
    let now = world.now.monotonic
    defer { lastSent[pair] = now }
    tries[pair, default: 0] += 1
    if let last = lastSent[pair], now - last < Limits.rekeyTimeout {
      return "host \(pair.host) sent initiations to \(pair.peer) within \((now - last) / Limits.millisecond) ms"
    }
    if tries[pair]! > Limits.handshakeAttempts, !world.hosts[pair.host].usesKeepalive {
      return "host \(pair.host) tried \(tries[pair]!) times for one burst of data"
    }
    return nil
  }
}

/// Who has nothing to say says nothing.
public struct SilenceWhenIdle: Claim {
  public static let sentence = "an idle tunnel without persistent keepalive is silent"

  /// What data can bring about at most: a handshake in 18 tries, the data unanswered, 18 tries more, and a keepalive.
  public static let bound =
    2 * UInt64(Limits.handshakeAttempts) * (Limits.rekeyTimeout + Limits.rekeyTimeoutJitter)
    + 2 * (Limits.unansweredTimeout + Limits.rekeyTimeoutJitter) + Limits.keepaliveTimeout

  private var lastReason: Nanoseconds = 0

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    switch observation {
    case .pushed, .changed: lastReason = world.now.monotonic
    case .sent(let datagram, let host) where datagram.type != 3 && lastReason != 0:
      let silence = world.now.monotonic - lastReason
      guard silence > SilenceWhenIdle.bound, !world.hosts.contains(where: \.usesKeepalive) else { return nil }
      return "host \(host) sent a message \(datagram.type) after \(silence / Limits.second) s of silence"
    default: break
    }
    return nil
  }
}
