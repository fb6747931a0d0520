import WG6Crypto
import WG6Protocol

/// Looks on, knows what each host has put on the wire, and asks every claim about everything that happens.
public final class Observer {
  /// Violations kept; a world that goes wrong may go wrong a thousand times.
  private static let violationCapacity = 20

  private var claims: [any Claim]
  private var ledger = Ledger()
  public private(set) var violations: [Violation] = []
  public private(set) var acceptedPackets = 0
  public private(set) var sessions = 0

  /// - Parameters:
  ///   - extra: what is claimed of this world besides what is claimed of all.
  ///   - ownsProcess: whether nothing else works with secrets meanwhile, so that their memory can be searched.
  ///   - asksAll: whether what is claimed of all is asked at all.
  public init(_ extra: [any Claim] = [], ownsProcess: Bool = false, asksAll: Bool = true) {
    guard asksAll else {
      claims = extra
      return
    }
    claims =
      [
        AuthenticDelivery(), KeyLifetimes(), NothingInTheClear(), NoStorm(), SilenceWhenIdle(),
        NothingForStrangers(), AuthenticEffects(), Promises(), BoundedState(), ZeroedKeys(searchesMemory: ownsProcess),
      ] + extra
  }

  func observe(_ observation: Observation, in world: World) {
    switch observation {
    case .sent(let datagram, let host): ledger.enter(datagram, by: host)
    case .accepted: acceptedPackets += 1
    case .reported(.sessionEstablished(_, asInitiator: true), _, _): sessions += 1
    default: break
    }
    for index in claims.indices {
      if let complaint = claims[index].observe(observation, in: world) { note(complaint, of: claims[index], in: world) }
    }
  }

  /// A datagram comes to `host`: finds out whose it is.
  func arrival(of datagram: Datagram, at host: Host, in world: World) -> Cause {
    let cause = Cause(datagram, from: ledger.provenance(of: datagram))
    observe(.arrived(cause, at: host.number), in: world)
    return cause
  }

  /// The world has ended.
  func end(in world: World) {
    for index in claims.indices {
      if let complaint = claims[index].end(in: world) { note(complaint, of: claims[index], in: world) }
    }
  }

  /// Gives the claim of a type something to do, if it is here.
  func with<Wanted: Claim>(_ type: Wanted.Type, _ body: (inout Wanted) -> Void) {
    for index in claims.indices {
      guard var claim = claims[index] as? Wanted else { continue }
      body(&claim)
      claims[index] = claim
    }
  }

  private func note(_ complaint: String, of claim: any Claim, in world: World) {
    world.complain(complaint)
    guard violations.count < Observer.violationCapacity else { return }
    violations.append(
      Violation(
        claim: Swift.type(of: claim).sentence, at: world.now.monotonic - world.startedAt, complaint: complaint))
  }
}

/// Who put which bytes on the wire, for as long as it may matter.
struct Ledger {
  /// More than any key lives.
  private static let memory = 400 * Limits.second

  private var entries: [Int: (host: Int, sentAt: Nanoseconds)] = [:]
  private var order: [(hash: Int, sentAt: Nanoseconds)] = []
  private var head = 0

  mutating func enter(_ datagram: Datagram, by host: Int) {
    let hash = Ledger.hash(datagram)
    entries[hash] = (host, datagram.sentAt)
    order.append((hash, datagram.sentAt))
    while order[head].sentAt + Ledger.memory < datagram.sentAt {
      entries[order[head].hash] = nil
      head += 1
    }
    if head > 4096, head * 2 > order.count {
      order.removeFirst(head)
      head = 0
    }
  }

  func provenance(of datagram: Datagram) -> Provenance {
    guard let entry = entries[Ledger.hash(datagram)] else { return .stranger }
    return .host(entry.host, sentAt: entry.sentAt)
  }

  /// Of the bytes alone: addresses change on the way. Without the second mac of a handshake message, which nobody looks at
  /// without need, so that what has lost it is authentic still.
  static func hash(_ datagram: Datagram) -> Int {
    var hasher = Hasher()
    if datagram.senderIndex != nil {
      hasher.combine(datagram.bytes.dropLast(16))
    } else {
      hasher.combine(datagram.bytes)
    }
    return hasher.finalize()
  }
}
