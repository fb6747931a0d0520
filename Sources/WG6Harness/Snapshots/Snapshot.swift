/// What of a machine a tunnel could change, as facts that a person can read and a program can compare.
///
/// Two machines that were made alike and had the same done to them have the same facts: what differs by chance (ports
/// that the kernel drew, the link-local address that it made up for the tunnel) is not in them.
public struct Snapshot: Hashable, Sendable {
  public var facts: Set<Fact>

  init(_ facts: some Sequence<Fact>) {
    self.facts = Set(facts)
  }

  init() { facts = [] }

  /// The facts of some areas only.
  func only(_ areas: Set<Fact.Area>) -> Snapshot {
    Snapshot(facts.filter { areas.contains($0.area) })
  }

  func without(_ areas: Set<Fact.Area>) -> Snapshot {
    only(Set(Fact.Area.allCases).subtracting(areas))
  }

  /// The same with rules numbered by their order: what counts of a priority is which rule is asked first.
  var withRulesInOrder: Snapshot {
    // "IPv4 32765: not from all …"
    let rules = facts.filter { $0.area == .rule }
      .map { (fact: $0, words: $0.text.split(separator: " ", maxSplits: 2)) }
      .sorted { (Int($0.words[1].dropLast()) ?? 0) < (Int($1.words[1].dropLast()) ?? 0) }
    let numbered = ["IPv4", "IPv6"].flatMap { family in
      rules.filter { $0.words[0] == family }.enumerated().map { place, rule in
        Fact(.rule, "\(family) \(place): \(rule.words[2])")
      }
    }
    return Snapshot(facts.subtracting(rules.map(\.fact)).union(numbered))
  }

  /// The texts of an area's facts, sorted.
  func texts(of area: Fact.Area) -> [String] {
    facts.filter { $0.area == area }.map(\.text).sorted()
  }
}

/// One thing that is so on a machine.
public struct Fact: Hashable, Sendable, Comparable, CustomStringConvertible {
  public enum Area: String, CaseIterable, Sendable {
    case outcome, link, address, route, rule, firewall, sysctl
    /// What `wg show` says.
    case device = "wg"
    case resolver
    case hook
    /// A line of the configuration file that `SaveConfig` wrote.
    case saved
    /// What lies in /run/wireguard and /run/wg6.
    case file
  }

  public let area: Area
  public let text: String

  init(_ area: Area, _ text: String) {
    self.area = area
    self.text = text
  }

  public var description: String { "\(area.rawValue): \(text)" }

  public static func < (left: Fact, right: Fact) -> Bool {
    left.area == right.area ? left.text < right.text : left.area.rawValue < right.area.rawValue
  }
}

/// What two snapshots do not share.
public struct Difference: Sendable, CustomStringConvertible {
  /// The names that the two sides have in a text.
  var names = (left: "before", right: "after")
  public var left: Set<Fact>
  public var right: Set<Fact>

  init(_ left: Snapshot, _ right: Snapshot, names: (left: String, right: String) = ("before", "after")) {
    self.names = names
    self.left = left.facts.subtracting(right.facts)
    self.right = right.facts.subtracting(left.facts)
  }

  public var isEmpty: Bool { left.isEmpty && right.isEmpty }

  /// A line a fact, beginning with the side that has it.
  public var description: String {
    (left.sorted().map { "only \(names.left): \($0)" } + right.sorted().map { "only \(names.right): \($0)" })
      .joined(separator: "\n")
  }
}
