import WG6Protocol

/// Where packets to an address go, and why.
public struct Decision: Hashable, Sendable {
  /// An element of AllowedIPs, as it was written.
  public struct Choice: Hashable, Sendable {
    /// The peer's place in the file.
    public let peer: Int
    public let prefix: IPPrefix
    public let line: Int
  }

  /// An element of ExcludedIPs that kept a peer from the address.
  public struct Exclusion: Hashable, Sendable {
    /// The peer's place in the file; `nil` where the whole interface excludes the address.
    public let peer: Int?
    /// What was written, or the network that `lan` stood for.
    public let prefix: IPPrefix
    public let isLAN: Bool
    public let line: Int
  }

  /// Who gets it; `nil` where it stays outside the tunnel.
  public let choice: Choice?
  /// Why those did not who had longer prefixes, the longest first. Empty without a choice: nobody's AllowedIPs have it.
  public let exclusions: [Exclusion]

  /// The peer's place in the file.
  public var peer: Int? { choice?.peer }
}

extension Coverage {
  /// Where a packet to `address` goes and why. Costs a binary search, and a step for each prefix that has it.
  public func decision(for address: IPAddress) -> Decision {
    let tree = tree(isIPv6: address.isIPv6)
    var index = tree.node(containing: address.number)
    if index != nil, let element = exclusions.interface.element(with: address) {
      return Decision(choice: nil, exclusions: [Decision.Exclusion(element, peer: nil)])
    }
    var reasons: [Decision.Exclusion] = []
    while let node = index {
      let entry = entries[tree.nodes[node].entry]
      guard let element = exclusions.peers[entry.peer]?.element(with: address) else {
        let choice = Decision.Choice(peer: entry.peer, prefix: entry.prefix, line: entry.line)
        return Decision(choice: choice, exclusions: reasons)
      }
      if !reasons.contains(where: { $0.peer == entry.peer }) {
        reasons.append(Decision.Exclusion(element, peer: entry.peer))
      }
      index = tree.nodes[node].parent
    }
    return Decision(choice: nil, exclusions: reasons)
  }
}

extension Decision.Exclusion {
  fileprivate init(_ element: ExclusionTable.Element, peer: Int?) {
    self.init(peer: peer, prefix: element.prefix, isLAN: element.isLAN, line: element.line)
  }
}

/// A prefix that the device is configured with, and why.
public struct Assignment: Hashable, Sendable {
  public let prefix: IPPrefix
  /// The element of AllowedIPs that it is, or is a part of.
  public let choice: Decision.Choice
}

extension Coverage {
  /// Everything that the device is configured with, in the order of the file.
  public var assignments: [Assignment] {
    entries.enumerated().flatMap { index, entry in
      let choice = Decision.Choice(peer: entry.peer, prefix: entry.prefix, line: entry.line)
      return (pieces[index] ?? [entry.prefix]).map { Assignment(prefix: $0, choice: choice) }
    }
  }
}
