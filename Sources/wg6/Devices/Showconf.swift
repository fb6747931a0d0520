import ArgumentParser
import WG6Config
import WG6Crypto
import WG6Protocol
import WG6Tunnel

struct Showconf: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints an interface's configuration as a file.",
    discussion: """
      The file is one for setconf, private keys included; addresses and routes are not in it.
        umask 077; wg6 showconf wgnet > wgnet.saved
      """)

  @Argument(help: "The interface.")
  var interface: String

  func run() throws {
    let status: DeviceStatus
    do {
      status = try Device(interface: interface).status()
    } catch {
      throw failure("Unable to access interface: \(error.reason)")
    }
    var text = WipedBytes(minimumCapacity: 4096)
    text.append("[Interface]\n")
    if status.listenPort != 0 { text.append("ListenPort = \(status.listenPort)\n") }
    if status.firewallMark != 0 { text.append("FwMark = 0x\(String(status.firewallMark, radix: 16))\n") }
    status.privateKey?.withBytes { text.append(setting: "PrivateKey", key: $0) }
    text.append("\n")
    for (index, peer) in status.peers.enumerated() {
      if index > 0 { text.append("\n") }
      text.append(peer)
    }
    try text.print()
  }
}

extension WipedBytes {
  fileprivate mutating func append(_ peer: PeerStatus) {
    append("[Peer]\n")
    unsafe append(setting: "PublicKey", key: peer.publicKey.bytes.span.bytes)
    peer.presharedKey?.withBytes { append(setting: "PresharedKey", key: $0) }
    for (index, prefix) in peer.allowedIPs.enumerated() {
      append(index == 0 ? "AllowedIPs = " : ", ")
      append(prefix)
    }
    if !peer.allowedIPs.isEmpty { append("\n") }
    if let endpoint = peer.endpoint { append("Endpoint = \(endpoint.displayText)\n") }
    if peer.persistentKeepalive != 0 { append("PersistentKeepalive = \(peer.persistentKeepalive)\n") }
  }

  fileprivate mutating func append(setting name: String, key: RawSpan) {
    append("\(name) = ")
    append(base64: key)
    append(UInt8(ascii: "\n"))
  }
}
