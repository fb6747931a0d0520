import Foundation

extension Scenario {
  /// Everything that a stranger can throw at a server, and what it costs: bounds for time, bytes and memory.
  static let flood = Scenario(
    "flood", "50,000 datagrams a second of every kind: handshakes get through, nothing is amplified, memory is bounded"
  ) { lab in
    let siege = try Siege(in: lab)
    let recording = try Recording(siege)
    let pretenders = try Pretenders(count: Scenario.isLong ? 1000 : 100, on: siege)
    let attacks = try Attack.all(on: siege, recording: recording) + [Attack.withCookie(siege)]
    try Usage.forgetPeak(of: siege.daemon.pid)
    let idle = Usage(of: siege.daemon.pid)
    lab.say("idle, the daemon has \(idle.residentKiB) KiB")

    for attack in attacks {
      // Who has no processor can't keep a promise about time. Then it counts once the machine has one to give.
      try siege.endure(attack, triesLeft: 3)
    }
    try siege.endureHalfOpen(pretenders, rounds: Scenario.isLong ? 100 : 20)

    let above = Usage(of: siege.daemon.pid).peakKiB - idle.residentKiB
    try lab.require(
      above <= 8 << 10, "memory: after all that, the daemon's peak is \(above) KiB above idle",
      "\(above) KiB above idle")
    let pings = try siege.tunnel.client.floodPing(Tunnel.serverInner.v4, count: 1000)
    try lab.require(pings.lost == 0, "the session goes on: 1,000 pings, none lost", "\(pings.lost) lost")
  }
}

extension Siege {
  /// Seconds that each flood lasts at least.
  private static var endurance: Double { Scenario.isLong ? 30 : 2 }

  /// Two handshakes and some pings of honest peers' while the attack goes on, and what it cost.
  fileprivate func endure(_ attack: Attack, triesLeft: Int) throws {
    lab.say("\(attack.name), \(attack.rate) a second")
    try makeVisitorFresh()
    let sample = try attacker.capture(on: "wan", "udp port \(Tunnel.port)", packets: 20_000, bytes: 64)
    let before = (bytes: try attackersBytes(), usage: Usage(of: daemon.pid), time: Clock.seconds)
    let flood = try flood(attack.datagrams, to: attack.target, sources: attack.sources, rate: attack.rate)
    defer { _ = flood.stop() }
    try waitUntil("the flood is under way", within: 5) { flood.sent > attack.rate / 4 }

    let fresh = try handshake()
    try endVisitorsSession()
    let known = try handshake()
    try waitUntil("the flood has lasted", within: 60) { Clock.seconds - before.time > Siege.endurance }
    let pings = try tunnel.client.startPing(Tunnel.serverInner.v4, count: 50, every: 0.01).result(within: 30)
    let after = (bytes: try attackersBytes(), usage: Usage(of: daemon.pid), time: Clock.seconds)
    let report = flood.stop()
    sample.stop()

    let shares = after.usage.shares(since: before.usage, over: after.time - before.time)
    let sent = after.bytes.sent - before.bytes.sent, received = after.bytes.received - before.bytes.received
    lab.say(
      "  \(report.rate) a second were sent; the daemon had \(Usage.percent(shares.total)) of a processor "
        + "(\(shares.text)), and \(after.usage.peakKiB) KiB at the most")
    let starved = (after.usage.starved - before.usage.starved) / (after.time - before.time)
    if starved > 0.25, triesLeft > 1 {
      lab.say(
        "  once more: other programs kept the daemon waiting for a processor \(Usage.percent(starved)) of the time")
      return try endure(attack, triesLeft: triesLeft - 1)
    }
    try require(fresh, "a fresh peer")
    try require(known, "a peer that has been here")
    // On two processors that everyone shares some may drown in a full buffer; most may not.
    try lab.require(
      pings.received * 10 >= pings.sent * 8,
      "the session: \(pings.received) of \(pings.sent) pings answered, in \(pings.roundTrips.mean) ms on average",
      "\(pings.lost) of \(pings.sent) lost")
    try lab.require(
      received <= sent, "no amplification: \(received) bytes of answers to \(sent)", "\(received) bytes to \(sent)")
    try requireNoAmplification(in: sample.packets(), of: attack)
    // Load is remembered for a second; the next attack starts from rest.
    try waitUntil("the server rests", within: 10) { Clock.seconds - after.time > 1.5 }
  }

  /// The initiator's own rule is one initiation in 5 s: who gets its first cookie may send it no sooner.
  private func require(_ handshake: Handshake, _ who: String) throws {
    guard handshake.wasAskedForCookie, let withCookie = handshake.withCookie else {
      return try lab.require(
        handshake.total < 2, "\(who): a handshake in \(handshake.total.milliseconds) ms", "\(handshake)")
    }
    try lab.require(
      withCookie < 2 && handshake.initiations <= 2,
      "\(who): asked for a cookie, and a handshake \(withCookie.milliseconds) ms after it was sent, at the second try",
      "\(handshake)")
  }

  /// What a capture says: no address has received more bytes than it has sent.
  private func requireNoAmplification(in packets: [CapturedPacket], of attack: Attack) throws {
    var balance: [String: Int] = [:]
    var answers = 0
    for packet in packets {
      if packet.destinationPort == Tunnel.port {
        balance[packet.source, default: 0] += packet.length
      } else {
        answers += 1
        balance[packet.destination, default: 0] -= packet.length
      }
    }
    guard packets.count > 1000, answers > 0 || !attack.isHandshake else {
      throw Disproved(claim: "the capture saw the flood", detail: "\(packets.count) packets, \(answers) answers")
    }
    let worst = balance.min { $0.value < $1.value }
    try lab.require(
      (worst?.value ?? 0) >= 0,
      "no amplification in \(packets.count) captured packets, \(answers) of them answers, to any of \(balance.count) addresses",
      "\(worst?.key ?? "") got \(-(worst?.value ?? 0)) bytes more than it sent")
  }
}

extension Double {
  var milliseconds: String { String(format: "%.1f", self * 1000) }
}
