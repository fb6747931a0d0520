import WG6Protocol

private let second = Limits.second

/// What becomes of tunnels whose network and hosts have a bad day.
extension Scenario {
  static let randomWeather = Scenario("random-weather", "two to four hosts, and everything that may befall them") {
    world in
    let (home, clients) = world.addStar()
    // A clock that goes back and a restart together are more than the protocol can bear: one or the other.
    let unbearable: Mishap = world.random.happens(0.5) ? .restart : .clockStep
    let mishaps = Mishap.allCases.filter { $0 != unbearable }
    for host in world.hosts where world.random.happens(0.6) { host.uplink = .random(&world.random) }
    world.suffer(mishaps, every: 10 * second, for: 120 * second, longest: 60 * second)
    world.gossip(home, clients, for: 120 * second)
    world.converge(on: home)
    world.fallSilent()
  }

  static let nat = Scenario("nat", "clients behind NAT boxes that forget, rebind and reboot") { world in
    let (home, clients) = world.addStar(behindNAT: 1)
    world.suffer([.natReboot, .outage, .weather], every: 15 * second, for: 120 * second, longest: 90 * second)
    world.gossip(home, clients, for: 120 * second)
    world.converge(on: home)
    world.fallSilent()
  }

  static let roaming = Scenario("roaming", "clients that move from network to network") { world in
    let (home, clients) = world.addStar(behindNAT: 0)
    world.suffer([.move, .lostAddress], every: 10 * second, for: 150 * second, longest: 40 * second)
    world.gossip(home, clients, for: 150 * second)
    world.converge(on: home)
    world.fallSilent()
  }

  static let sleepers = Scenario("sleepers", "hosts that sleep, for a moment or for hours") { world in
    let (home, cafe) = world.addPair()
    for _ in 0..<2 {
      let sleeper = world.random.pick([home, cafe])
      world.gossip(home, [cafe], for: 20 * second)
      sleeper.sleep()
      world.gossip(home, [cafe], for: 30 * second)
      world.run(for: world.random.pick([0, 100, 200, 600, 7200]) * second)
      world.converge(on: home)
    }
    world.fallSilent()
  }

  static let restarts = Scenario("restarts", "daemons that start anew, one or both") { world in
    let (home, cafe) = world.addPair(keepalive: world.random.pick([0, 0, 25]))
    for _ in 0..<3 {
      world.gossip(home, [cafe], for: world.random.duration(second, 130 * second))
      for host in [home, cafe] where world.random.happens(0.7) { host.restart() }
      world.converge(on: home)
    }
    world.fallSilent()
  }

  static let clockSteps = Scenario("clock-steps", "times of day that jump to and fro, by hours") { world in
    let (home, cafe) = world.addPair()
    world.suffer([.clockStep], every: 8 * second, for: 300 * second, longest: second)
    world.gossip(home, [cafe], for: 300 * second)
    world.converge(on: home)
    world.fallSilent()
  }

  static let longIdle = Scenario("long-idle", "a word now and then, with hours of silence between") { world in
    let (home, cafe) = world.addPair()
    for _ in 0..<2 {
      world.gossip(home, [cafe], for: world.random.duration(second, 20 * second))
      if world.random.happens(0.3) { world.random.pick([home, cafe]).uplink = .cut }
      world.fallSilent()
      world.run(for: world.random.duration(0, 5000 * second))
      world.clearUp()
    }
    world.converge(on: home)
    world.fallSilent()
  }
}

extension World {
  /// A home that stays where it is, and one to three clients around it, some behind NAT.
  func addStar(behindNAT share: Double = 0.4) -> (home: Host, clients: [Host]) {
    let home = addHost("home", at: .v4(0x0A00_0001))
    let clients = (1...1 + random.below(3)).map { number in
      let isBehindNAT = random.happens(share)
      let box =
        !isBehindNAT
        ? nil
        : addNATBox(
          at: .v4(0xC000_0200 + UInt32(number)), isEndpointDependent: random.happens(0.5),
          memory: random.duration(20 * second, 150 * second))
      let client = addHost(
        ["", "cafe", "train", "tent"][number], at: .v4(0xC0A8_0000 + UInt32(number)), behind: box)
      befriend(home, client, keepalive: random.pick([0, 0, 15, 25]))
      return client
    }
    return (home, clients)
  }

  /// Everybody talks with home, at a pace of their own.
  func gossip(_ home: Host, _ clients: [Host], for duration: Nanoseconds) {
    let end = now.monotonic + duration
    for client in clients {
      let interval = random.duration(second / 2, 8 * second)
      talk(home, client, every: interval, sizes: 64...1420, until: end)
      talk(client, home, every: random.duration(interval / 2, interval * 2), sizes: 64...1420, until: end)
    }
    run(for: duration)
  }
}
