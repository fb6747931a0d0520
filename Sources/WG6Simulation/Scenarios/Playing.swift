import WG6Crypto
import WG6Protocol

/// What scenarios are put together from.
extension World {
  /// How soon two peers have a session, once they can and want to exchange packets both ways. At worst one of them still
  /// sends under a session that the other has lost, and finds out by silence; its initiation has to wait for an earlier
  /// one, is lost in a collision, and is tried once more. A second is for the network.
  static let convergence =
    Limits.unansweredTimeout + 2 * (Limits.rekeyTimeout + Limits.rekeyTimeoutJitter) + 2 * Limits.second

  /// Two hosts that know each other, under a preshared key now and then.
  func addPair(keepalive: UInt16 = 0) -> (Host, Host) {
    let home = addHost("home", at: .v4(0x0A00_0001)), cafe = addHost("cafe", at: .v6(high: 0x2001_0DB8 << 32, low: 1))
    befriend(home, cafe, keepalive: keepalive)
    return (home, cafe)
  }

  /// Makes two hosts peers. The first is where the second can always find it, and need not know where the second is.
  func befriend(_ home: Host, _ client: Host, keepalive: UInt16 = 0) {
    let secret = random.happens(0.3) ? PresharedKey(using: &random) : nil
    home.add(
      client, allowedIPs: [Packet.prefix(of: client.number)], presharedKey: secret,
      knowsEndpoint: client.box == nil && random.happens(0.7))
    client.add(home, allowedIPs: [Packet.prefix(of: home.number)], presharedKey: secret, keepalive: keepalive)
    for host in [home, client] { host.keepsReceived = false }
  }

  /// From now until `end`, a packet about once in `interval` from the one to the other.
  func talk(
    _ from: Host, _ to: Host, every interval: Nanoseconds, sizes: ClosedRange<Int> = 64...300, until end: Nanoseconds
  ) {
    guard now.monotonic < end else { return }
    from.send(to: to, size: sizes.lowerBound + random.below(sizes.count))
    after(random.duration(interval * 3 / 4, interval * 5 / 4)) { world in
      world.talk(from, to, every: interval, sizes: sizes, until: end)
    }
  }

  /// Both ways, for as long as it takes.
  func converse(
    _ a: Host, _ b: Host, every interval: Nanoseconds, for duration: Nanoseconds, sizes: ClosedRange<Int> = 64...300
  ) {
    let end = now.monotonic + duration
    talk(a, b, every: interval, sizes: sizes, until: end)
    talk(b, a, every: interval, sizes: sizes, until: end)
    run(for: duration)
  }

  /// Everybody is awake and has an address, and nothing is lost.
  func clearUp() {
    link = Link()
    link.delay = random.duration(0, 100 * Limits.millisecond)
    for host in hosts {
      host.uplink = nil
      host.isConnected = true
      host.wake()
    }
  }

  /// The weather clears: `home` and every other host must find together in time, and then be of use to each other.
  func converge(on home: Host, within bound: Nanoseconds = World.convergence) {
    clearUp()
    let others = hosts.filter { $0 !== home }
    for _ in 0..<2 {
      // First a session; then it must not be one that is lost again, but carry what is sent now.
      let deadline = now.monotonic + bound
      observer?.with(Promises.self) { promises in
        for other in others {
          promises.expect(from: home.number, to: other.number, by: deadline, in: self)
          promises.expect(from: other.number, to: home.number, by: deadline, in: self)
        }
      }
      for other in others {
        talk(home, other, every: 700 * Limits.millisecond, until: deadline)
        talk(other, home, every: 700 * Limits.millisecond, until: deadline)
      }
      run(for: bound)
      guard bound > 3 * Limits.second else { return }
    }
  }

  /// Nobody has anything to say any more: the wire falls silent, and no key is left.
  func fallSilent() {
    for host in hosts { host.stopKeepalives() }
    run(for: SilenceWhenIdle.bound + Limits.zeroKeysAfter + 10 * Limits.second)
    observer?.with(ZeroedKeys.self) { $0.beginSilence() }
  }
}

/// What may befall a host.
enum Mishap: CaseIterable {
  case weather, outage, sleep, restart, clockStep, move, lostAddress, natReboot

  /// Makes it happen to `host`; `world` sees to it that it ends.
  func befall(_ host: Host, in world: World, longest: Nanoseconds) {
    let duration = world.random.duration(Limits.second, longest)
    switch self {
    case .weather: host.uplink = .random(&world.random)
    case .outage:
      host.uplink = .cut
      world.after(duration) { _ in host.uplink = nil }
    case .sleep:
      host.sleep()
      world.after(duration) { _ in host.wake() }
    case .restart: host.restart()
    case .clockStep:
      host.stepClock(by: Int64(world.random.below(200_000)) * Int64(Limits.second) - 100_000 * Int64(Limits.second))
    case .move:
      guard host.box == nil, host.number > 0 else { return }
      let address = IPAddress.v6(high: 0x2001_0DB8 << 32 | UInt64(host.number) << 16, low: world.random.next())
      world.note("moves", of: host.name)
      host.endpoint = Endpoint(address: address, port: UInt16(1024 + world.random.below(60000)))
    case .lostAddress:
      host.isConnected = false
      world.after(duration) { _ in host.isConnected = true }
    case .natReboot:
      world.note("its NAT box reboots", of: host.name)
      host.box?.reboot()
    }
  }
}

extension World {
  /// For `duration`, something of `mishaps` happens to somebody every now and then.
  func suffer(_ mishaps: [Mishap], every interval: Nanoseconds, for duration: Nanoseconds, longest: Nanoseconds) {
    let end = now.monotonic + duration
    func next(_ world: World) {
      guard world.now.monotonic < end else { return }
      let host = world.random.pick(world.hosts)
      world.random.pick(mishaps).befall(host, in: world, longest: longest)
      world.after(world.random.duration(interval / 2, interval * 2), next)
    }
    after(random.duration(0, interval), next)
  }
}
