import WG6Crypto
import WG6Protocol

extension ConfigurationFile {
  /// Appends what `wg-quick save` writes into the file that this one was read from: `shown`, which is the text of
  /// `showconf` for the running interface, with the file's other settings in its [Interface].
  ///
  /// `addresses` are those that the interface has now. `mtu` is its own now, and is kept where the file set one. Unlike
  /// wg-quick this keeps the domains of `DNS`, and our keys. A peer whose allowed IPs are still those that `coverage` made
  /// of the file gets back what the file says, with its exclusions: a cut prefix would no longer be a default route.
  public func writeSaved(
    _ shown: RawSpan, addresses: [InterfaceAddress], mtu: Int?, coverage: Coverage, to output: inout WipedBytes
  ) {
    var peer: Int?
    var derived: Set<IPPrefix> = []
    let sections = derivedNetworks.isEmpty ? [:] : Dictionary(grouping: peers, by: \.publicKey)
    let isAlone = !derivedNetworks.isEmpty && shown.count(of: "PublicKey = ") == 1
    var start = 0
    // Blank lines at the end are the shell's to drop.
    let end = shown.trimming(0..<shown.byteCount).upperBound
    let places = placesOfPeers
    let written = coverage.pieces.isEmpty ? [:] : prefixes(of: coverage)
    while start < end {
      let lineEnd = shown.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? end
      let line = shown.extracting(start..<min(lineEnd, end))
      start = lineEnd + 1
      if let peer, let list = line.value(behind: "AllowedIPs = "),
        let prefixes = written[peer], line.extracting(list).holds(coverage.allowedIPs[peer])
      {
        output.append(prefixes)
        continue
      }
      if let list = line.value(behind: "AllowedIPs = "), !derived.isEmpty {
        let value = line.extracting(list)
        let elements = value.listElements.map { value.extracting($0).string }
        let written = elements.filter { element in IPPrefix(element).map { !derived.contains($0) } ?? true }
        if !written.isEmpty { output.append("AllowedIPs = \(written.joined(separator: ", "))\n") }
        continue
      }
      output.append(line)
      output.append(UInt8(ascii: "\n"))
      if line.equals("[Interface]") {
        for setting in settings(addresses, mtu) { output.append("\(setting)\n") }
      } else if let key = line.value(behind: "PublicKey = ") {
        let key = KeyBase64.decode(line.extracting(key)) { PublicKey(bytes: $0) } ?? nil
        peer = key.flatMap { places[$0] }
        derived = key.map { unwritten(of: $0, isAlone: isAlone, by: sections[$0] ?? []) } ?? []
        if let peer {
          for setting in exclusions(of: peer).written { output.append("\(setting)\n") }
          if let isOn = multicast(of: peer) { output.append("Multicast = \(isOn ? "on" : "off")\n") }
          // Without any allowed IPs there is no line to be replaced.
          if coverage.allowedIPs[peer].isEmpty, let prefixes = written[peer] { output.append(prefixes) }
        }
      }
    }
  }

