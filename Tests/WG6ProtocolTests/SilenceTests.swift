import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

private let second = Limits.second

@Suite struct `A peer that falls silent` {
  /// Two hosts with keepalives of a second, of which alice watches bob.
  private func pair(seed: UInt64 = 30, deadAfter: UInt16 = 3, keepalive: UInt16 = 1) -> Pair {
    let pair = Pair(seed: seed, keepalive: keepalive)
    var back = PeerUpdate(pair.alice.publicKey)
    back.persistentKeepalive = keepalive
    var atBob = DeviceUpdate()
    atBob.peers = [back]
    pair.bob.configure(atBob)
    var atAlice = DeviceUpdate()
    atAlice.deadAfter = deadAfter
    pair.alice.configure(atAlice)
    return pair
  }

  private func silent(_ host: Host) -> Bool { host.device.status().peers[0].isSilent }

  /// Runs until `condition` holds, and returns how long that took; nil after `limit`.
  private func time(_ pair: Pair, limit: Nanoseconds, until condition: () -> Bool) -> Nanoseconds? {
    let begun = pair.world.now.monotonic
    while !condition() {
      guard pair.world.now.monotonic - begun < limit else { return nil }
      pair.world.run(for: 10 * Limits.millisecond)
    }
    return pair.world.now.monotonic - begun
  }

  @Test func `is not silent while it sends keepalives, for an hour`() {
    let pair = pair()
    for _ in 0..<3600 {
      pair.world.run(for: second)
      #expect(!silent(pair.alice))
    }
  }

  @Test(arguments: seeds)
  func `is told within the time and a twelfth of it, and is told when it is heard again`(seed: UInt64) throws {
    let pair = pair(seed: seed)
    pair.world.run(for: 10 * second + pair.world.random.duration(0, second))
    pair.bob.sleep()
    // The last keepalive came up to a second before.
    let silence = try #require(time(pair, limit: 10 * second) { silent(pair.alice) })
    #expect(silence >= 2 * second - 20 * Limits.millisecond && silence <= 3 * second + 300 * Limits.millisecond)
    pair.world.run(for: 20 * second)
    #expect(silent(pair.alice))
    pair.bob.wake()
    #expect(try #require(time(pair, limit: 10 * second) { !silent(pair.alice) }) <= 1300 * Limits.millisecond)
    #expect(pair.alice.reports.filter { $0 == .peerSilent(pair.bob.publicKey) }.count == 1)
    #expect(pair.alice.reports.filter { $0 == .peerHeard(pair.bob.publicKey) }.count == 1)
  }

  @Test func `is silent from the start where it never calls, and means nothing without keepalives`() throws {
    let pair = pair()
    pair.bob.sleep()
    _ = try #require(time(pair, limit: 5 * second) { silent(pair.alice) })
    let quiet = self.pair(keepalive: 0)
    quiet.world.run(for: 60 * second)
    #expect(!silent(quiet.alice))
  }

  @Test func `is not silent because this machine slept`() {
    let pair = pair()
    pair.world.run(for: 10 * second)
    pair.alice.sleep()
    // Short enough for the session to live.
    pair.world.run(for: 60 * second)
    pair.alice.wake()
    for _ in 0..<100 {
      pair.world.run(for: 50 * Limits.millisecond)
      #expect(!silent(pair.alice))
    }
  }

  @Test func `is forgotten when the interface goes down, when it is removed and when the setting goes`() throws {
    let pair = pair()
    pair.bob.sleep()
    pair.world.run(for: 5 * second)
    #expect(silent(pair.alice) && pair.alice.device.silence == (1, 1))
    pair.alice.goDown()
    #expect(!silent(pair.alice))
    pair.alice.comeUp()
    pair.world.run(for: 5 * second)
    #expect(silent(pair.alice))
    var update = DeviceUpdate()
    update.deadAfter = 0
    pair.alice.configure(update)
    #expect(!silent(pair.alice) && pair.alice.device.silence == (1, 0))
    pair.world.run(for: 60 * second)
    #expect(!silent(pair.alice))
    update.deadAfter = 2
    pair.alice.configure(update)
    pair.world.run(for: 3 * second)
    var removal = PeerUpdate(pair.bob.publicKey)
    removal.removes = true
    update = DeviceUpdate()
    update.peers = [removal]
    pair.alice.configure(update)
    #expect(pair.alice.device.silence == (0, 0))
  }

  @Test func `loses what routes have given it, until it is heard`() {
    let pair = pair()
    let prefix = IPPrefix(.v6(high: 0x2001_0DB8 << 32, low: 0), length: 48)
    var update = DeviceUpdate()
    update.routeSync = RouteSyncSettings(isOn: true)
    pair.alice.configure(update)
    let gateway = Pair.prefix(2).address
    pair.alice.device.routesTold([GatewayRoute(prefix, via: gateway)])
    pair.world.run(for: 5 * second)
    let prefixes = { pair.alice.device.status().peers[0].allowedIPs }
    #expect(prefixes() == [Pair.prefix(2), prefix])
    pair.bob.sleep()
    pair.world.run(for: 5 * second)
    #expect(prefixes() == [Pair.prefix(2)] && pair.alice.device.isSilent(gateway: gateway))
    pair.bob.wake()
    pair.world.run(for: 2 * second)
    #expect(prefixes() == [Pair.prefix(2), prefix])
  }
}
