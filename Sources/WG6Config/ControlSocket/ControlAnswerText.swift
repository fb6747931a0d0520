import WG6Crypto
import WG6Protocol

extension DeviceStatus {
  /// Appends the answer to a `get` request: every line, `errno=0` and the blank one.
  ///
  /// Linear in what it tells; a device with 130,560 prefixes takes milliseconds.
  public func writeAnswer(to text: inout WipedBytes) {
    privateKey?.withBytes { text.append(key: "private_key", $0) }
    if listenPort != 0 { text.append(number: "listen_port", UInt64(listenPort)) }
    if firewallMark != 0 { text.append(number: "fwmark", UInt64(firewallMark)) }
    // wg6's own, which `wg` skips.
    if unlockedKeyBytes != 0 { text.append(number: "unlocked_key_bytes", unlockedKeyBytes) }
    if multicast { text.append("multicast=true\n" as StaticString) }
    if routeSync.isOn {
      text.append("route_sync=true\n" as StaticString)
      for prefix in routeSync.filter { text.append(prefix: "route_sync_filter=", prefix) }
    }
    if deadAfter != 0 { text.append(number: "dead_after", UInt64(deadAfter)) }
    for peer in peers { peer.writeAnswer(to: &text) }
    ControlAnswer.write(errno: 0, to: &text)
  }

  /// Appends the answer to a `drops` request: the device's counters that are not 0, then each peer with its own.
  public func writeDropsAnswer(to text: inout WipedBytes) {
    text.append(drops)
    for peer in peers {
      unsafe text.append(key: "public_key", peer.publicKey.bytes.span.bytes)
      text.append(peer.drops)
    }
    ControlAnswer.write(errno: 0, to: &text)
  }
}

extension WipedBytes {
  fileprivate mutating func append(_ drops: DropCounts) {
    for reason in drops.reasons {
      append(reason.key)
      append(UInt8(ascii: "="))
      append(decimal: drops[reason])
      append(UInt8(ascii: "\n"))
    }
  }
}

extension PeerStatus {
  private static let nanosecondsPerSecond: UInt64 = 1_000_000_000

  /// Every key in wireguard-go's order, and like there a preshared key of zeroes where there is none.
  fileprivate func writeAnswer(to text: inout WipedBytes) {
    unsafe text.append(key: "public_key", publicKey.bytes.span.bytes)
    if let presharedKey {
      presharedKey.withBytes { text.append(key: "preshared_key", $0) }
    } else {
      text.appendZeroKey("preshared_key")
    }
    text.append("protocol_version=1\n" as StaticString)
    if let endpoint { text.append(endpoint: endpoint) }
    let handshake = lastHandshake ?? 0
    text.append(number: "last_handshake_time_sec", handshake / PeerStatus.nanosecondsPerSecond)
    text.append(number: "last_handshake_time_nsec", handshake % PeerStatus.nanosecondsPerSecond)
    text.append(number: "tx_bytes", transmittedBytes)
    text.append(number: "rx_bytes", receivedBytes)
    text.append(number: "persistent_keepalive_interval", UInt64(persistentKeepalive))
    switch multicast {
    case .asDevice: break
    case .on: text.append("multicast=true\n" as StaticString)
    case .off: text.append("multicast=false\n" as StaticString)
    }
    if isSilent { text.append("silent=true\n" as StaticString) }
    guard origins.count == allowedIPs.count else {
      for prefix in allowedIPs { text.append(allowedIP: prefix) }
      return
    }
    for (prefix, origin) in zip(allowedIPs, origins) {
      text.append(allowedIP: prefix)
      text.append(origin.line)
    }
  }
}

extension ControlAnswer {
  /// Appends the end of an answer, which for a `set` request is all of it. `errno` is positive, or 0 for success.
  ///
  /// On the wire it is negative, as wireguard-go has it: `wg` turns the sign round before it prints the reason.
  public static func write(errno: Int32, to text: inout WipedBytes) {
    text.append((errno == 0 ? "errno=" : "errno=-") as StaticString)
    text.append(decimal: UInt64(errno.magnitude))
    text.append("\n\n" as StaticString)
  }
}

extension AllowedIPOrigin {
  /// What an answer has behind an allowed IP, for clients of wg6.
  fileprivate var line: StaticString {
    switch self {
    case .set: "allowed_ip_origin=set\n"
    case .file: "allowed_ip_origin=file\n"
    case .route: "allowed_ip_origin=route\n"
    }
  }
}