  /// What [Interface] has besides the device's own settings, in wg-quick's order, ours last.
  private func settings(_ addresses: [InterfaceAddress], _ mtu: Int?) -> [String] {
    let known = derivedNetworks.map { (address: self.addresses[$0.place], network: $0) }
    var lines = addresses.compactMap { address -> String? in
      guard let network = known.first(where: { $0.address == address })?.network else { return "Address = \(address)" }
      return network.isLinkLocal ? nil : network.setting
    }
    lines += resolver.servers.map { "DNS = \($0)" }
    lines += resolver.searchDomains.map { "DNS = \($0)" } + resolver.routingDomains.map { "DNS = ~\($0)" }
    if self.mtu != nil, let mtu { lines.append("MTU = \(mtu)") }
    if let tableText { lines.append("Table = \(tableText)") }
    if savesConfiguration { lines.append("SaveConfig = true") }
    lines += hooks.preUp.map { "PreUp = \($0)" } + hooks.postUp.map { "PostUp = \($0)" }
    lines += hooks.preDown.map { "PreDown = \($0)" } + hooks.postDown.map { "PostDown = \($0)" }
    switch killSwitch {
    case .off: break
    case .on: lines.append("KillSwitch = yes")
    case .exceptLAN: lines.append("KillSwitch = lan")
    }
    if clampsMSS { lines.append("ClampMSS = yes") }
    if multicast == true { lines.append("Multicast = on") }
    if syncsRoutes == true { lines.append("RouteSync = yes") }
    if !routeSyncFilter.isEmpty {
      lines.append("RouteSyncFilter = \(routeSyncFilter.map(\.description).joined(separator: ", "))")
    }
    if let deadAfter, deadAfter > 0 { lines.append("DeadAfter = \(deadAfter)") }
    if !guardsAgainstSpoofing { lines.append("SpoofGuard = no") }
    if derivedNetworks.contains(where: \.isLinkLocal) { lines.append("LinkLocal = auto") }
    if acceptsRouterAdvertisements { lines.append("AcceptRA = yes") }
    return lines + excludedIPs.written
  }

  /// The line with the file's AllowedIPs of each peer that has one with holes.
  private func prefixes(of coverage: Coverage) -> [Int: String] {
    Dictionary(grouping: coverage.entries.indices) { coverage.entries[$0].peer }
      .filter { $1.contains { coverage.pieces[$0] != nil } }
      .mapValues { entries in
        let prefixes = entries.map { coverage.entries[$0] }.filter { !isDerived($0) }.map(\.prefix.description)
        return "AllowedIPs = \(prefixes.joined(separator: ", "))\n"
      }
  }

  /// What the last section of a peer that has `Multicast` says.
  private func multicast(of place: Int) -> Bool? {
    let key = peers[place].publicKey
    return peers.last { $0.publicKey == key && $0.multicast != nil }?.multicast
  }

  private func isDerived(_ entry: AllowedIPEntry) -> Bool { derivedNetworks.contains { $0.line == entry.line } }

  /// What the device has of a peer because of its key, and no line of the file.
  private func unwritten(of key: PublicKey, isAlone: Bool, by sections: [Peer]) -> Set<IPPrefix> {
    let written = sections.flatMap(\.allowedIPs)
    return Set(derivedPrefixes(of: key, isAlone: isAlone).map(\.prefix).filter { !written.contains(.add($0)) })
  }

  private func exclusions(of place: Int) -> Exclusions {
    let peer = peers[place]
    guard repeatedPeers.contains(peer.publicKey) else { return peer.excludedIPs }
    var exclusions = Exclusions()
    for section in peers where section.publicKey == peer.publicKey { exclusions.add(section.excludedIPs) }
    return exclusions
  }
}

extension Exclusions {
  fileprivate var written: [String] {
    let elements = prefixes.map(\.description) + (includesLAN ? ["lan"] : [])
    return elements.isEmpty ? [] : ["ExcludedIPs = \(elements.joined(separator: ", "))"]
  }
}

extension RawSpan {
  /// How many lines begin with `head`.
  fileprivate func count(of head: StaticString) -> Int {
    var (count, start) = (0, 0)
    while start < byteCount {
      let end = firstIndex(of: UInt8(ascii: "\n"), from: start) ?? byteCount
      if extracting(start..<end).value(behind: head) != nil { count += 1 }
      start = end + 1
    }
    return count
  }

  /// Where the rest of a line is that begins with `head`.
  fileprivate func value(behind head: StaticString) -> Range<Int>? {
    let count = head.utf8CodeUnitCount
    return byteCount >= count && extracting(0..<count).equals(head) ? count..<byteCount : nil
  }

  /// Whether a list has just these prefixes, in any order.
  fileprivate func holds(_ prefixes: [IPPrefix]) -> Bool {
    Set(listElements.compactMap { IPPrefix(text: extracting($0)) }) == Set(prefixes)
  }
}
