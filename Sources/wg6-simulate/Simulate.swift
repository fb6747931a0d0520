import ArgumentParser
import WG6Crypto
import WG6Simulation

/// Plays simulated worlds: one that went wrong, with its story, or thousands of new ones.
@main
struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wg6-simulate",
    abstract: "Worlds in a box: devices on a virtual network and clock, everything from one seed.",
    discussion: """
      --seed replays one world and tells its story. Without it, --count worlds of a scenario are played, or with --nightly \
      of all of them in turn, and only those that went wrong are told. Exit status 1 when a claim did not hold.
      """)

  @Flag(help: "Show the scenarios.")
  var list = false

  @Option(help: "Which scenario.", completion: .list(Scenario.all.map(\.name)))
  var scenario: String?

  @Option(help: "The seed of the one world to play.")
  var seed: UInt64?

  @Flag(help: "Play thousands of worlds over all scenarios.")
  var nightly = false

  @Option(help: "How many worlds.")
  var count: Int?

  @Option(help: "The first seed.")
  var from: UInt64 = 0

  @Flag(help: "With --seed, tell no story, only how it went.")
  var quiet = false

  func validate() throws {
    if let scenario, Scenario.named(scenario) == nil {
      throw ValidationError("no scenario \(scenario); --list shows them")
    }
    guard list || nightly || scenario != nil else {
      throw ValidationError("say --list, --nightly or --scenario")
    }
    if let count, count < 1 { throw ValidationError("--count is at least 1") }
  }

  func run() throws {
    if list {
      let width = Scenario.all.map(\.name.count).max() ?? 0
      for scenario in Scenario.all {
        print(scenario.name + String(repeating: " ", count: width + 2 - scenario.name.count) + scenario.summary)
      }
      return
    }
    guard prepareCryptography() else { throw CleanExit.message("libsodium does not work on this machine") }
    if let seed, let scenario = scenario.flatMap(Scenario.named) {
      try replay(scenario, seed: seed)
    } else {
      try playMany()
    }
  }

  private func replay(_ scenario: Scenario, seed: UInt64) throws {
    let verdict = scenario.play(seed: seed, ownsProcess: true)
    if !quiet { for line in verdict.story { print(line) } }
    print(verdict)
    if !verdict.isGood { throw ExitCode.failure }
  }

  private func playMany() throws {
    let scenarios = scenario.flatMap(Scenario.named).map { [$0] } ?? Scenario.short
    let count = count ?? (nightly ? 5000 : 100)
    var worlds = (0..<count).map { (scenarios[$0 % scenarios.count], from &+ UInt64($0)) }
    // The long ones have their turn once a thousand worlds, and at least once.
    if scenario == nil {
      for long in Scenario.long { worlds += (0..<max(1, count / 1000)).map { (long, from &+ UInt64($0)) } }
    }
    var failures = 0, packets = 0
    for (scenario, seed) in worlds {
      let verdict = scenario.play(seed: seed, ownsProcess: true)
      packets += verdict.packetsAccepted
      if !verdict.isGood {
        failures += 1
        print(verdict)
      }
    }
    print("\(worlds.count) worlds from seed \(from), \(packets) packets accepted, \(failures) worlds gone wrong")
    if failures > 0 { throw ExitCode.failure }
  }
}
