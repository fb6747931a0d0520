import WG6Crypto
import WG6Protocol

/// What can be judged only when the whole file is read.
extension ConfigurationReader {
  mutating func check() {
    result.linesOfSettings.interface = interfaceLine ?? 1
    if dialect == .quick, interfaceLine == nil {
      refuse("read no [Interface], expected one", line: max(line, 1))
    }
    let ownKey: PublicKey? = if case .set(let key) = result.privateKey { key.publicKey } else { nil }
    var lines: [PublicKey: Int] = [:]
    for draft in drafts {
      guard let key = draft.publicKey else {
        if !draft.namesPublicKey { refuse("read a [Peer] without PublicKey, expected one", line: draft.line) }
        continue
      }
      if key == ownKey {
        refuse(
          "read PublicKey = \(key), the key of this interface itself, expected another peer's",
          line: draft.publicKeyLine)
      }
      if let first = lines[key] {
        let loss = draft.replacesAllowedIPs ? ", and its AllowedIPs take the place of those there" : ""
        warn(.repeatedSection, "the peer of line \(first) again; this section changes it\(loss)", line: draft.line)
        result.repeatedPeers.insert(key)
      } else {
        lines[key] = draft.line
      }
      result.peers.append(draft.peer(key))
    }
    derive(ownKey: ownKey)
  }
}

extension ConfigurationReader.Draft {
  fileprivate func peer(_ key: PublicKey) -> ConfigurationFile.Peer {
    ConfigurationFile.Peer(
      line: line, publicKey: key, presharedKey: presharedKey, endpoint: endpoint, endpointLine: endpointLine,
      persistentKeepalive: persistentKeepalive, keepaliveLine: keepaliveLine, publicKeyLine: publicKeyLine,
      allowedIPs: allowedIPs, replacesAllowedIPs: replacesAllowedIPs, multicast: multicast,
      excludedIPs: excludedIPs, allowedIPLines: allowedIPLines, exclusionLines: exclusionLines)
  }
}
