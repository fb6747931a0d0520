import Glibc
import WG6Linux
import WG6Protocol

/// A route that leads through the tunnel and by other interfaces too: its sources may come by each of them, and by no other.
///
/// What the packet filter is told of a route is one next hop: of IPv4 the first, of IPv6 one that the packet's own header
/// chooses, and so its sender.
struct MultipathRoute: Hashable, Sendable {
  var prefix: IPPrefix
  /// The other interfaces, in an order that stays the same.
  var interfaces: [String]
  /// Longer routes through the tunnel alone.
  var exceptions: [IPPrefix] = []

  /// The routes of this kind among `routes`, which are those through the tunnel; the longest first, whatever their tables. Default
  /// routes are left aside, and so is one that leads by an interface whose name can't stand in a rule.
  static func all(among routes: [RouteHops], through link: Int32) -> [MultipathRoute] {
    let alone = Set(routes.filter { $0.interfaces.allSatisfy { $0 == link } }.map(\.prefix))
    let several = routes.compactMap { route -> MultipathRoute? in
      let others = Set(route.interfaces).subtracting([link]).compactMap { index -> String? in
        var bytes = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        guard unsafe if_indextoname(UInt32(index), &bytes) != nil else { return nil }
        return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      }
      guard !others.isEmpty, route.prefix.length > 0, others.allSatisfy(FirewallRules.canName) else { return nil }
      let inside = alone.filter { $0.length > route.prefix.length && route.prefix.contains($0.address) }
      return MultipathRoute(prefix: route.prefix, interfaces: others.sorted(), exceptions: inside.sorted())
    }
    return Set(several).sorted {
      ($1.prefix.length, $0.prefix, $0.interfaces.joined()) < ($0.prefix.length, $1.prefix, $1.interfaces.joined())
    }
  }

  /// What the filter does with a source in the prefix; `within` says which sources it looks at.
  func filterText(within: String) -> String {
    let field = prefix.address.isIPv6 ? "ip6" : "ip"
    let names = "{ \(interfaces.map { "\"\($0)\"" }.joined(separator: ", ")) }"
    let but =
      exceptions.isEmpty
      ? "" : "\(field) saddr != { \(exceptions.map(\.filterText).joined(separator: ", ")) } "
    let source = "    \(field) saddr \(prefix.filterText) "
    return source + "\(but)iifname \(names) accept\n"
      + source + "\(within)fib saddr . mark oifname \(names) fib saddr . mark . iif oif missing jump forged\n"
  }
}
