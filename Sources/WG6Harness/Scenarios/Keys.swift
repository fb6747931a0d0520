import Foundation

extension Scenario {
  /// Keys that change, go and come back, and keys that are none.
  static let keys = Scenario(
    "keys", "private keys change under a tunnel, are taken away and given back; low-order public keys cause no packet"
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let (client, server) = (tunnel.clientNode, tunnel.serverNode)
    let clientPrefixes = Tunnel.clientInner.v4 + "/32," + Tunnel.clientInner.v6 + "/128"
    let serverPrefixes = Tunnel.serverInner.v4 + "/32," + Tunnel.serverInner.v6 + "/128"

    let newClient = try KeyPair.fresh(lab)
    try server.set("peer", newClient.publicKey, "allowed-ips", clientPrefixes, "peer", tunnel.clientKey, "remove")
    try client.setPrivateKey(newClient.privateKey)
    try lab.require(
      tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v4),
      "the client has a new private key, and its first ping is answered within a second")

    let newServer = try KeyPair.fresh(lab)
    try server.setPrivateKey(newServer.privateKey)
    try client.set(
      "peer", newServer.publicKey, "endpoint", "\(Tunnel.serverOuter.v4):\(Tunnel.port)", "allowed-ips",
      serverPrefixes, "peer", tunnel.serverKey, "remove")
    try lab.require(
      tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v6), "the same when the server has a new one")

    for _ in 1...10 {
      let (one, other) = (try KeyPair.fresh(lab), try KeyPair.fresh(lab))
      try server.reconfigure(one, peer: other.publicKey, endpoint: nil, prefixes: clientPrefixes)
      try client.reconfigure(
        other, peer: one.publicKey, endpoint: "\(Tunnel.serverOuter.v4):\(Tunnel.port)", prefixes: serverPrefixes)
      guard try tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v4) else {
        throw Disproved(claim: "both keys change and the first ping is answered", detail: "")
      }
    }
    try lab.require(true, "both sides' keys change ten times, and the first ping is always answered")

    let last = try KeyPair.fresh(lab)
    try client.setPrivateKey("")
    try lab.require(
      tunnel.client.run("wg", "show", "wg0", "private-key").line == "(none)"
        && !tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v4), "without a private key nothing passes")
    try client.setPrivateKey(last.privateKey)
    let peer = try server.column("allowed-ips").keys.first ?? ""
    try server.set("peer", last.publicKey, "allowed-ips", clientPrefixes, "peer", peer, "remove")
    try lab.require(tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v4), "given one, it does again")
    let early = try KeyPair.fresh(lab)
    try client.setPrivateKey(early.privateKey)
    try server.set("peer", early.publicKey, "allowed-ips", clientPrefixes, "peer", last.publicKey, "remove")
    try lab.require(
      tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v6),
      "a client that has its new key before the server knows it is answered as soon as the server does")
    let late = try KeyPair.fresh(lab)
    try server.setPrivateKey(late.privateKey)
    try client.set(
      "peer", late.publicKey, "endpoint", "\(Tunnel.serverOuter.v4):\(Tunnel.port)", "allowed-ips", serverPrefixes,
      "peer", try client.column("allowed-ips").keys.first ?? "", "remove")
    try lab.require(
      tunnel.answersAtOnce(from: tunnel.server, Tunnel.clientInner.v4), "the same the other way round")
    try client.set("peer", early.publicKey, "allowed-ips", "10.99.0.0/24")
    try lab.require(
      client.column("allowed-ips")[early.publicKey] == nil,
      "as in the kernel, an interface does not become a peer of itself, without an error")
    try client.setPrivateKey(late.privateKey)
    try lab.require(
      client.column("allowed-ips").isEmpty, "an interface that takes a peer's key loses that peer, without an error")
    try client.setPrivateKey(early.privateKey)
    try client.set(
      "peer", late.publicKey, "endpoint", "[::ffff:\(Tunnel.serverOuter.v4)]:\(Tunnel.port)", "allowed-ips",
      serverPrefixes)
    try lab.require(
      client.endpoint(of: late.publicKey) == "\(Tunnel.serverOuter.v4):\(Tunnel.port)"
        && tunnel.answersAtOnce(from: tunnel.client, Tunnel.serverInner.v6),
      "an IPv4-mapped endpoint is the IPv4 address in it, and is reached")

    try lowOrderKeys(lab, tunnel)
  }

  /// The points of small order on Curve25519 (RFC 7748, section 7, asks for the check of an all-zero result): whatever
  /// the private key, the shared secret is zero, so no message may ever be made with one.
  private static let smallOrderPoints = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  ]

  private static func lowOrderKeys(_ lab: Lab, _ tunnel: Tunnel) throws {
    let capture = try tunnel.client.capture(on: "wan", "udp portrange 6000-6010")
    for (index, point) in smallOrderPoints.enumerated() {
      let bytes = stride(from: 0, to: 64, by: 2).map { at in
        UInt8(point.dropFirst(at).prefix(2), radix: 16)!
      }
      try tunnel.clientNode.set(
        "peer", Data(bytes).base64EncodedString(), "persistent-keepalive", "1", "allowed-ips", "10.98.\(index).0/24",
        "endpoint", "\(Tunnel.serverOuter.v4):\(6000 + index)")
      try tunnel.client.ip("route", "replace", "10.98.\(index).0/24", "dev", "wg0")
      _ = try tunnel.client.start(["ping", "-q", "-c", "3", "-i", "0.2", "-W", "1", "10.98.\(index).1"])
    }
    // An honest stranger among them, which also does not answer, is written to a second time after five seconds.
    let honest = try KeyPair.fresh(lab)
    try tunnel.clientNode.set(
      "peer", honest.publicKey, "persistent-keepalive", "1", "endpoint", "\(Tunnel.serverOuter.v4):6010")
    try waitUntil("the honest peer's second initiation is captured", within: 15) {
      try capture.packets().filter { $0.destinationPort == 6010 }.count >= 2
    }
    let others = try capture.packets().filter { $0.destinationPort != 6010 }
    try lab.require(
      others.isEmpty,
      "seven peers with low-order keys, keepalives and pings to them: no packet, while an honest peer got two",
      capture.digest())
  }
}

extension Node {
  /// Sets the private key alone; none when it is empty.
  fileprivate func setPrivateKey(_ key: String) throws {
    try machine.run(["wg", "set", interface, "private-key", "/dev/stdin"], input: key)
  }

  /// Sets a private key and the only peer in one request.
  fileprivate func reconfigure(_ own: KeyPair, peer: String, endpoint: String?, prefixes: String) throws {
    let settings = PeerSettings(peer, endpoint: endpoint, allowedIPs: [prefixes])
    try machine.run(
      ["wg", "setconf", interface, "/dev/stdin"],
      input: "[Interface]\nPrivateKey = \(own.privateKey)\nListenPort = \(Tunnel.port)\n" + settings.text)
  }
}

extension Tunnel {
  /// Whether the first ping is answered within a second, the handshake included.
  func answersAtOnce(from host: Host, _ target: String) throws -> Bool {
    try host.attempt(["ping", "-q", "-n", "-c", "1", "-W", "1", target], within: 10).succeeded
  }
}
