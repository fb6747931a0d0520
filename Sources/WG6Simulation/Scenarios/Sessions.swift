import WG6Crypto
import WG6Protocol

private let second = Limits.second

/// What sessions go through between two hosts.
extension Scenario {
  static let bothInitiate = Scenario(
    "both-initiate", "both ends begin at once, through any weather", claims: { [OneSession()] }
  ) { world in
    let (home, cafe) = world.addPair()
    tellEndpoint(of: cafe, to: home)
    world.link = .random(&world.random)
    home.send(to: cafe)
    // From at once to a round trip later.
    world.run(for: world.random.duration(0, 2 * world.link.delay))
    cafe.send(to: home)
    world.converse(home, cafe, every: second / 2, for: 12 * second)
    world.clearUp()
    // Two renewals are enough to see whether they have settled.
    world.converse(home, cafe, every: second, for: 280 * second)
    world.fallSilent()
  }

  static let rekeyUnderLoad = Scenario(
    "rekey-under-load", "a steady stream both ways, while keys are renewed",
    claims: { [NothingLost(networkIsPerfect: true), Sessions(atLeast: 2)] }
  ) { world in
    let (home, cafe) = world.addPair()
    world.link.delay = world.random.duration(0, 200 * Limits.millisecond)
    world.link.duplication = world.random.pick([0, 0.1])
    cafe.send(to: home)
    world.run(for: second)
    world.converse(home, cafe, every: second, for: 117 * second)
    // Dense where the key changes.
    world.converse(home, cafe, every: 15 * Limits.millisecond, for: 6 * second)
    world.converse(home, cafe, every: second, for: 114 * second)
    world.converse(home, cafe, every: 15 * Limits.millisecond, for: 6 * second)
    world.run(for: second)
    world.fallSilent()
  }

  static let counters = Scenario(
    "counters", "sessions that begin near 2^60 or near their last counter", claims: { [Sessions(atLeast: 3)] }
  ) { world in
    let (home, cafe) = world.addPair()
    let limit = world.random.pick([Limits.rekeyAfterMessages, Limits.rejectAfterMessages])
    for host in [home, cafe] { host.startSessions(at: limit - UInt64(2 + world.random.below(40))) }
    world.converse(home, cafe, every: second / 4, for: 60 * second)
    for host in [home, cafe] { host.startSessions(at: 0) }
    world.converge(on: home)
    world.fallSilent()
  }

  static let keyChanges = Scenario(
    "key-changes", "either end changes its private key at any moment, and the other learns of it before or after"
  ) { world in
    let (home, cafe) = world.addPair(keepalive: world.random.pick([0, 0, 25]))
    for _ in 0..<3 {
      world.gossip(home, [cafe], for: world.random.duration(0, 130 * second))
      if world.random.happens(0.7) { world.changeKey(of: home, knownTo: cafe, within: 10 * second) }
      if world.random.happens(0.7) { world.changeKey(of: cafe, knownTo: home, within: 10 * second) }
      world.gossip(home, [cafe], for: 11 * second)
      world.converge(on: home)
    }
    world.fallSilent()
  }

  static let twoHours = Scenario(
    "two-hours", "two hours both ways at 2% loss, 5% reordered, 20 ms ± 10 ms: no byte is changed, nothing comes twice",
    claims: {
      [NothingLost(networkIsPerfect: false, networkKeepsOrder: false), MostArrive(share: 0.97), Sessions(atLeast: 50)]
    }
  ) { world in
    let (home, cafe) = world.addPair()
    world.link.delay = 10 * Limits.millisecond
    world.link.jitter = 20 * Limits.millisecond
    world.link.loss = 0.02
    world.link.reordering = 0.05
    world.converse(home, cafe, every: 200 * Limits.millisecond, for: 7200 * second, sizes: 64...400)
    world.link = Link()
    world.fallSilent()
  }

  private static func tellEndpoint(of peer: Host, to host: Host) {
    var update = DeviceUpdate()
    var change = PeerUpdate(peer.publicKey)
    change.endpoint = peer.endpoint
    update.peers = [change]
    host.configure(update)
  }
}

extension World {
  /// At some moment within `bound`, `host` takes another private key; at another, `other` learns of it.
  fileprivate func changeKey(of host: Host, knownTo other: Host, within bound: Nanoseconds) {
    let key = PrivateKey(using: &random)
    let old = host.publicKey
    after(random.duration(0, bound)) { _ in host.change(to: key) }
    after(random.duration(0, bound)) { _ in other.learn(key.publicKey, insteadOf: old) }
  }
}

/// That what a scenario is about did happen.
struct Sessions: Claim {
  static let sentence = "sessions are renewed in time"
  let atLeast: Int

  mutating func observe(_ observation: Observation, in world: World) -> String? { nil }

  mutating func end(in world: World) -> String? {
    let count = world.observer?.sessions ?? 0
    return count >= atLeast ? nil : "there were \(count) sessions in place of \(atLeast) or more"
  }
}

/// That a lossy network is no excuse.
struct MostArrive: Claim {
  static let sentence = "what the network does not lose arrives"
  let share: Double

  mutating func observe(_ observation: Observation, in world: World) -> String? { nil }

  mutating func end(in world: World) -> String? {
    let accepted = world.observer?.acceptedPackets ?? 0
    return Double(accepted) >= share * Double(world.packetCount)
      ? nil : "\(accepted) of \(world.packetCount) packets arrived"
  }
}
