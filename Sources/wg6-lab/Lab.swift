import ArgumentParser
import Foundation
import WG6Harness

/// Plays the project's scenarios on network namespaces and tells what it does.
@main
struct LabCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wg6-lab",
    abstract: "Networks in a box: watch the scenarios that wg6 is tested with, and explore them by hand.",
    subcommands: [List.self, Run.self, Bench.self, Clean.self])
}

/// `wg6-lab list`
struct List: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show the scenarios.")

  func run() {
    let width = Scenario.all.map(\.name.count).max() ?? 0
    for scenario in Scenario.all {
      print(scenario.name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + scenario.summary)
    }
  }
}

/// `wg6-lab run NAME`, `wg6-lab run --all`
struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Play a scenario, or the situations of Examples/, telling what happens.",
    discussion: "Needs root. Exit status 1 when a claim did not hold, 69 when something that it needs is missing.")

  @Argument(help: "The scenario's name, as list shows it.", completion: .list(Scenario.all.map(\.name)))
  var name: String?

  @Flag(help: "Play each situation of Examples/, and end with a table.")
  var all = false

  @Flag(help: "Leave the network and the programs for exploring, and print how to enter them.")
  var keep = false

  @Option(help: "Whose daemon to play it with: wg6 or wireguard-go.")
  var implementation: String = Implementation.chosen.rawValue

  @Option(help: "How many minutes a scenario that can go on for long (stress) shall do so.")
  var minutes: Double?

  func validate() throws {
    guard all != (name != nil) else { throw ValidationError("give a scenario's name, or --all") }
    guard !all || !keep && minutes == nil else { throw ValidationError("--keep and --minutes are for one scenario") }
  }

  func run() throws {
    guard let implementation = Implementation(rawValue: implementation), implementation != .kernel else {
      throw ValidationError("no implementation \(implementation); there are wg6 and wireguard-go")
    }
    Interruption.clearsLabs()
    let tell: @Sendable (String) -> Void = { FileHandle.standardOutput.write(Data(($0 + "\n").utf8)) }
    guard let name else {
      let table = SituationTable.play(implementation: implementation, say: tell)
      tell("\n" + table.text)
      if table.hasFailures { throw ExitCode.failure }
      if table.hasMissing { throw ExitCode(69) }
      return
    }
    guard let scenario = Scenario.named(name) else {
      throw ValidationError("no scenario \(name); wg6-lab list shows them")
    }
    do {
      try scenario.run(implementation: implementation, stays: keep, minutes: minutes, say: tell)
    } catch let missing as Prerequisite.Missing {
      FileHandle.standardError.write(Data("\(missing)\n".utf8))
      throw ExitCode(69)
    } catch {
      FileHandle.standardError.write(Data("\(error)\n".utf8))
      throw ExitCode.failure
    }
  }
}

/// `wg6-lab clean`
struct Clean: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Remove what kept or crashed labs have left. Labs that are at work are left alone.")

  func run() {
    let labs = Sweep.everything()
    print(labs.isEmpty ? "nothing to remove" : "removed " + labs.joined(separator: " "))
  }
}
