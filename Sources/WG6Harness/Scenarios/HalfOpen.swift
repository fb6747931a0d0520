import Foundation

/// Peers that the server knows, and that begin handshakes and never finish them.
struct Pretenders {
  let strangers: [Stranger]

  /// Makes them known to the server.
  init(count: Int, on siege: Siege) throws {
    let node = siege.tunnel.serverNode
    strangers = try (0..<count).map { _ in try Stranger(knowing: siege.tunnel.serverKey) }
    let peers = strangers.enumerated().map { index, stranger in
      PeerSettings(stranger.publicKey, allowedIPs: ["10.67.\(index / 256).\(index % 256)/32"]).text
    }
    try node.machine.run(["wg", "addconf", node.interface, "/dev/stdin"], input: peers.joined())
  }
}

extension Siege {
  /// Each of `pretenders` begins a handshake `rounds` times, slowly enough that nobody asks for a cookie.
  func endureHalfOpen(_ pretenders: Pretenders, rounds: Int) throws {
    let count = pretenders.strangers.count * rounds
    lab.say("\(count) handshakes begun by \(pretenders.strangers.count) peers, and never finished")
    let initiations = (0..<rounds).flatMap { _ in pretenders.strangers.map { $0.initiation() } }
    let before = try attackersBytes()
    let flood = try flood(initiations, rate: 1500, limit: count)
    _ = flood.finish()
    var answers = 0
    // Ethernet, IPv4, UDP and the answer's 92 bytes.
    try waitUntil("the server has answered", within: 10) {
      answers = try (attackersBytes().received - before.received) / (14 + 20 + 8 + 92)
      return answers * 10 >= count * 9
    }
    lab.say("  \(answers) were answered; the daemon has \(Usage(of: daemon.pid).peakKiB) KiB at the most")
    try makeVisitorFresh()
    let handshake = try handshake()
    try lab.require(
      handshake.total < 2, "afterwards, a fresh peer has its handshake in \(handshake.total.milliseconds) ms",
      "\(handshake)")
  }
}
