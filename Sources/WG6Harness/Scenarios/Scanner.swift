import Foundation

extension Scenario {
  /// Who does not know the server's public key can't even tell that it is there.
  static let scanner = Scenario(
    "scanner", "whatever a stranger without the public key sends, no byte comes back"
  ) { lab in
    let siege = try Siege(in: lab)
    let capture = try siege.attacker.capture(on: "wan", "udp src port \(Tunnel.port)", packets: 1000, bytes: 64)
    var probes = Probe.everyLength(&siege.random)
    // Genuine, but for somebody else.
    probes += try Stranger(knowing: siege.tunnel.clientKey).initiations(200)
    for target in [siege.v4, siege.v6] {
      lab.say("\(probes.count) probes over \(target.isIPv6 ? "IPv6" : "IPv4")")
      let flood = try siege.flood(probes, to: target, rate: 20_000, limit: probes.count)
      _ = flood.finish()
      lab.say("the same, 50,000 a second for two seconds")
      let storm = try siege.flood(probes, to: target, rate: Attack.rate, limit: 2 * Attack.rate)
      _ = storm.finish()
    }
    // Now the wire must carry an answer: the capture would have seen one.
    let stranger = try DatagramSocket(on: siege.attacker, address: Siege.attackerAddress.v4, port: 0)
    let silent = try capture.packets().count
    try lab.require(silent == 0, "not one byte came back", "\(silent) packets did")
    let peer = try Stranger(knowing: siege.tunnel.serverKey)
    try siege.tunnel.serverNode.set("peer", peer.publicKey, "allowed-ips", "10.66.0.4/32")
    try waitUntil("one who knows the key is answered", within: 10) {
      stranger.send(peer.initiation(), to: siege.v4)
      return stranger.receive(within: 0.5)?.bytes.first == 2
    }
    try waitUntil("the capture sees that", within: 10) { try !capture.packets().isEmpty }
    lab.say("  ✓ a peer who knows it is answered, and the capture sees it")
  }
}

/// What a scanner tries.
private enum Probe {
  /// Every type of message there is and some that there are not, at every length up to a full frame.
  static func everyLength(_ random: inout SeededGenerator) -> [[UInt8]] {
    (0...1472).flatMap { length in
      ([0, 1, 2, 3, 4, 5, 255] as [UInt8]).map { type in
        var bytes = random.bytes(length)
        for (index, byte) in [type, 0, 0, 0].enumerated() where index < length { bytes[index] = byte }
        return bytes
      }
    }
  }
}
