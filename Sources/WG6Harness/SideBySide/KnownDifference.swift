import Foundation

/// A way in which wg6 does not do what wg-quick does, on purpose. All of them stand in docs/wg-quick.md; what is not one of
/// them fails the scenario.
struct KnownDifference: Sendable {
  /// What it is about.
  let name: String
  let wgQuick: String
  let wg6: String
  let reason: String
  /// Takes the facts that it is the reason of out of the difference, and only those.
  let explain: @Sendable (QuickCase, inout Difference) -> Void
  /// Whether it is about what stays after `down`: then `left` is before, and `right` after wg-quick's.
  var isOfDown = false

  /// In the order of the documentation.
  static let all: [KnownDifference] = [mtu, endpointRoutes, validMark]

  /// Takes out all that is known about a tunnel that is up. Returns the names of what was.
  static func explain(_ difference: inout Difference, of quick: QuickCase) -> [String] {
    all.filter { !$0.isOfDown }.filter { known in
      let before = difference.left.count + difference.right.count
      known.explain(quick, &difference)
      return difference.left.count + difference.right.count < before
    }.map(\.name)
  }

  /// The same for what wg-quick leaves behind.
  static func explainRemains(_ difference: inout Difference) -> [String] {
    all.filter(\.isOfDown).filter { known in
      let before = difference.left.count + difference.right.count
      known.explain(QuickCase(""), &difference)
      return difference.left.count + difference.right.count < before
    }.map(\.name)
  }

  /// As it stands in the documentation.
  static var table: String {
    let head = "| what | wg-quick | wg6 | why |\n|---|---|---|---|\n"
    return head + all.map { "| \($0.name) | \($0.wgQuick) | \($0.wg6) | \($0.reason) |\n" }.joined()
  }

  static let mtu = KnownDifference(
    name: "MTU without `MTU =`",
    wgQuick: "80 bytes less than the largest of the endpoints' routes takes",
    wg6: "60 bytes less for an IPv4 endpoint, 80 for an IPv6 one; the smallest of the endpoints wins",
    reason: "an IPv4 header is 20 bytes shorter; and the largest would be too large for the other endpoints"
  ) { quick, difference in
    guard let wanted = quick.mtu else { return }
    let ours = Fact(.link, "\(QuickCase.interface) mtu \(wanted)")
    guard difference.right.contains(ours) else { return }
    difference.right.remove(ours)
    difference.left = difference.left.filter { !($0.area == .link && $0.text.hasPrefix("\(QuickCase.interface) mtu ")) }
  }

  static let endpointRoutes = KnownDifference(
    name: "an endpoint inside its peer's allowed IPs, no default route",
    wgQuick: "routes the prefix as a whole, so that the tunnel's own packets go into the tunnel",
    wg6: "routes the prefix without the endpoint; what the peer may send is as in the file",
    reason: "such a tunnel does not work"
  ) { quick, difference in
    let theirs = difference.left.compactMap { InterfaceRoute($0) }.filter { route in
      quick.endpoints.contains { route.prefix.contains($0) }
    }
    for route in theirs {
      let cover = Set(route.prefix.without(quick.endpoints))
      let ours = difference.right.filter { fact in
        guard let own = InterfaceRoute(fact) else { return false }
        return cover.contains(own.prefix) && own.rest == route.rest
      }
      guard ours.count == cover.count else { continue }
      difference.left.remove(route.fact)
      difference.right.subtract(ours)
    }
  }

  static let validMark = KnownDifference(
    name: "`net.ipv4.conf.all.src_valid_mark` after `down`",
    wgQuick: "stays 1",
    wg6: "is what it was before `up`",
    reason: "`down` takes back what `up` did",
    explain: { _, difference in
      let name = "net/ipv4/conf/all/src_valid_mark"
      let facts = (before: Fact(.sysctl, "\(name) = 0"), after: Fact(.sysctl, "\(name) = 1"))
      guard difference.left.contains(facts.before), difference.right.contains(facts.after) else { return }
      difference.left.remove(facts.before)
      difference.right.remove(facts.after)
    }, isOfDown: true)
}

/// A route into the tunnel, read from a snapshot's fact: `IPv4 10.70.0.0/16 dev wgq protocol boot …`.
private struct InterfaceRoute {
  let fact: Fact
  let prefix: Prefix
  /// Everything but the prefix.
  let rest: String

  init?(_ fact: Fact) {
    let words = fact.text.split(separator: " ", maxSplits: 2)
    guard fact.area == .route, words.count == 3, words[2].hasPrefix("dev \(QuickCase.interface) "),
      let prefix = Prefix(words[1], isIPv6: words[0] == "IPv6")
    else { return nil }
    self.fact = fact
    self.prefix = prefix
    rest = words[0] + " " + words[2]
  }
}
