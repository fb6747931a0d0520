import Foundation

extension Scenario {
  /// Evidence that nobody on the other side can tell who we are.
  static let interop = Scenario(
    "interop", "pings, throughput and a rekey against ourselves, wireguard-go and the kernel, in every combination",
    needs: [.program("iperf3", package: "iperf3")]
  ) { lab in
    var others: [Implementation] = []
    for other in [lab.implementation, .wireguardGo, .kernel] where !others.contains(other) { others.append(other) }
    // Some of the matrix is better than none, where that is allowed.
    let needs: [Implementation: Prerequisite] = [
      .wireguardGo: .program("wireguard-go", package: "wireguard-go"), .kernel: .kernelPeer,
    ]
    for (other, need) in needs where others.contains(other) && !need.isMet(lab.implementation) {
      guard !Prerequisite.allRequired else { throw Prerequisite.Missing(scenario: "interop", missing: [need]) }
      lab.say("SKIPPED the pairing with \(other.rawValue), which needs \(need)")
      others.removeAll { $0 == other }
    }
    let pairings = try others.enumerated().map { try Pairing(in: lab, number: $0 + 1, other: $1) }
    let cells = pairings.flatMap(\.cells)

    lab.say("\(cells.count) tunnels: the initiators speak first")
    for pairing in pairings { try pairing.watchInitiations() }
    for cell in cells { try cell.establish() }
    try lab.require(true, "every initiator got through to a responder that did not know its address")

    lab.say("two minutes of steady pings in all of them, and 10,000 fast ones in each, one tunnel after the other")
    let handshakes = try cells.map { try $0.handshakeTime() }
    let steady = try cells.map { try $0.steadyPings(seconds: Pairing.steadySeconds) }
    for cell in cells { try cell.floods(lab) }
    for (cell, pings) in zip(cells, steady) {
      let lost = try pings.map { try $0.result(within: 180).lost }
      try lab.require(lost == [0, 0], "\(cell.title): no ping lost across the rekey", "lost \(lost)")
    }
    for (cell, before) in zip(cells, handshakes) {
      let after = try cell.handshakeTime()
      try lab.require(after > before, "\(cell.title): rekeyed after \(after - before) s")
    }
    lab.say("TCP through each tunnel, Gbit/s there and back")
    for pairing in pairings { try pairing.serveThroughput() }
    for cell in cells { try cell.throughput(lab) }

    for pairing in pairings { try pairing.requireRoles() }
    try lab.require(true, "in two minutes of steady pings, only the initiators initiated")
  }
}

/// Two machines on a cable: the left one has the implementation under test, the right one another.
private final class Pairing {
  let left: Host
  let right: any Machine
  private(set) var cells: [Cell] = []
  private var initiations: Capture?

  private static let leftOuter = ["192.0.2.1", "2001:db8:2::1"]
  private static let rightOuter = ["192.0.2.2", "2001:db8:2::2"]
  /// How long the steady pings go on: one rekey, after 120 s, and a little.
  static let steadySeconds = 132
  private static func port(_ index: Int) -> Int { 52_000 + index }

  /// Builds the cable and eight tunnels over it: both families outside, with and without a preshared key, both ways round.
  init(in lab: Lab, number: Int, other: Implementation) throws {
    let outer = (left: Self.leftOuter, right: Self.rightOuter)
    left = try lab.host("left\(number)")
    let port = left.port("wan", outer.left[0] + "/24", outer.left[1] + "/64")
    if other == .kernel {
      lab.say("booting a Linux kernel with WireGuard of its own")
      let guest = try Guest("kernel", pluggedInto: port)
      try guest.shell(
        """
        ip addr add \(outer.right[0])/24 dev eth0 && ip addr add \(outer.right[1])/64 dev eth0 nodad
        """)
      right = guest
    } else {
      let host = try lab.host("right\(number)")
      try lab.cable(port, host.port("wan", outer.right[0] + "/24", outer.right[1] + "/64"))
      right = host
    }
    for address in outer.right { try left.reach(address) }

    for index in 0..<8 {
      let (family, hasSecret, leftSpeaksFirst) = (index & 1, index & 2 != 0, index & 4 == 0)
      let interface = "wg\(index)"
      let near = try Node(on: left, lab.implementation, interface: interface)
      let far =
        if let host = right as? Host {
          try Node(on: host, other, interface: interface)
        } else {
          try Node(in: right as! Guest, interface: interface)
        }
      let secret = hasSecret ? try lab.command("wg", "genpsk").trimmed : nil
      let v6 = family == 1
      func bracketed(_ address: String) -> String { (v6 ? "[\(address)]" : address) + ":\(Self.port(index))" }
      let prefix = (v4: "10.\(number).\(index)", v6: "fd00:\(number):\(index):")
      let names = leftSpeaksFirst ? [lab.implementation, other] : [other, lab.implementation]
      // Against itself both ways round look alike.
      let side = other == lab.implementation && !leftSpeaksFirst ? ", right first" : ""
      let title =
        "\(names[0].rawValue) → \(names[1].rawValue) over \(v6 ? "IPv6" : "IPv4")\(hasSecret ? " with psk" : "")\(side)"

      try near.configure(
        listenPort: Self.port(index),
        peers: [
          PeerSettings(
            far.keys.publicKey, presharedKey: secret,
            endpoint: leftSpeaksFirst ? bracketed(outer.right[family]) : nil,
            allowedIPs: [prefix.v4 + ".2/32", prefix.v6 + ":2/128"])
        ])
      try far.configure(
        listenPort: Self.port(index),
        peers: [
          PeerSettings(
            near.keys.publicKey, presharedKey: secret,
            endpoint: leftSpeaksFirst ? nil : bracketed(outer.left[family]),
            allowedIPs: [prefix.v4 + ".1/32", prefix.v6 + ":1/128"])
        ])
      try near.up([prefix.v4 + ".1/30", prefix.v6 + ":1/64"])
      try far.up([prefix.v4 + ".2/30", prefix.v6 + ":2/64"])
      cells.append(
        Cell(
          title: title, left: left, right: right, near: near, far: far, leftSpeaksFirst: leftSpeaksFirst,
          nearInner: [prefix.v4 + ".1", prefix.v6 + ":1"], farInner: [prefix.v4 + ".2", prefix.v6 + ":2"]))
    }
  }

