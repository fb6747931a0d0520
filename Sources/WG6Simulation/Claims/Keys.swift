import WG6Crypto
import WG6Protocol

/// No key is used before it may be, after it may be, or twice with one counter.
public struct KeyLifetimes: Claim {
  public static let sentence =
    "data is sent and accepted under keys younger than 180 s, under each counter once, and not before the peer is heard"

  private struct Key: Hashable {
    let host: Int
    let index: UInt32
  }

  private struct Sending {
    let since: Nanoseconds
    /// By what we go in this session.
    let local: UInt32
    var isHeard: Bool
    var nextCounter: UInt64 = 0
  }

  /// By the index that data goes out to.
  private var sending: [Key: Sending] = [:]
  /// By the index that data comes in under: since when, and what it goes out to.
  private var receiving: [Key: (since: Nanoseconds, remote: UInt32)] = [:]

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    let now = world.now.monotonic
    switch observation {
    case .sent(let datagram, let host) where datagram.type == 2:
      guard let local = datagram.senderIndex, let remote = datagram.receiverIndex else { return nil }
      sending[Key(host: host, index: remote)] = Sending(since: now, local: local, isHeard: false)
      receiving[Key(host: host, index: local)] = (now, remote)
    case .reported(.sessionEstablished(_, asInitiator: true), let host, let cause?):
      guard let remote = cause.datagram.senderIndex, let local = cause.datagram.receiverIndex else { return nil }
      sending[Key(host: host, index: remote)] = Sending(since: now, local: local, isHeard: true)
      receiving[Key(host: host, index: local)] = (now, remote)
    case .sent(let datagram, let host) where datagram.type == 4:
      guard let index = datagram.receiverIndex, let counter = datagram.counter else { return nil }
      return check(counter, under: Key(host: host, index: index), at: now)
    case .arrived(let cause, let host) where cause.datagram.type == 4 && cause.sender != nil:
      guard let index = cause.datagram.receiverIndex, let session = receiving[Key(host: host, index: index)] else {
        return nil
      }
      sending[Key(host: host, index: session.remote)]?.isHeard = true
    case .accepted(_, let host, let cause):
      guard let index = cause.datagram.receiverIndex, let session = receiving[Key(host: host, index: index)] else {
        return "host \(host) accepted data under a key that no handshake made"
      }
      guard now - session.since < Limits.rejectAfterTime else {
        return "host \(host) accepted data under a key of \((now - session.since) / Limits.second) s"
      }
    default: break
    }
    return nil
  }

  private mutating func check(_ counter: UInt64, under key: Key, at now: Nanoseconds) -> String? {
    guard let session = sending[key] else { return "host \(key.host) sent data under a key that no handshake made" }
    sending[key]!.nextCounter = max(session.nextCounter, counter &+ 1)
    if counter < session.nextCounter { return "host \(key.host) sent counter \(counter) again" }
    if counter >= Limits.rejectAfterMessages { return "host \(key.host) sent counter \(counter)" }
    if now - session.since >= Limits.rejectAfterTime {
      return "host \(key.host) sent under a key of \((now - session.since) / Limits.second) s"
    }
    return session.isHeard ? nil : "host \(key.host) answered with data under a session nobody had used"
  }
}

/// For two hosts that begin at once: in the end both talk in the same session.
public struct OneSession: Claim {
  public static let sentence = "both sides initiating at once settle on one session"

  /// By either index of it.
  private var sessions: [UInt32: Int] = [:]
  private var count = 0
  /// By host: what it last sent data in.
  private var last: [Int: Int] = [:]

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    guard case .sent(let datagram, let host) = observation else { return nil }
    if datagram.type == 2, let local = datagram.senderIndex, let remote = datagram.receiverIndex {
      count += 1
      sessions[local] = count
      sessions[remote] = count
    } else if datagram.carriesPacket, let index = datagram.receiverIndex {
      last[host] = sessions[index]
    }
    return nil
  }

  public mutating func end(in world: World) -> String? {
    guard let first = last[0], let second = last[1] else { return "one of the two has sent nothing" }
    return first == second ? nil : "the two still talk in two sessions"
  }
}

/// Sessions that have ended leave nothing behind.
public struct ZeroedKeys: Claim {
  public static let sentence = "after 540 s without a session every key byte is zero"

  /// Keys that were in use at some time, as they were.
  private var known: Set<[UInt8]> = []
  private var isIdle = false

  /// Whether memory is searched as well: only where this process plays one world at a time, for memory is its own.
  private let searchesMemory: Bool

  public init(searchesMemory: Bool = false) {
    self.searchesMemory = searchesMemory
  }

  /// Nothing has happened for long enough: from here on no key may be left.
  mutating func beginSilence() { isIdle = true }

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    guard searchesMemory, case .reported(.sessionEstablished, let host, _) = observation else { return nil }
    world.hosts[host].device.withSessionKeys { known.insert(ZeroedKeys.copy($0)) }
    return nil
  }

  public mutating func end(in world: World) -> String? {
    guard isIdle else { return nil }
    for host in world.hosts where host.device.sessionCount > 0 {
      return "\(host.name) still has \(host.device.sessionCount) sessions"
    }
    guard searchesMemory else { return nil }
    guard !known.isEmpty || world.observer?.sessions == 0 else { return "no key was seen, so that none can be missed" }
    return isFound() ? "a key of a session that is gone still stands in memory" : nil
  }

  private func isFound() -> Bool {
    var isFound = false
    SecretMemory.forEachBlock { block in
      if known.contains(ZeroedKeys.copy(block)) { isFound = true }
    }
    return isFound
  }

  private static func copy(_ key: RawSpan) -> [UInt8] { (0..<key.byteCount).map { key.byte(at: $0) } }
}
