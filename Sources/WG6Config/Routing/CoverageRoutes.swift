import WG6Protocol

/// The routes that lead into a tunnel.
extension Coverage {
  /// Whether a peer's AllowedIPs hold all of the family, exclusions aside.
  public func hasDefaultRoute(isIPv6: Bool) -> Bool {
    tree(isIPv6: isIPv6).nodes.first?.prefix.length == 0
  }

  /// Routes to make, longest first: each prefix as written where nothing of it is excluded, the fewest prefixes for the
  /// rest. Endpoints are in them like any address; a mark leads the tunnel's own datagrams past them, and those alone.
  public func routes() -> [IPPrefix] {
    let specific = specificRoutes()
    let defaults = defaultRoutes(isIPv6: false) + defaultRoutes(isIPv6: true)
    guard !defaults.isEmpty else { return specific }
    return Coverage.longestFirst(Set(specific).union(defaults))
  }

  /// What stands for the family's prefix of length 0: itself, or the fewest prefixes that leave out what is excluded;
  /// nothing where there is no such prefix. With `Table = auto` these go to the tunnel's own table.
  public func defaultRoutes(isIPv6: Bool) -> [IPPrefix] {
    guard hasDefaultRoute(isIPv6: isIPv6) else { return [] }
    var all = PrefixSet([IPPrefix.all(isIPv6: isIPv6)])
    all.subtract(excluded)
    return all.prefixes
  }

  /// The routes for all longer prefixes; with `Table = auto` these go to the main table, but for those that an endpoint
  /// lies in.
  public func specificRoutes() -> [IPPrefix] {
    var routes: Set<IPPrefix> = []
    var withHoles: [IPPrefix] = []
    for entry in entries where entry.prefix.length > 0 {
      if excluded.intersects(entry.prefix) {
        withHoles.append(entry.prefix)
      } else {
        routes.insert(entry.prefix)
      }
    }
    if !withHoles.isEmpty {
      var rest = PrefixSet(withHoles)
      rest.subtract(excluded)
      routes.formUnion(rest.prefixes)
    }
    return Coverage.longestFirst(routes)
  }

  private static func longestFirst(_ prefixes: Set<IPPrefix>) -> [IPPrefix] {
    prefixes.map { (prefix: $0, order: (-$0.length, $0.isIPv6 ? 1 : 0, $0.address.number)) }
      .sorted { $0.order < $1.order }
      .map(\.prefix)
  }
}
