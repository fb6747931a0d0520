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
      case .spelling(let value)?:
        output.append(written, value: value)
      case .routingDomains?:
        let value = written.extracting(written.valueRange)
        let elements = value.listElements.map { value.extracting($0).string }.filter { !$0.hasPrefix("~") }
        if !elements.isEmpty { output.append(written, value: elements.joined(separator: ", ")) }
      case nil:
        if let list = whole[line] {
          if !list.isEmpty { output.append(written, value: list.map(\.description).joined(separator: ", ")) }
          continue
        }
        guard let (peer, changes) = rewritten[line] else {
          output.append(written)
          continue
        }
        let elements = zip(written.extracting(written.valueRange).allowedIPs, changes).flatMap {
          element, change -> [String] in
          guard case .add(let prefix) = change, let entry = holes[prefix] else { return [element] }
          return coverage.replacing(entry, of: peer)
        }
        if !elements.isEmpty { output.append(written, value: elements.joined(separator: ", ")) }
      }
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
  /// Appends `line` with another value, everything around it as it was.
  fileprivate mutating func append(_ line: RawSpan, value: String) {
    let range = line.valueRange
    append(line.extracting(0..<range.lowerBound))
    append(value)
    append(line.extracting(range.upperBound..<line.byteCount))
  }
}
