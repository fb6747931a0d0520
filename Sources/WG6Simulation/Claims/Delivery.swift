import WG6Protocol

/// What comes out of a tunnel went into its other end.
public struct AuthenticDelivery: Claim {
  public static let sentence =
    "a packet accepted was sent by the peer, unharmed, exactly once, and not 180 s before or more"

  private var accepted: [Bool] = []

  public init() {}

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    guard case .accepted(let packet, let host, let cause) = observation else { return nil }
    guard let (sender, sentAt) = cause.sender else { return "a packet came from nobody" }
    guard Packet.isUnharmed(packet), let (number, source, destination) = Packet.read(packet) else {
      return "a packet was changed"
    }
    guard source == sender, destination == host, source != host else {
      return "packet \(number) of host \(source) to \(destination) was let in at \(host), from \(sender)"
    }
    let age = world.now.monotonic - sentAt
    guard age < Limits.rejectAfterTime else { return "packet \(number) is \(age / Limits.second) s old" }
    guard number < world.packetCount else { return "nobody has sent packet \(number)" }
    while accepted.count <= Int(number) { accepted.append(false) }
    guard !accepted[Int(number)] else { return "packet \(number) came twice" }
    accepted[Int(number)] = true
    return nil
  }
}

/// Packets that must get through, and by when.
public struct Promises: Claim {
  public static let sentence =
    "two honest peers that can exchange packets both ways for long enough converge to a session"

  private struct Promise {
    let from: Int
    let to: Int
    /// The first packet that will do.
    let first: UInt64
    let deadline: Nanoseconds
  }

  private var open: [Promise] = []

  public init() {}

  /// From now on and until `deadline`, some packet from the one to the other must arrive that was not sent before.
  public mutating func expect(from: Int, to: Int, by deadline: Nanoseconds, in world: World) {
    open.append(Promise(from: from, to: to, first: world.packetCount, deadline: deadline))
  }

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    guard !open.isEmpty, case .accepted(let packet, let host, _) = observation,
      let (number, source, _) = Packet.read(packet)
    else { return nil }
    open.removeAll {
      $0.from == source && $0.to == host && number >= $0.first && world.now.monotonic <= $0.deadline
    }
    return nil
  }

  public mutating func end(in world: World) -> String? {
    guard let promise = open.first else { return nil }
    let deadline = (promise.deadline - world.startedAt) / Limits.second
    return "nothing came from \(world.hosts[promise.from].name) to \(world.hosts[promise.to].name) by \(deadline) s"
  }
}

/// For worlds whose links are steady: what the network delivers of data comes out, and in the order it went in.
public struct NothingLost: Claim {
  public static let sentence = "a rekey under load loses and reorders nothing that the network did not"

  /// Whether the network itself loses nothing.
  private let networkIsPerfect: Bool
  /// Whether it keeps what it delivers in order.
  private let networkKeepsOrder: Bool
  private var seen: Set<Int> = []
  private var pending: [Int: Datagram] = [:]
  private var newest: [Int: UInt64] = [:]
  private var pushed = 0
  private var accepted = 0

  public init(networkIsPerfect: Bool, networkKeepsOrder: Bool = true) {
    self.networkIsPerfect = networkIsPerfect
    self.networkKeepsOrder = networkKeepsOrder
  }

  public mutating func observe(_ observation: Observation, in world: World) -> String? {
    switch observation {
    case .pushed: pushed += 1
    case .arrived(let cause, let host):
      let dropped = pending.removeValue(forKey: host)
      if cause.sender != nil, cause.datagram.carriesPacket, seen.insert(Ledger.hash(cause.datagram)).inserted {
        pending[host] = cause.datagram
      }
      if let counter = dropped?.counter { return "data \(counter) came to host \(host) and was not let in" }
    case .accepted(let packet, let host, _):
      accepted += 1
      pending[host] = nil
      guard networkKeepsOrder, let (number, source, _) = Packet.read(packet) else { return nil }
      let pair = source * 256 + host
      defer { newest[pair] = number }
      if let last = newest[pair], last > number { return "packet \(number) came after \(last)" }
    default: break
    }
    return nil
  }

  public mutating func end(in world: World) -> String? {
    if networkIsPerfect, pushed != accepted { return "\(pushed) packets were sent, and \(accepted) came" }
    return nil
  }
}