  /// Starts to note who sends handshake initiations (type 1, reserved bytes zero).
  func watchInitiations() throws {
    initiations = try left.capture(
      on: "wan", "(ip and udp[8:4] = 0x01000000) or (ip6 and ip6[48:4] = 0x01000000)")
  }

  /// Fails unless in every tunnel it was the initiator, and nobody else, who began both sessions of the steady pings. What
  /// is sent later, after a silence, may find a session that has expired, and then whoever sends it begins.
  func requireRoles() throws {
    initiations?.stop()
    let packets = try initiations?.packets() ?? []
    for (index, cell) in cells.enumerated() {
      let ours = packets.filter { $0.sourcePort == Self.port(index) }
      let end = (ours.map(\.time).min() ?? 0) + Double(Self.steadySeconds)
      let sources = ours.filter { $0.time < end }.map { Self.leftOuter.contains($0.source) }
      guard sources.count >= 2, sources.allSatisfy({ $0 == cell.leftSpeaksFirst }) else {
        throw Disproved(
          claim: "\(cell.title): the initiator began both sessions",
          detail: "\(sources.filter { $0 }.count) from the left, \(sources.filter { !$0 }.count) from the right")
      }
    }
  }

  func serveThroughput() throws {
    try Throughput.serve(on: right)
  }
}

/// One tunnel of the matrix.
private struct Cell {
  let title: String
  let left: Host
  let right: any Machine
  let near: Node
  let far: Node
  let leftSpeaksFirst: Bool
  let nearInner: [String]
  let farInner: [String]

  /// Lets the side that is to be the initiator send, and waits for its answer. The other side cannot begin: it has no
  /// endpoint.
  func establish() throws {
    let responder = leftSpeaksFirst ? far : near
    guard try responder.column("endpoints").values.allSatisfy({ $0 == "(none)" }) else {
      throw Disproved(claim: "\(title): the responder does not know the initiator's address", detail: "")
    }
    for address in leftSpeaksFirst ? farInner : nearInner {
      try waitUntil("\(title): \(address) answers", within: 30) {
        try (leftSpeaksFirst ? left : right).attempt(
          ["ping", "-q", "-n", "-c", "1", "-W", "2", address], input: nil, environment: [:], within: 20
        ).succeeded
      }
    }
  }

  func handshakeTime() throws -> Int {
    try near.latestHandshake(with: far.keys.publicKey)
  }

  /// Five pings a second on each family, in the background.
  func steadyPings(seconds: Int) throws -> [Ping] {
    try farInner.map { try left.startPing($0, count: seconds * 5, every: 0.2) }
  }

  /// Five thousand pings on each family as fast as the answers come.
  func floods(_ lab: Lab) throws {
    var means: [String] = []
    for address in farInner {
      let result = try left.floodPing(address, count: 5000)
      guard result.lost == 0 else {
        throw Disproved(claim: "\(title): 5,000 pings to \(address)", detail: "lost \(result.lost)")
      }
      means.append("\(result.roundTrips.mean)")
    }
    try lab.require(true, "\(title): 10,000 pings answered, mean \(means.joined(separator: " and ")) ms")
  }

  func throughput(_ lab: Lab) throws {
    let there = try Throughput.measure(from: left, to: farInner[0])
    let back = try Throughput.measure(from: left, to: farInner[1], back: true)
    try lab.require(
      there > 0 && back > 0, String(format: "%@: %.2f there, %.2f back", title, there, back))
  }
}
