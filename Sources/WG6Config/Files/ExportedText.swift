import WG6Crypto
import WG6Protocol

extension ConfigurationFile {
  /// Appends `text`, which this file was read from, as plain WireGuard and wg-quick understand it: names of the address
  /// book replaced by their keys, exclusions computed out of AllowedIPs, our own keys left out. Every other line stays as
  /// it is, comments and all; a file without any of that stays the same byte for byte.
  ///
  /// What others have no word for is lost: the kill switch, the clamped MSS, the routing domains of `DNS`.
  public func writeExported(_ text: RawSpan, coverage: Coverage, to output: inout WipedBytes) {
    let holes = Dictionary(uniqueKeysWithValues: coverage.pieces.keys.map { (coverage.entries[$0].prefix, $0) })
    let whole = holes.isEmpty ? [:] : wholeLists(coverage)
    let rewritten = lines(with: holes)
    let derived = derivedLines()
    var line = 0
    var start = text.byteOrderMarkLength
    while start < text.byteCount {
      let end = text.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? text.byteCount
      let next = min(end + 1, text.byteCount)
      line += 1
      let written = text.extracting(start..<next)
      start = next
      switch extensions[line] {
      case .key?: continue
      case .line(let setting)?: output.append(written, setting: setting)
      case .derivedAddresses?:
        let value = written.extracting(written.valueRange)
        output.append(written, value: plainAddresses(value, line).joined(separator: ", "))
      case .spelling(let value)?:
        output.append(written, value: value)
        output.append(derived.missing[line], behind: written)
      case .routingDomains?:
        let value = written.extracting(written.valueRange)
        let elements = value.listElements.map { value.extracting($0).string }.filter { !$0.hasPrefix("~") }
        if !elements.isEmpty { output.append(written, value: elements.joined(separator: ", ")) }
      case nil:
        if let list = whole[line] {
          if !list.isEmpty { output.append(written, value: list.map(\.description).joined(separator: ", ")) }
          continue
        }
        let more = derived.further[line, default: []].map(\.description)
        guard let (peer, changes) = rewritten[line] else {
          if more.isEmpty {
            output.append(written)
          } else {
            let elements = written.extracting(written.valueRange).allowedIPs + more
            output.append(written, value: elements.joined(separator: ", "))
          }
          output.append(derived.missing[line], behind: written)
          continue
        }
        let elements =
          zip(written.extracting(written.valueRange).allowedIPs, changes).flatMap {
            element, change -> [String] in
            guard case .add(let prefix) = change, let entry = holes[prefix] else { return [element] }
            return coverage.replacing(entry, of: peer)
          } + more
        if !elements.isEmpty { output.append(written, value: elements.joined(separator: ", ")) }
      }
    }
  }

  /// What follows from keys and is in no line: to be added to the last AllowedIPs of each peer; where it has none, the lines of
  /// PublicKey behind which they are missing.
  private func derivedLines() -> (further: [Int: [IPPrefix]], missing: [Int: [IPPrefix]]) {
    var lines: (further: [Int: [IPPrefix]], missing: [Int: [IPPrefix]]) = ([:], [:])
    for peer in peers where !peer.derivedIPs.isEmpty {
      let prefixes = peer.derivedIPs.map(\.prefix).filter { !peer.allowedIPs.contains(.add($0)) }
      guard !prefixes.isEmpty else { continue }
      if let last = peer.allowedIPLines.last {
        lines.further[last] = prefixes
      } else {
        lines.missing[peer.publicKeyLine] = prefixes
      }
    }
    return lines
  }

  /// The elements of an Address line with the addresses that follow from the key.
  private func plainAddresses(_ value: RawSpan, _ line: Int) -> [String] {
    var networks = derivedNetworks.filter { $0.line == line }.makeIterator()
    return value.listElements.map { value.extracting($0).string }.map { element in
      guard element.lowercased().hasPrefix("ula:"), let network = networks.next() else { return element }
      return "\(addresses[network.place])"
    }
  }

