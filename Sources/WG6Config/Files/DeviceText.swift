import Glibc
import WG6Crypto
import WG6Protocol

extension DeviceStatus {
  /// Appends the device as a configuration file, as `wg showconf` prints it: private keys included, addresses and routes
  /// not.
  public func writeConfiguration(to text: inout WipedBytes) {
    text.append("[Interface]\n")
    if listenPort != 0 { text.append("ListenPort = \(listenPort)\n") }
    if firewallMark != 0 { text.append("FwMark = 0x\(String(firewallMark, radix: 16))\n") }
    privateKey?.withBytes { text.append(setting: "PrivateKey", key: $0) }
    text.append("\n")
    for (index, peer) in peers.enumerated() {
      if index > 0 { text.append("\n") }
      text.append(peer)
    }
  }
}

extension WipedBytes {
  fileprivate mutating func append(_ peer: PeerStatus) {
    append("[Peer]\n")
    unsafe append(setting: "PublicKey", key: peer.publicKey.bytes.span.bytes)
    peer.presharedKey?.withBytes { append(setting: "PresharedKey", key: $0) }
    // What routes have given goes with the routes, and belongs in no file.
    let allowedIPs = peer.configuredIPs
    for (index, prefix) in allowedIPs.enumerated() {
      append(index == 0 ? "AllowedIPs = " : ", ")
      append(prefix)
    }
    if !allowedIPs.isEmpty { append("\n") }
    if let endpoint = peer.endpoint { append("Endpoint = \(endpoint.displayText)\n") }
    if peer.persistentKeepalive != 0 { append("PersistentKeepalive = \(peer.persistentKeepalive)\n") }
  }

  fileprivate mutating func append(setting name: String, key: RawSpan) {
    append("\(name) = ")
    append(base64: key)
    append(UInt8(ascii: "\n"))
  }
}

extension Endpoint {
  /// As `getnameinfo` has it: a link-local address's zone is its interface's name, while there is such an interface.
  public var displayText: String {
    guard zone != 0 else { return description }
    var name = InlineArray<16, CChar>(repeating: 0)
    var span = name.mutableSpan
    let found = unsafe span.withUnsafeMutableBufferPointer { buffer in
      unsafe if_indextoname(zone, buffer.baseAddress!).map { unsafe String(cString: $0) }
    }
    return "[\(address)%\(found ?? String(zone))]:\(port)"
  }
}
