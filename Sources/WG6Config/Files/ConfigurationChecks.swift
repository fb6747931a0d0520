import WG6Crypto
import WG6Protocol

/// What can be judged only when the whole file is read.
extension ConfigurationReader {
  mutating func check() {
    if dialect == .quick {
      if interfaceLine == nil { refuse("read no [Interface], expected one", line: max(line, 1)) }
      checkDefaultRoutes()
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
        warn("the peer of line \(first) again; this section changes it", line: draft.line)
      } else {
        lines[key] = draft.line
      }
      result.peers.append(draft.peer(key))
    }
    warnAboutStolenPrefixes()
  }

  /// A default route in the main table would catch the tunnel's own datagrams: that takes policy routing.
  private mutating func checkDefaultRoutes() {
    guard result.table == .automatic else { return }
    for (line, prefix) in defaultRoutes {
      refuse(
        "read AllowedIPs = \(prefix), a default route, which with Table = auto is not supported yet (it needs policy "
          + "routing), expected longer prefixes, or Table = off or a number", line: line)
    }
  }

  /// A prefix belongs to one peer: the later one has it (the kernel says nothing).
  private mutating func warnAboutStolenPrefixes() {
    var owners: [IPPrefix: Int] = [:]
    for (index, peer) in result.peers.enumerated() {
      for case .add(let prefix) in peer.allowedIPs {
        if let owner = owners.updateValue(index, forKey: prefix), result.peers[owner].publicKey != peer.publicKey {
          warn("this peer takes \(prefix) from the one of line \(result.peers[owner].line)", line: peer.line)
        }
      }
    }
  }
}

extension ConfigurationReader.Draft {
  fileprivate func peer(_ key: PublicKey) -> ConfigurationFile.Peer {
    ConfigurationFile.Peer(
      line: line, publicKey: key, presharedKey: presharedKey, endpoint: endpoint, endpointLine: endpointLine,
      persistentKeepalive: persistentKeepalive, allowedIPs: allowedIPs, replacesAllowedIPs: replacesAllowedIPs)
  }
}
