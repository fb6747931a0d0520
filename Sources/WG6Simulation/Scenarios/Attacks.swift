import WG6Protocol

private let second = Limits.second

/// What attackers achieve: nothing.
extension Scenario {
  static let attacked = Scenario("attacked", "somebody on the wire who replays, injects, spoofs and forges") { world in
    let (home, clients) = world.addStar()
    let attacker = Attacker(in: world, targets: world.hosts.filter { $0.box == nil })
    if world.random.happens(0.5) { world.link.loss = 0.1 }
    // On to the end, also while the others have to find together.
    attacker.strike(every: 800 * Limits.millisecond, until: world.now.monotonic + 180 * second)
    world.gossip(home, clients, for: 100 * second)
    world.converge(on: home)
    world.fallSilent()
  }

  static let overtaken = Scenario(
    "overtaken", "somebody who forwards a client's datagrams from where he is, quicker than the network"
  ) { world in
    let (home, cafe) = world.addPair()
    let attacker = Attacker(in: world, targets: [home])
    let share = Double(1 + world.random.below(9)) / 10
    // One way only: where both ends have followed him, he has to stay, or somebody has to tell them.
    world.tap = { [unowned world] datagram in
      if datagram.source == cafe.endpoint, world.random.happens(share) { attacker.overtake(datagram) }
    }
    world.gossip(home, [cafe], for: 60 * second)
    // Whoever sits on the path can only be escaped once he no longer does.
    world.tap = nil
    world.converge(on: home)
    world.fallSilent()
  }

  static let replayed = Scenario("replayed", "a whole conversation recorded and played again") { world in
    let (home, cafe) = world.addPair()
    world.gossip(home, [cafe], for: world.random.pick([20, 130]) * second)
    let attacker = Attacker(in: world, targets: [home, cafe])
    attacker.replayEverything(every: 5 * Limits.millisecond)
    world.run(for: 5 * second)
    attacker.replayEverything(every: 5 * Limits.millisecond)
    world.converge(on: home)
    world.fallSilent()
  }

  static let scanned = Scenario("scanned", "a scanner who does not know the public key, and learns nothing") { world in
    let (home, cafe) = world.addPair()
    let attacker = Attacker(in: world, targets: [home, cafe], arms: [.junk])
    world.observer?.with(NothingForStrangers.self) { claim in
      for endpoint in attacker.sources { claim.expectSilence(towards: endpoint) }
    }
    attacker.strike(every: 20 * Limits.millisecond, until: world.now.monotonic + 10 * second)
    world.gossip(home, [cafe], for: 10 * second)
    // Loaded as well: who shows no first mac gets no cookie either.
    home.handshakeRate = 1
    attacker.strike(every: 10 * Limits.millisecond, until: world.now.monotonic + 10 * second)
    world.run(for: 10 * second)
    home.handshakeRate = nil
    world.converge(on: home)
    world.fallSilent()
  }

  static let flooded = Scenario(
    "flooded", "a flood of handshakes by who knows the public key; peers get through by cookies"
  ) { world in
    let (home, cafe) = world.addPair()
    home.handshakeRate = 2
    let isBefore = world.random.happens(0.5)
    if isBefore { world.gossip(home, [cafe], for: 5 * second) }
    let attacker = Attacker(
      in: world, targets: [home], arms: world.random.pick([[.mac1], [.mac1, .replay, .cookie], [.stranger]]))
    attacker.strike(every: 40 * Limits.millisecond, until: world.now.monotonic + 16 * second)
    world.run(for: 5 * second)
    if isBefore { cafe.restart() }
    // The first try is answered with a cookie, and the second one goes through.
    world.converge(on: home, within: 2 * (Limits.rekeyTimeout + Limits.rekeyTimeoutJitter) + 2 * second)
    home.handshakeRate = nil
    world.fallSilent()
  }

  static let halfOpen = Scenario(
    "half-open", "handshakes begun by hundreds, and never finished"
  ) { world in
    halfOpen(world, count: 500)
  }

  static let halfOpen100000 = Scenario(
    "half-open-100000", "a hundred thousand handshakes begun, and never finished"
  ) { world in
    halfOpen(world, count: 100_000)
  }

  private static func halfOpen(_ world: World, count: Int) {
    let (home, cafe) = world.addPair()
    world.gossip(home, [cafe], for: 2 * second)
    // Computed for each until the queue fills; after that, each is asked for a cookie.
    home.handshakeRate = 100
    let attacker = Attacker(in: world, targets: [home])
    let messages = (0..<min(count, 200)).compactMap { _ in attacker.initiation(to: home) }
    for number in 0..<count {
      attacker.knock(messages[number % messages.count], at: home, asStranger: number)
      world.run(for: Limits.millisecond)
    }
    home.handshakeRate = nil
    // A peer may do so, too: it begins again and again, and never hears the answer.
    home.uplink = .cut
    for _ in 0..<20 {
      cafe.restart()
      cafe.send(to: home)
      world.run(for: 100 * Limits.millisecond)
    }
    world.converge(on: home)
    world.fallSilent()
  }
}
