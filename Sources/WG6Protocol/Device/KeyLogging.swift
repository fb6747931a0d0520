import WG6Crypto

/// The keys with which a recording of a tunnel's datagrams can be opened, in Wireshark's words (packet-wireguard.c, "key
/// log"): a line each, a name, `=`, the key in base64. A preshared key belongs to the ephemeral key before it.
///
/// There is one only while somebody keeps it. Otherwise ephemeral keys are wiped with their handshakes, as always.
struct KeyLog {
  /// Locked, and wiped when it ends.
  private final class Text {
    var bytes = WipedBytes()
  }
  private let text = Text()

  var isEmpty: Bool { text.bytes.isEmpty }

  func append(_ name: StaticString, _ key: RawSpan) {
    KeyLog.append(name, key, to: &text.bytes)
  }

  func take(_ body: (borrowing WipedBytes) -> Void) {
    body(text.bytes)
    text.bytes.removeAll()
  }

  static func append(_ name: StaticString, _ key: RawSpan, to text: inout WipedBytes) {
    unsafe text.append(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount).bytes)
    text.append(" = ")
    KeyBase64.encode(key) { text.append($0) }
    text.append(UInt8(ascii: "\n"))
  }
}

/// The key log's part of the control path.
extension Device {
  /// Whether keys are written down.
  public var hasKeyLog: Bool { keyLog != nil }

  /// Writes down the keys of handshakes from now on, for `takeKeyLog`.
  public func startKeyLog() {
    if keyLog == nil { keyLog = KeyLog() }
  }

  /// Wipes what was not taken, and writes no more down.
  public func endKeyLog() { keyLog = nil }

  /// Appends the lines of the keys that are there already: this device's, and each peer's public key.
  public func writeKnownKeys(to text: inout WipedBytes) {
    identity?.privateKey.withBytes { KeyLog.append("LOCAL_STATIC_PRIVATE_KEY", $0, to: &text) }
    for peer in peersInOrder {
      unsafe KeyLog.append("REMOTE_STATIC_PUBLIC_KEY", peer.publicKey.bytes.span.bytes, to: &text)
    }
  }

  /// Shows `body` what was written down since the last time, if there is anything, and wipes it.
  public func takeKeyLog(_ body: (borrowing WipedBytes) -> Void) {
    guard let keyLog, !keyLog.isEmpty else { return }
    keyLog.take(body)
  }

  /// A handshake of `peer` uses `ephemeral`, as initiator or as responder.
  func note(_ ephemeral: borrowing Secret, of peer: Peer) {
    guard let keyLog else { return }
    ephemeral.withBytes { keyLog.append("LOCAL_EPHEMERAL_PRIVATE_KEY", $0) }
    peer.presharedKey?.withBytes { keyLog.append("PRESHARED_KEY", $0) }
  }
}
