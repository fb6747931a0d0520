import Foundation
import Testing
import WG6Protocol
import WG6Simulation

/// The first seed: `WG6_FROM` shifts all of them, for worlds that nobody has seen yet.
let firstSeed = ProcessInfo.processInfo.environment["WG6_FROM"].flatMap { UInt64($0) } ?? 0

/// Of each ten worlds, how many are played: `WG6_WORLDS`, ten without it.
private let share = ProcessInfo.processInfo.environment["WG6_WORLDS"].flatMap { UInt64($0) } ?? 10

/// Seeds of worlds, of which every test takes some.
func worlds(_ count: UInt64) -> Range<UInt64> { firstSeed..<firstSeed + max(1, count * share / 10) }

/// Plays a world; where a claim does not hold, the seed and the story are printed.
private func expectGood(_ name: String, seed: UInt64) throws {
  let verdict = try #require(Scenario.named(name)).play(seed: seed)
  if !verdict.isGood { print(verdict.story.joined(separator: "\n")) }
  #expect(verdict.isGood, "\(verdict)")
}

/// A thousand worlds, in each of which every claim must hold.
@Suite struct `A thousand random worlds` {
  @Test(arguments: worlds(200))
  func `whatever befalls them, peers find together, lose nothing and leave nothing behind`(seed: UInt64) throws {
    try expectGood("random-weather", seed: seed)
  }

  @Test(arguments: worlds(100))
  func `NAT boxes that forget, rebind and reboot keep nobody apart`(seed: UInt64) throws {
    try expectGood("nat", seed: seed)
  }

  @Test(arguments: worlds(60))
  func `clients that move are followed`(seed: UInt64) throws { try expectGood("roaming", seed: seed) }

  @Test(arguments: worlds(80))
  func `hosts that sleep for a moment or for hours find together again`(seed: UInt64) throws {
    try expectGood("sleepers", seed: seed)
  }

  @Test(arguments: worlds(60))
  func `daemons that start anew find together again`(seed: UInt64) throws { try expectGood("restarts", seed: seed) }

  @Test(arguments: worlds(60))
  func `clocks that jump lock nobody out`(seed: UInt64) throws { try expectGood("clock-steps", seed: seed) }

  @Test(arguments: worlds(60))
  func `an idle tunnel is silent, and forgets its keys`(seed: UInt64) throws { try expectGood("long-idle", seed: seed) }

  @Test(arguments: worlds(100))
  func `both ends initiating at once settle on one session, through any weather`(seed: UInt64) throws {
    try expectGood("both-initiate", seed: seed)
  }

  @Test(arguments: worlds(40))
  func `a rekey under load loses and reorders nothing`(seed: UInt64) throws {
    try expectGood("rekey-under-load", seed: seed)
  }

  @Test(arguments: worlds(40))
  func `sessions near 2^60 messages are renewed, and near their last counter end`(seed: UInt64) throws {
    try expectGood("counters", seed: seed)
  }

  @Test(arguments: worlds(60))
  func `private keys that change at any moment, at either end, keep nobody apart`(seed: UInt64) throws {
    try expectGood("key-changes", seed: seed)
  }

  @Test(arguments: worlds(70))
  func `an attacker who replays, injects, spoofs and forges changes nothing`(seed: UInt64) throws {
    try expectGood("attacked", seed: seed)
  }

  @Test(arguments: worlds(40))
  func `an attacker on the path who overtakes is escaped`(seed: UInt64) throws {
    try expectGood("overtaken", seed: seed)
  }

  @Test(arguments: worlds(40))
  func `a whole conversation played again has no effect`(seed: UInt64) throws {
    try expectGood("replayed", seed: seed)
  }

  @Test(arguments: worlds(30))
  func `a scanner without the public key gets no byte back`(seed: UInt64) throws {
    try expectGood("scanned", seed: seed)
  }

  @Test(arguments: worlds(100))
  func `tunnels that an attacker leads through each other carry a packet round for 70,000 bytes at most`(
    seed: UInt64
  ) throws { try expectGood("looped", seed: seed) }

  @Test(arguments: worlds(20))
  func `peers get through a flood by cookies, and strangers get cookie replies at most`(seed: UInt64) throws {
    try expectGood("flooded", seed: seed)
  }
}

@Suite struct `Single worlds` {
  @Test func `two hours at 2% loss and 5% reordering change no byte, and nothing comes twice`() throws {
    try expectGood("two-hours", seed: firstSeed)
  }

  @Test(arguments: worlds(10))
  func `handshakes begun and never finished leave nothing behind`(seed: UInt64) throws {
    try expectGood("half-open", seed: seed)
  }

  @Test func `a hundred thousand half-open handshakes are held in the memory of a few`() throws {
    try expectGood("half-open-100000", seed: firstSeed)
  }

  @Test func `one seed makes one world`() throws {
    let scenario = try #require(Scenario.named("random-weather"))
    let first = scenario.play(seed: firstSeed + 7), again = scenario.play(seed: firstSeed + 7)
    #expect(first.story == again.story)
    #expect(first.story.count > 100)
    #expect(first.story != scenario.play(seed: firstSeed + 8).story)
  }

  /// In a process of its own, for memory is the process's.
  @Test func `no byte of a session's key stands in memory after 540 s without one`() async {
    await #expect(processExitsWith: .success) {
      for seed: UInt64 in 0..<20 {
        let verdict = Scenario.named("long-idle")!.play(seed: seed, ownsProcess: true)
        precondition(verdict.isGood && verdict.sessions > 0, "\(verdict)")
      }
    }
  }
}