  /// The lines of AllowedIPs with all that a peer has on its first one, where a file with signs or several sections for a
  /// peer makes a list mean something only together with others; empty for all other files.
  private func wholeLists(_ coverage: Coverage) -> [Int: [IPPrefix]] {
    guard !repeatedPeers.isEmpty || peers.contains(where: { !$0.replacesAllowedIPs || $0.removesAllowedIPs }) else {
      return [:]
    }
    var lists: [Int: [IPPrefix]] = [:]
    for (place, peer) in peers.enumerated() {
      for line in peer.allowedIPLines {
        lists[line] = line == peer.allowedIPLines[0] ? coverage.allowedIPs[place] : []
      }
    }
    return lists
  }

  /// The lines of AllowedIPs where one of `prefixes` is added, the last section of whose peer they are, and all that they
  /// ask for.
  private func lines(with prefixes: [IPPrefix: Int]) -> [Int: (peer: Int, changes: [AllowedIPChange])] {
    guard !prefixes.isEmpty else { return [:] }
    let places = placesOfPeers
    var lines: [Int: (peer: Int, changes: [AllowedIPChange])] = [:]
    for (place, peer) in peers.enumerated() {
      var affected: Set<Int> = []
      for case (.add(let prefix), let line) in zip(peer.allowedIPs, peer.allowedIPLines)
      where prefixes[prefix] != nil {
        affected.insert(line)
      }
      for (change, line) in zip(peer.allowedIPs, peer.allowedIPLines) where affected.contains(line) {
        lines[line, default: (places[peer.publicKey] ?? place, [])].changes.append(change)
      }
    }
    return lines
  }
}

extension ConfigurationFile.Peer {
  fileprivate var removesAllowedIPs: Bool {
    allowedIPs.contains { if case .remove = $0 { true } else { false } }
  }
}

extension Coverage {
  /// What stands for an entry with holes in the AllowedIPs of `peer`: nothing where it is another peer's in the end, who
  /// would otherwise not take all of it over.
  fileprivate func replacing(_ entry: Int, of peer: Int) -> [String] {
    entries[entry].peer == peer ? (pieces[entry] ?? []).map(\.description) : []
  }
}

extension RawSpan {
  /// Where the value of a line is that has a key, without blanks around it and without the comment.
  fileprivate var valueRange: Range<Int> {
    let end = firstIndex(of: UInt8(ascii: "#")) ?? byteCount
    let equals = extracting(0..<end).firstIndex(of: UInt8(ascii: "=")) ?? end - 1
    return trimming(equals + 1..<end)
  }

  /// The elements of AllowedIPs: blanks count nowhere in them, as `wg` reads them.
  fileprivate var allowedIPs: [String] {
    string.split(separator: ",").map { String($0.filter { !$0.isWhitespace }) }
  }
}

extension WipedBytes {
  /// Appends a line of AllowedIPs behind `line`, if there are any.
  fileprivate mutating func append(_ prefixes: [IPPrefix]?, behind line: RawSpan) {
    guard let prefixes else { return }
    if line.firstIndex(of: UInt8(ascii: "\n")) == nil { append(UInt8(ascii: "\n")) }
    append("AllowedIPs = \(prefixes.map(\.description).joined(separator: ", "))\n")
  }

  /// Appends `setting` in the place of a line, with the comment of that.
  fileprivate mutating func append(_ line: RawSpan, setting: String) {
    append(setting)
    append(line.extracting(line.valueRange.upperBound..<line.byteCount))
  }

  /// Appends `line` with another value, everything around it as it was.
  fileprivate mutating func append(_ line: RawSpan, value: String) {
    let range = line.valueRange
    append(line.extracting(0..<range.lowerBound))
    append(value)
    append(line.extracting(range.upperBound..<line.byteCount))
  }
}
