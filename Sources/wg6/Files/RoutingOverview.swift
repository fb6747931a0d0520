import WG6Config
import WG6Protocol

/// Where a file sends what, in words.
struct RoutingOverview {
  private let file: String
  private let configuration: ConfigurationFile
  private let coverage: Coverage
  private let names: PeerNames
  /// The endpoints that addresses of the tunnel are, and the place of a peer that is there.
  private let endpoints: [IPAddress: Int]
  /// The routes that the tunnel's own datagrams would take without their mark, and stand in the tunnel's own table.
  private let markedRoutes: Swift.Set<IPPrefix>
  /// The networks that this machine is on itself.
  private let connected: [IPPrefix]

  init(
    file: String, _ configuration: ConfigurationFile, _ coverage: Coverage, endpoints: [EndpointName: Endpoint],
    connected: [IPPrefix]
  ) throws {
    names = try PeerNames()
    // With 'lan' excluded, the main table is asked about local networks alone.
    self.connected = configuration.excludesLAN ? connected.filter(\.isLocalNetwork) : connected
    self.file = file
    self.configuration = configuration
    self.coverage = coverage
    var inside: [IPAddress: Int] = [:]
    if configuration.table == .automatic {
      for (place, peer) in configuration.peers.enumerated() {
        guard let address = peer.endpoint.flatMap({ endpoints[$0]?.address }), inside[address] == nil,
          coverage.covered.contains(address)
        else { continue }
        inside[address] = place
      }
    }
    self.endpoints = inside
    markedRoutes = Swift.Set(
      coverage.specificRoutes().filter { route in
        inside.keys.contains { $0.isIPv6 == route.address.isIPv6 && route.contains($0) }
      })
  }

  /// A line for each prefix, both families in the order of their addresses.
  var lines: [String] {
    var rows = coverage.assignments.map {
      Row(prefix: $0.prefix, peer: name($0.choice.peer), place: place(of: $0.choice, $0.prefix.address))
    }
    rows += configuration.peers.enumerated().flatMap { place, peer in
      peer.derivedIPs.filter(\.isOfLink).map { Row(prefix: $0.prefix, peer: name(place), place: "this link") }
    }
    rows += coverage.excluded.prefixes.map { Row(prefix: $0, peer: "-", place: "excluded\(reason($0.address))") }
    rows.sort { $0.order < $1.order }
    let widths = (rows.map(\.prefix.description.count).max() ?? 0, rows.map(\.peer.count).max() ?? 0)
    return rows.map { "\($0.prefix.description.padded(to: widths.0))  \($0.peer.padded(to: widths.1))  \($0.place)" }
  }

  /// Where `address` goes, and why.
  func explanation(_ address: IPAddress) -> [String] {
    let decision = coverage.decision(for: address)
    var lines: [String] = []
    if let choice = decision.choice {
      lines.append(
        "\(address) goes to \(name(choice.peer)), by AllowedIPs = \(choice.prefix) (\(file):\(choice.line)); "
          + "route: \(place(of: choice, address))")
      if let place = endpoints[address] {
        let line = configuration.peers[place].endpointLine
        lines.append(
          "it is the endpoint of \(name(place)) (\(file):\(line)): the tunnel's own datagrams, by their mark, stay outside"
        )
      }
      if configuration.table == .automatic, choice.prefix.length == 0,
        let network = connected.first(where: { $0.contains(address) })
      {
        lines.append(
          "but this machine is on \(network) itself, and its own routes are asked before a default route: there it goes"
        )
      }
    } else {
      let reason = decision.exclusions.isEmpty ? ": no peer's AllowedIPs have it" : ""
      lines.append("\(address) stays outside the tunnel\(reason)")
    }
    for exclusion in decision.exclusions {
      let who = exclusion.peer.map { "\(name($0)) does not get it" } ?? "no peer gets it"
      lines.append("\(who), by ExcludedIPs = \(exclusion.words) (\(file):\(exclusion.line))")
    }
    return lines
  }

  private func name(_ place: Int) -> String {
    names.name(configuration.peers[place].publicKey)
  }

  /// Where the route of `address` goes, which an element of AllowedIPs has.
  private func place(of choice: Decision.Choice, _ address: IPAddress) -> String {
    switch configuration.table {
    case .off: "no route"
    case .number(let number): "table \(number)"
    case .automatic: choice.prefix.length == 0 || isMarked(address) ? "own table" : "main"
    }
  }

  /// Routes of one length are apart.
  private func isMarked(_ address: IPAddress) -> Bool {
    let route = coverage.specificRoutes().first { $0.address.isIPv6 == address.isIPv6 && $0.contains(address) }
    return route.map(markedRoutes.contains) ?? false
  }

  private func reason(_ address: IPAddress) -> String {
    guard let exclusion = coverage.decision(for: address).exclusions.first else { return "" }
    return " (\(exclusion.words), line \(exclusion.line))"
  }
}

private struct Row {
  let prefix: IPPrefix
  let peer: String
  let place: String

  var order: (Int, UInt64, UInt64, Int) {
    (prefix.address.isIPv6 ? 1 : 0, prefix.address.bits.high, prefix.address.bits.low, prefix.length)
  }
}

extension Decision.Exclusion {
  fileprivate var words: String { isLAN ? "lan (\(prefix))" : prefix.description }
}

extension String {
  fileprivate func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
