import WG6Crypto
import WG6Protocol

extension ControlRequest {
  /// The request that asks for a device's status.
  public static let getText = "get=1\n\n"
  /// The request that asks for what was dropped. Only wg6's own daemon knows it.
  public static let dropsText = "drops=1\n\n"
  /// The request that asks for the keys of handshakes to come. Likewise.
  public static let keyLogText = "keylog=1\n\n"
}

extension CaptureFilter {
  /// Appends the `capture=1` request that asks for what this filter takes, its blank line included.
  public func writeRequest(to text: inout WipedBytes) {
    text.append("capture=1\n")
    for peer in peers { unsafe text.append(key: "public_key", peer.bytes.span.bytes) }
    for prefix in prefixes {
      var line = ShortText()
      prefix.write(to: &line)
      text.append("prefix=" as StaticString)
      text.append(line)
      text.append(UInt8(ascii: "\n"))
    }
    for number in protocols { text.append(number: "protocol", UInt64(number)) }
    if takesDrops { text.append("drops=true\n") }
    text.append(UInt8(ascii: "\n"))
  }
}

extension DeviceUpdate {
  /// Appends the `set=1` request that asks for this update, its blank line included.
  public func writeRequest(to text: inout WipedBytes) {
    text.append("set=1\n")
    switch privateKey {
    case .keep: break
    case .remove: text.appendZeroKey("private_key")
    case .set(let key): key.withBytes { text.append(key: "private_key", $0) }
    }
    if let listenPort { text.append(number: "listen_port", UInt64(listenPort)) }
    if let firewallMark { text.append(number: "fwmark", UInt64(firewallMark)) }
    if let multicast { text.append(multicast ? "multicast=true\n" : "multicast=false\n") }
    if let derivedNetworks {
      let networks = derivedNetworks.map { IPPrefix(.v6(high: $0, low: 0), length: 64).description }
      text.append("derived_networks=\(networks.joined(separator: ","))\n")
    }
    if let routeSync {
      text.append(routeSync.isOn ? "route_sync=true\n" : "route_sync=false\n")
      for prefix in routeSync.filter { text.append(prefix: "route_sync_filter=", prefix) }
    }
    if let deadAfter { text.append(number: "dead_after", UInt64(deadAfter)) }
    if origin == .file { text.append("allowed_ip_origin=file\n") }
    if replacesPeers { text.append("replace_peers=true\n") }
    for peer in peers { peer.writeRequest(to: &text) }
    text.append(UInt8(ascii: "\n"))
  }
}

extension PeerUpdate {
  fileprivate func writeRequest(to text: inout WipedBytes) {
    unsafe text.append(key: "public_key", publicKey.bytes.span.bytes)
    if updatesOnly { text.append("update_only=true\n") }
    if removes {
      text.append("remove=true\n")
      return
    }
    switch presharedKey {
    case .keep: break
    case .remove: text.appendZeroKey("preshared_key")
    case .set(let key): key.withBytes { text.append(key: "preshared_key", $0) }
    }
    if let endpoint { text.append(endpoint: endpoint) }
    if let persistentKeepalive { text.append(number: "persistent_keepalive_interval", UInt64(persistentKeepalive)) }
    switch multicast {
    case nil: break
    case .asDevice: text.append("multicast=device\n")
    case .on: text.append("multicast=true\n")
    case .off: text.append("multicast=false\n")
    }
    if replacesAllowedIPs { text.append("replace_allowed_ips=true\n") }
    if startsHandshake { text.append("start_handshake=true\n") }
    for change in allowedIPs {
      switch change {
      case .add(let prefix): text.append(allowedIP: prefix)
      case .remove(let prefix): text.append(allowedIP: prefix, removed: true)
      }
    }
  }
}

/// The lines that requests and answers have in common.
extension WipedBytes {
  mutating func append(key name: StaticString, _ key: RawSpan) {
    append(name)
    append(UInt8(ascii: "="))
    KeyHex.encode(key) { append($0) }
    append(UInt8(ascii: "\n"))
  }

  mutating func appendZeroKey(_ name: StaticString) {
    append(name)
    append(UInt8(ascii: "="))
    for _ in 0..<KeyHex.encodedLength { append(UInt8(ascii: "0")) }
    append(UInt8(ascii: "\n"))
  }

  mutating func append(number name: StaticString, _ value: UInt64) {
    append(name)
    append(UInt8(ascii: "="))
    append(decimal: value)
    append(UInt8(ascii: "\n"))
  }

  mutating func append(endpoint: Endpoint) {
    var line = ShortText()
    endpoint.write(to: &line)
    append("endpoint=" as StaticString)
    append(line)
    append(UInt8(ascii: "\n"))
  }

  mutating func append(allowedIP prefix: IPPrefix, removed: Bool = false) {
    append(prefix: removed ? "allowed_ip=-" : "allowed_ip=", prefix)
  }

  /// A line of `head` and a prefix.
  mutating func append(prefix head: StaticString, _ prefix: IPPrefix) {
    var line = ShortText()
    prefix.write(to: &line)
    line.append(UInt8(ascii: "\n"))
    append(head)
    append(line)
  }

  mutating func append(_ text: StaticString) {
    append(unsafe UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount).bytes)
  }
}
