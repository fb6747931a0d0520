import WG6Protocol

/// A kind of world: how it is built from a seed, what happens in it, and what is claimed of it besides what is claimed
/// of every world.
public struct Scenario: Sendable {
  public let name: String
  public let summary: String
  private let claims: @Sendable () -> [any Claim]
  private let isObserved: Bool
  private let happen: @Sendable (World) -> Void

  /// - Parameter isObserved: whether what is claimed of every world is claimed of this one, too.
  init(
    _ name: String, _ summary: String, claims: @escaping @Sendable () -> [any Claim] = { [] },
    isObserved: Bool = true, _ happen: @escaping @Sendable (World) -> Void
  ) {
    self.name = name
    self.summary = summary
    self.claims = claims
    self.isObserved = isObserved
    self.happen = happen
  }

  /// Those that are short enough to be played by the thousand.
  public static let short: [Scenario] = [
    randomWeather, nat, roaming, sleepers, restarts, clockSteps, longIdle, bothInitiate, rekeyUnderLoad, counters,
    keyChanges, attacked, overtaken, replayed, scanned, flooded, halfOpen, looped,
  ]

  /// Those that take a second or more.
  public static let long: [Scenario] = [twoHours, halfOpen100000]

  /// Every scenario, in the order to tell them in.
  public static let all = short + long

  public static func named(_ name: String) -> Scenario? { all.first { $0.name == name } }

  /// Plays one world from its beginning to its end.
  ///
  /// - Parameter ownsProcess: whether nothing else in this process works with secrets meanwhile, so that their memory can
  ///   be searched.
  public func play(seed: UInt64, ownsProcess: Bool = false) -> Verdict {
    let world = World(seed: seed)
    let observer = Observer(claims(), ownsProcess: ownsProcess, asksAll: isObserved)
    world.observer = observer
    happen(world)
    observer.end(in: world)
    world.end()
    return Verdict(
      scenario: name, seed: seed, violations: observer.violations, duration: world.now.monotonic - world.startedAt,
      packetsSent: Int(world.packetCount), packetsAccepted: observer.acceptedPackets, sessions: observer.sessions,
      trace: world.trace, startedAt: world.startedAt)
  }
}

/// How a world went.
public struct Verdict: Sendable, CustomStringConvertible {
  public let scenario: String
  public let seed: UInt64
  public let violations: [Violation]
  /// Of the world's own time.
  public let duration: Nanoseconds
  public let packetsSent: Int
  public let packetsAccepted: Int
  public let sessions: Int
  let trace: Trace
  let startedAt: Nanoseconds

  public var isGood: Bool { violations.isEmpty }

  /// The last few hundred things that happened, a line each.
  public var story: [String] { trace.lines(since: startedAt) }

  public var description: String {
    let world =
      "\(scenario), seed \(seed): \(duration / Limits.second) s, \(packetsSent) packets sent, \(packetsAccepted) "
      + "accepted, \(sessions) sessions"
    guard !isGood else { return "✓ " + world }
    return
      (["✗ " + world] + violations.map(\.description) + [
        "  swift run wg6-simulate --scenario \(scenario) --seed \(seed)"
      ])
      .joined(separator: "\n")
  }
}
