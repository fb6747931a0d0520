import Foundation

/// One situation on the network with claims about it: a test, and something to watch and explore.
///
/// How to write one stands in `docs/harness.md`.
public struct Scenario: Sendable {
  /// What `wg6-lab run` calls it.
  public let name: String
  /// One line for `wg6-lab list`.
  public let summary: String
  /// What must be there.
  public let needs: [Prerequisite]
  let play: @Sendable (Lab) throws -> Void

  init(
    _ name: String, _ summary: String, needs: [Prerequisite] = [], play: @escaping @Sendable (Lab) throws -> Void
  ) {
    self.name = name
    self.summary = summary
    self.needs = Prerequisite.always + needs
    self.play = play
  }

  /// Every scenario, in the order in which `wg6-lab list` shows them.
  public static let all: [Scenario] =
    [
      .demo, .interop, .roaming, .natKeepalive, .natRemap, .daemonStarts, .daemonEnds, .upAndDown, .moved,
      .stickySource,
      .oneFamily,
      .firewallMark, .portChange, .allowedIPsFilter, .wgQuick, .wireAbuse, .controlAbuse, .badWeather, .allocations,
      .flood, .floodThroughput, .scanner, .secrets,
      .counters, .packetSizes, .forgedPathMTU,
      .offloads, .transfer, .keys, .firstAnswers, .lateSettings, .nesting, .packetStorm, .policyRouting,
      .sourceAddresses, .betterRoute, .ownAddress, .lyingPeer, .derivedAddresses, .forgedPackets,
      .manyPrefixes, .manyPeers,
      .turnover, .unreachable, .errorSources, .leaks, .defaultRoute, .twoDefaultRoutes, .deletedRules, .hostileLAN,
      .hostileNames, .packetCapture,
      .stress, .loadGenerator, .execution,
      .sideBySide, .reloadUnderLoad, .reloadPairs, .crashMatrix, .exportedExclusions, .upSpeed,
    ] + situations

  /// What people do with a tunnel, each a folder under `Examples`.
  public static let situations: [Scenario] = [
    .roadWarrior, .broker, .twoRouters, .lookingGlass, .translator, .containers, .linkLocal,
  ]

  /// WG6_LONG=1 asks for the long form of those that have one.
  public static var isLong: Bool { ProcessInfo.processInfo.environment["WG6_LONG"] == "1" }

  /// The scenario of that name.
  public static func named(_ name: String) -> Scenario? {
    all.first { $0.name == name }
  }

  /// What of its needs is not there.
  public func missing(for implementation: Implementation) -> [Prerequisite] {
    needs.filter { !$0.isMet(implementation) }
  }

  /// What a scenario that held has shown.
  public struct Report: Sendable {
    /// How many claims have held.
    public internal(set) var claimCount = 0
    /// What was measured, in this order.
    public internal(set) var figures: [(name: String, value: String)] = []
    /// Why no other implementation can take a part in it, where one was asked for.
    public internal(set) var wg6Alone: String?
  }

  /// Plays it, and throws `Prerequisite.Missing`, or `ScenarioFailed` with the directory of the evidence.
  ///
  /// - Parameter minutes: how long a scenario without an end of its own runs.
  @discardableResult
  public func run(
    implementation: Implementation = .chosen, stays: Bool = false, minutes: Double? = nil,
    say: @escaping @Sendable (String) -> Void
  ) throws -> Report {
    let missing = missing(for: implementation)
    guard missing.isEmpty else { throw Prerequisite.Missing(scenario: name, missing: missing) }
    return try Lab.open(name, implementation: implementation, stays: stays, minutes: minutes, say: say) { lab in
      try play(lab)
      if stays { lab.explain() }
      return lab.report
    }
  }
}

extension Implementation {
  /// What WG6_IMPLEMENTATION names, or ours.
  public static var chosen: Implementation {
    ProcessInfo.processInfo.environment["WG6_IMPLEMENTATION"].flatMap(Implementation.init(rawValue:)) ?? .wg6
  }
}

extension Lab {
  /// Tells a person how to look around in a lab that stays.
  func explain() {
    say("")
    say("The lab stays. To look around:")
    for host in hosts { say("  \(directory)/enter \(host.name)          (network namespace \(host.namespace))") }
    guard let first = hosts.first else { return }
    say("for example:  \(directory)/enter \(first.name) wg show")
    say("Remove it with:  wg6-lab clean")
  }
}
