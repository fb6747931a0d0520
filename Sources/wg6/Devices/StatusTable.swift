import WG6Config
import WG6Crypto
import WG6Protocol

/// A device's status for scripts: one field, or everything, in lines of columns with tabs between.
struct StatusTable: ~Copyable {
  enum Field: String {
    case publicKey = "public-key"
    case privateKey = "private-key"
    case listenPort = "listen-port"
    case firewallMark = "fwmark"
    case peers
    case presharedKeys = "preshared-keys"
    case endpoints
    case allowedIPs = "allowed-ips"
    case latestHandshakes = "latest-handshakes"
    case transfer
    case persistentKeepalive = "persistent-keepalive"
    case dump
  }

  private let field: Field
  /// The first column, where several interfaces are told of.
  private let interface: String?
  private var text = WipedBytes(minimumCapacity: 4096)

  /// `nil` where there is no such field.
  init?(field: String, interface: String?) {
    guard let field = Field(rawValue: field) else { return nil }
    self.field = field
    self.interface = interface
  }

  func print() throws {
    try text.print()
  }

  mutating func append(_ status: DeviceStatus) {
    switch field {
    case .publicKey: line { $0.text.append(status.publicKey) }
    case .privateKey: line { $0.text.append(status.privateKey) }
    case .listenPort: line { $0.text.append(number: status.listenPort) }
    case .firewallMark: line { $0.text.append(firewallMark: status.firewallMark) }
    case .dump:
      line { table in
        table.text.append(status.privateKey)
        table.tab()
        table.text.append(status.publicKey)
        table.tab()
        table.text.append(number: status.listenPort)
        table.tab()
        table.text.append(firewallMark: status.firewallMark)
      }
      for peer in status.peers { appendDump(of: peer) }
    case .endpoints:
      // `wg` (1.0.20210914) names the interface once here and not on every line; scripts have got used to it.
      if let interface { text.append("\(interface)\t") }
      for peer in status.peers {
        unsafe text.append(base64: peer.publicKey.bytes.span.bytes)
        text.append("\t\(peer.endpoint?.displayText ?? "(none)")\n")
      }
    default:
      for peer in status.peers {
        line { table in
          unsafe table.text.append(base64: peer.publicKey.bytes.span.bytes)
          if table.field != .peers { table.tab() }
          table.appendField(of: peer)
        }
      }
    }
  }

  private mutating func appendField(of peer: PeerStatus) {
    switch field {
    case .presharedKeys: text.append(peer.presharedKey)
    case .allowedIPs: append(peer.allowedIPs, separator: UInt8(ascii: " "))
    case .latestHandshakes: text.append(number: peer.handshakeSeconds)
    case .transfer:
      text.append(number: peer.receivedBytes)
      tab()
      text.append(number: peer.transmittedBytes)
    case .persistentKeepalive: text.append(keepalive: peer.persistentKeepalive)
    default: break
    }
  }

  private mutating func appendDump(of peer: PeerStatus) {
    line { table in
      unsafe table.text.append(base64: peer.publicKey.bytes.span.bytes)
      table.tab()
      table.text.append(peer.presharedKey)
      table.tab()
      table.text.append(peer.endpoint?.displayText ?? "(none)")
      table.tab()
      table.append(peer.allowedIPs, separator: UInt8(ascii: ","))
      table.tab()
      table.text.append(number: peer.handshakeSeconds)
      table.tab()
      table.text.append(number: peer.receivedBytes)
      table.tab()
      table.text.append(number: peer.transmittedBytes)
      table.tab()
      table.text.append(keepalive: peer.persistentKeepalive)
    }
  }

  private mutating func append(_ prefixes: [IPPrefix], separator: UInt8) {
    if prefixes.isEmpty { text.append("(none)") }
    for (index, prefix) in prefixes.enumerated() {
      if index > 0 { text.append(separator) }
      text.append(prefix)
    }
  }

  private mutating func tab() {
    text.append(UInt8(ascii: "\t"))
  }

  private mutating func line(_ body: (inout StatusTable) -> Void) {
    if let interface { text.append("\(interface)\t") }
    body(&self)
    text.append(UInt8(ascii: "\n"))
  }
}

extension WipedBytes {
  fileprivate mutating func append(_ key: PublicKey?) {
    if let key { unsafe append(base64: key.bytes.span.bytes) } else { append("(none)") }
  }

  fileprivate mutating func append(_ key: PrivateKey?) {
    if let key { key.withBytes { append(base64: $0) } } else { append("(none)") }
  }

  fileprivate mutating func append(_ key: PresharedKey?) {
    if let key { key.withBytes { append(base64: $0) } } else { append("(none)") }
  }

  fileprivate mutating func append(firewallMark mark: UInt32) {
    append(mark == 0 ? "off" : "0x\(String(mark, radix: 16))")
  }

  fileprivate mutating func append(keepalive seconds: UInt16) {
    append(seconds == 0 ? "off" : String(seconds))
  }
}

extension PeerStatus {
  /// Whole seconds since 1970 of the last handshake; 0 before the first.
  var handshakeSeconds: UInt64 { (lastHandshake ?? 0) / 1_000_000_000 }
}
