import Testing
import WG6Linux

@testable import WG6Tunnel

@Suite struct `The reverse path filter` {
  @Test(
    arguments: [
      ([("all", 0), ("default", 1), ("lo", 1), ("eth0", 0)], nil), ([("all", 0), ("eth0", 0), ("eth1", 1)], "eth1"),
      ([("eth0", 0), ("all", 1)], "eth0"), ([("all", 1), ("eth0", 2)], nil), ([("all", 2), ("eth0", 1)], nil),
      ([("all", 1), ("lo", 0)], nil), ([], nil),
      ([("eth0", 0)], nil), ([("eth0", 1)], "eth0"),
    ] as [([(String, Int)], String?)])
  func `is strict where the larger of two settings is 1`(settings: [(String, Int)], expected: String?) {
    #expect(ReversePathFilter.strict(settings.map { (interface: $0.0, value: $0.1) }) == expected)
  }
}

@Suite(.enabled(if: OwnMachine.isPossible, OwnMachine.absence)) struct `A kernel setting that two tunnels need` {
  @Test(arguments: [["wg0", "wg1"], ["wg1", "wg0"]])
  func `is remembered as it was before both, and is that again when both are down`(order: [String]) throws {
    try OwnMachine.run {
      let name = Setup.markedAnswers
      try Sysctl.set(name, to: "0")
      for interface in ["wg0", "wg1"] {
        try StateDirectory.prepare()
        var journal = try Journal.begin(interface, [.namespace(.this)])
        try Self.tunnel(interface).set(name, to: "1", &journal)
        try OwnMachine.require(
          journal.contains(.setting(name: name, before: "0")), "the journal of \(interface) says what it was")
      }
      for (interface, value) in zip(order, ["1", "0"]) {
        let tunnel = Self.tunnel(interface)
        guard let journal = try tunnel.readJournal() else { throw OwnMachine.Disproved(description: "no journal") }
        let remains = tunnel.undo(journal)
        try OwnMachine.require(remains.problems.isEmpty, "all of \(interface) can be undone: \(remains.problems)")
        tunnel.end(journal, remains)
        try OwnMachine.require(Sysctl.value(of: name) == value, "it is \(value) after \(interface) went down")
      }
    }
  }

  @Test func `is left alone where it had that value before any tunnel`() throws {
    try OwnMachine.run {
      let name = Setup.markedAnswers
      try Sysctl.set(name, to: "1")
      try StateDirectory.prepare()
      var journal = try Journal.begin("wg0", [.namespace(.this)])
      try Self.tunnel("wg0").set(name, to: "1", &journal)
      try OwnMachine.require(!journal.entries.contains { $0.isSetting(name) }, "nothing is to be undone")
    }
  }

  private static func tunnel(_ interface: String) -> Tunnel {
    Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
  }
}
