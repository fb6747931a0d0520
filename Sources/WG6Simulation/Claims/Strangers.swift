import WG6Protocol

/// Who has proved nothing gets nothing that would be worth asking for.
public struct NothingForStrangers: Claim {
  public static let sentence =
    "a stranger gets cookie replies at most, no more bytes than it sent, and none where it does not know the public key"

  private struct Account {
    var bytesIn = 0
    var bytesOut = 0
    /// Whether something authentic came from there, carried by whomever.
    var isAuthentic = false
    var mayHearNothing = false
  }

  private var accounts: [Endpoint: Account] = [:]

  public init() {}

  /// Whoever is at `endpoint` does not know the public key.
  mutating func expectSilence(towards endpoint: Endpoint) {
    accounts[endpoint, default: Account()].mayHearNothing = true
  }

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    switch observation {
    case .arrived(let cause, _) where !world.isHonest(cause.datagram.source):
      accounts[cause.datagram.source, default: Account()].bytesIn += cause.datagram.bytes.count
      if cause.sender != nil { accounts[cause.datagram.source]!.isAuthentic = true }
    case .sent(let datagram, let host) where !world.isHonest(datagram.destination):
      accounts[datagram.destination, default: Account()].bytesOut += datagram.bytes.count
      let account = accounts[datagram.destination]!
      if account.mayHearNothing { return "host \(host) answered a scanner" }
      if account.isAuthentic { return nil }
      if datagram.type != 3 { return "host \(host) sent a message \(datagram.type) to a stranger" }
      if account.bytesOut > account.bytesIn {
        return "host \(host) sent a stranger \(account.bytesOut) bytes for \(account.bytesIn)"
      }
    default: break
    }
    return nil
  }
}

/// Only what a peer has made itself, and made for this, changes anything.
public struct AuthenticEffects: Claim {
  public static let sentence =
    "sessions and endpoints change by a peer's own messages only, and by each of them once"

  /// By host: what has moved it, and what for. A host that starts anew knows no timestamps, and may be fooled again.
  private var effects: [Int: Set<Int>] = [:]

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    switch observation {
    case .changed(.restarted, let host): effects[host] = nil
    case .reported(.endpointMoved(let key, let endpoint), let host, let cause):
      guard let cause, cause.datagram.source == endpoint else { return "an endpoint of \(host) moved by itself" }
      return check(cause, by: host, of: world.host(of: key), kind: 1)
    case .reported(.responseSent(let key), let host, let cause),
      .reported(.sessionEstablished(let key, asInitiator: true), let host, let cause):
      guard let cause else { return "host \(host) has a session out of nothing" }
      return check(cause, by: host, of: world.host(of: key), kind: 2)
    default: break
    }
    return nil
  }

  private mutating func check(_ cause: Cause, by host: Int, of peer: Host?, kind: Int) -> String? {
    guard let sender = cause.sender, let peer, sender.host == peer.number else {
      return "host \(host) was moved by a message \(cause.datagram.type) that its peer did not send"
    }
    var hasher = Hasher()
    hasher.combine(Ledger.hash(cause.datagram))
    hasher.combine(kind)
    return effects[host, default: []].insert(hasher.finalize()).inserted
      ? nil : "host \(host) was moved twice by one message \(cause.datagram.type)"
  }
}

/// However many handshakes are begun by whomever, a device remembers a few for each peer.
public struct BoundedState: Claim {
  public static let sentence = "a device keeps three sessions and one handshake a peer, whoever knocks"

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    guard case .arrived(_, let number) = observation else { return nil }
    let device = world.hosts[number].device
    let bound = 4 * (world.hosts.count - 1)
    return device.indexCount > bound ? "host \(number) has \(device.indexCount) indices in use" : nil
  }
}
