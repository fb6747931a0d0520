import WG6Crypto
import WG6Protocol

/// What a person should hear before a tunnel is brought up from a file: nothing that is wrong, and much that goes wrong.
extension ConfigurationFile {
  /// What the lines mean together and probably should not, in the order of the lines; `warnings`, about single lines, are
  /// not among it.
  ///
  /// - Parameters:
  ///   - isWorldAccessible: whether anybody may read the file.
  ///   - coverage: of this file.
  ///   - endpoints: the endpoints whose addresses are known.
  ///   - name: what to call a peer.
  public func findings(
    named file: String, isWorldAccessible: Bool, coverage: Coverage, endpoints: [EndpointName: Endpoint],
    name: (PublicKey) -> String
  ) -> [FileMistake] {
    var findings = takeovers(named: file, name: name)
    func tell(_ warning: Warning, _ line: Int, _ message: String) {
      findings.append(FileMistake(file: file, line: line, message: message, warning: warning))
    }
    if isWorldAccessible, let secretLine {
      tell(.readableKey, secretLine, "a secret key, in a file that anybody may read")
    }
    tellAboutDefaultRoutes(coverage, tell)
    tellAboutEndpoints(coverage, endpoints, tell)
    tellAboutAddresses(coverage, tell)
    tellAboutIdleSettings(coverage, tell)
    tellAboutRouters(coverage, endpoints, tell)
    tellAboutMissing(coverage, tell)
    return withoutSilent(findings).sorted { $0.line < $1.line }
  }

  /// A prefix belongs to one peer: the later one has it (the kernel says nothing).
  public func takeovers(named file: String, name: (PublicKey) -> String) -> [FileMistake] {
    var findings: [FileMistake] = []
    var owners: [IPPrefix: (peer: Int, line: Int)] = [:]
    for (place, peer) in peers.enumerated() {
      for case (.add(let prefix), let line) in zip(peer.allowedIPs, peer.allowedIPLines) {
        guard let owner = owners.updateValue((place, line), forKey: prefix),
          peers[owner.peer].publicKey != peer.publicKey
        else { continue }
        let (taker, loser) = (name(peer.publicKey), name(peers[owner.peer].publicKey))
        findings.append(
          FileMistake(
            file: file, line: line, message: "\(taker) takes \(prefix) from \(loser) (line \(owner.line))",
            warning: .takeover))
      }
    }
    return withoutSilent(findings)
  }

  /// Half a default route is the usual leak.
  private func tellAboutDefaultRoutes(_ coverage: Coverage, _ tell: Tell) {
    guard table != .off else { return }
    let written = PrefixSet(coverage.entries.lazy.map(\.prefix))
    for isIPv6 in [false, true]
    where written.containsAll(of: .all(isIPv6: isIPv6)) && !written.containsAll(of: .all(isIPv6: !isIPv6)) {
      guard
        let widest = coverage.entries.filter({ $0.prefix.isIPv6 == isIPv6 }).min(by: {
          $0.prefix.length < $1.prefix.length
        })
      else { continue }
      let (family, other) = isIPv6 ? ("IPv6", "IPv4") : ("IPv4", "IPv6")
      tell(
        .oneFamily, widest.line,
        "all of \(family) goes through the tunnel, \(other) does not; \(isIPv6 ? "0.0.0.0/0" : "::/0") is missing, perhaps"
      )
    }
  }

  /// A tunnel's own datagrams should not want to go through it. Past its routes they are led by their mark; past the kernel's
  /// route to an address's network, and in a table whose rules the file does not say, they are not.
  private func tellAboutEndpoints(
    _ coverage: Coverage, _ endpoints: [EndpointName: Endpoint], _ tell: Tell
  ) {
    guard table != .off else { return }
    let places = placesOfPeers
    for peer in peers {
      guard let name = peer.endpoint, let endpoint = endpoints[name] else { continue }
      let known = name.text.contains("\(endpoint.address)") ? "" : " (\(endpoint.address))"
      let network = zip(addresses, addressLines).first { address, _ in
        let prefix = IPPrefix(address.address, length: address.prefixLength)
        return prefix.length < prefix.address.bitWidth && address.address.isIPv6 == endpoint.address.isIPv6
          && prefix.contains(endpoint.address)
      }
      if let (address, line) = network {
        tell(
          .insideEndpoint, peer.endpointLine,
          "Endpoint = \(name)\(known) lies in the network of Address = \(address) (line \(line)), "
            + "whose route leads the tunnel's own datagrams into the tunnel")
      } else if table != .automatic, !coverage.hasDefaultRoute(isIPv6: endpoint.address.isIPv6),
        let choice = coverage.decision(for: endpoint.address).choice, choice.peer == places[peer.publicKey]
      {
        tell(
          .insideEndpoint, peer.endpointLine,
          "Endpoint = \(name)\(known) lies in the peer's own AllowedIPs = \(choice.prefix) (line \(choice.line)); "
            + "without a rule of yours its own datagrams may be led into the tunnel")
      }
    }
  }

  /// An address whose neighbours are nobody's. An address alone (/32, /128) has none; it is of use where any prefix of its
  /// family is a peer's.
  private func tellAboutAddresses(_ coverage: Coverage, _ tell: Tell) {
    let derived = derivedNetworks.map { addresses[$0.place] }
    // Each peer has an address there.
    for (address, line) in zip(addresses, addressLines) where !derived.contains(address) {
      let isIPv6 = address.address.isIPv6
      if coverage.tree(isIPv6: isIPv6).nodes.isEmpty {
        if peers.isEmpty { continue }
        tell(.unusedAddress, line, "Address = \(address): no peer has AllowedIPs of \(isIPv6 ? "IPv6" : "IPv4")")
      } else if address.prefixLength < address.address.bitWidth {
        let network = IPPrefix(address.address, length: address.prefixLength)
        if coverage.covered.intersects(network) { continue }
        tell(.unusedAddress, line, "Address = \(address): nothing in \(network) is in any peer's AllowedIPs")
      }
    }
  }
}
