/// Traffic of every kind through a fresh tunnel with one setting, and what it must leave in the counters.
struct OffloadTrial {
  private let lab: Lab
  private let setting: OffloadSetting
  private let random: SeededGenerator
  private let tunnel: Tunnel
  private let isOurs: Bool
  /// Every second trial has the tunnel inside over IPv4, the others over IPv6.
  private let isInnerOverV4: Bool

  init(_ lab: Lab, _ setting: OffloadSetting, number: Int, _ random: SeededGenerator) throws {
    self.lab = lab
    self.setting = setting
    self.random = random
    isInnerOverV4 = number.isMultiple(of: 2)
    isOurs = lab.implementation == .wg6
    tunnel = try Tunnel(
      in: lab, suffix: "\(number)", environment: setting.environment(isClient: true),
      serverEnvironment: setting.environment(isClient: false),
      serverImplementation: setting.serverImplementation)
    if !setting.missingInCards.isEmpty {
      for host in [tunnel.client, tunnel.server] {
        try host.run(["ethtool", "-K", "wan"] + setting.missingInCards.flatMap { [$0, "off"] })
      }
    }
    try tunnel.establish()
  }

  func play() throws {
    try streams()
    let inner = try datagramsInRuns()
    try pings()
    try requireNothingDropped()
    for node in [inner.clientNode, inner.serverNode, tunnel.clientNode, tunnel.serverNode] { node.daemon?.stop() }
  }

  /// TCP and datagrams both ways over both families, some of the datagrams in fragments: super-packets of TCP.
  private func streams() throws {
    let (there, back) = try carry("TCP both ways, IPv4 and IPv6") {
      try [
        (Tunnel.clientInner.v4, Tunnel.serverInner.v4, 7004), (Tunnel.clientInner.v6, Tunnel.serverInner.v6, 7006),
      ].map { own, target, port in
        try CheckedTraffic(
          from: (tunnel.client, own), to: (tunnel.server, target), port: port,
          load: .init(datagramSizes: 16...3000), random: random)
      }
    }
    let whole = (there["IpReasmOKs"] + back["IpReasmOKs"], there["Ip6ReasmOKs"] + back["Ip6ReasmOKs"])
    guard whole.0 > 0, whole.1 > 0 else {
      throw Disproved(claim: "\(setting.title): datagrams arrive in fragments, too", detail: "\(whole)")
    }
    try require(sizes(there, back, offload: "tso"))
  }

  /// A tunnel in the tunnel: super-packets of UDP.
  private func datagramsInRuns() throws -> InnerTunnel {
    let inner = try InnerTunnel(
      lab, tunnel, overV4: isInnerOverV4, environment: OffloadSetting.nothingOff)
    try tunnel.client.reach(InnerTunnel.server.v4)
    let (there, back) = try carry(
      "TCP both ways through a tunnel inside over IPv\(isInnerOverV4 ? 4 : 6)", interfaces: ["wg1"]
    ) {
      [
        try CheckedTraffic(
          from: (tunnel.client, InnerTunnel.client.v4), to: (tunnel.server, InnerTunnel.server.v4), port: 7008,
          load: .init(datagramSizes: 16...1300), random: random)
      ]
    }
    try require(sizes(there, back, offload: "uso"))
    return inner
  }

  private func pings() throws {
    for address in [Tunnel.serverInner.v4, Tunnel.serverInner.v6] {
      let lost = try tunnel.client.floodPing(address, count: 300).lost
      guard lost == 0 else {
        throw Disproved(claim: "\(setting.title): 300 pings to \(address)", detail: "\(lost) lost")
      }
    }
  }

  /// Lets traffic flow for a moment, and longer where little goes through; every byte must be right. Returns what both
  /// hosts' kernels counted meanwhile, on `interfaces` besides the tunnel and the cable: the client's, and the server's.
  private func carry(
    _ what: String, interfaces: [String] = [], _ start: () throws -> [CheckedTraffic]
  ) throws -> (client: NetworkCounters, server: NetworkCounters) {
    let interfaces = ["wg0", "wan"] + interfaces
    func look() throws -> [NetworkCounters] {
      try [tunnel.client, tunnel.server].map { try NetworkCounters(of: $0, interfaces: interfaces) }
    }
    let before = try look()
    let traffic = try start()
    let end = Clock.seconds + 0.5
    try waitUntil("\(setting.title): \(what)", within: 60) {
      let figures = traffic.map(\.figures)
      if let wrong = figures.first(where: { !$0.isSound }) {
        throw Disproved(claim: "\(setting.title): \(what)", detail: "\(wrong)")
      }
      return Clock.seconds > end && figures.allSatisfy { min($0.streamed.there, $0.streamed.back) > 2_000_000 }
    }
    let figures = traffic.map { $0.finish() }
    let counted = zip(try look(), before).map(-)
    func sum(_ part: (CheckedTraffic.Figures) -> Int) -> Int { figures.reduce(0) { $0 + part($1) } }
    let (sent, arrived) = (sum(\.datagramsSent), sum(\.datagramsArrived))
    // Streams as fast as they go fill every queue now and then. The kernel counts what it drops then, a super-packet as
    // one; what is lost beside that, we have lost.
    let overflows = counted.reduce(0) { $0 + $1.overflows(on: interfaces) }
    try lab.require(
      figures.allSatisfy(\.isSound) && arrived > 0 && sent - arrived <= overflows * 64,
      "\(setting.title): \(what), \(sum(\.streamed.there) / 1_000_000) MB there, \(sum(\.streamed.back) / 1_000_000) MB back: "
        + "none altered, none twice; \(sent - arrived) of \(sent) datagrams lost, \(overflows) packets in full queues",
      "\(figures)")
    return (counted[0], counted[1])
  }
}

/// How large a mean packet was at some place, and whether it must have been larger than any packet can be alone.
private struct MeanSize {
  let place: String
  let size: Double
  /// The largest that is no super-packet.
  let limit: Double
  /// `nil` where both will do.
  let isSuper: Bool?

  var isRight: Bool { isSuper == nil || isSuper == (size > limit) }
}

extension OffloadTrial {
  /// Where packets must have been super-packets, and where none may have been. Without this an offload that silently does
  /// not work would look like one that does.
  private func sizes(_ client: NetworkCounters, _ server: NetworkCounters, offload: String) -> [MeanSize] {
    [true, false].flatMap { isThere in
      let (sender, receiver) = isThere ? (client, server) : (server, client)
      func sends(_ offload: String) -> Bool { setting.uses(offload, isClient: isThere) }
      func receives(_ offload: String) -> Bool { setting.uses(offload, isClient: !isThere) }
      // An Ethernet header is counted on the cable. A message is what one call receives.
      let messages = receiver["UdpInDatagrams"] + receiver["UdpRcvbufErrors"]
      let messageSize = Double(receiver["wan/statistics/rx_bytes"]) / Double(max(1, messages))
      let cardsSegment = setting.missingInCards.isEmpty
      // Trains that come one datagram at a time are still merged, if enough of them are there at once.
      let comesInRuns = sends("gso") && receives("gro") && cardsSegment
      return [
        MeanSize(
          place: "read", size: sender.meanSize(on: "wg0", .sent), limit: 1420, isSuper: sends(offload)),
        MeanSize(
          place: "on the cable", size: sender.meanSize(on: "wan", .sent), limit: 1514,
          isSuper: sends("gso") && cardsSegment),
        // Among them may be those of a tunnel inside.
        MeanSize(
          place: "received", size: messageSize, limit: 1514,
          isSuper: !comesInRuns ? false : offload == "tso" ? true : nil),
        MeanSize(
          place: "written", size: receiver.meanSize(on: "wg0", .received), limit: 1420,
          isSuper: !receives(offload) ? false : comesInRuns ? true : nil),
      ]
    }
  }

  private func require(_ sizes: [MeanSize]) throws {
    let half = sizes.count / 2
    let text = (0..<half).map { "\(sizes[$0].place) \(Int(sizes[$0].size)) and \(Int(sizes[half + $0].size))" }
      .joined(separator: ", ")
    guard isOurs else { return }
    try lab.require(sizes.allSatisfy(\.isRight), "\(setting.title): \(text)", "\(sizes.filter { !$0.isRight })")
  }

  /// The daemons found nothing wrong with anything, for nobody spoiled anything.
  private func requireNothingDropped() throws {
    guard isOurs else { return }
    for node in [tunnel.clientNode, tunnel.serverNode] where node.implementation == .wg6 {
      let drops = try node.unexpectedDrops()
      guard drops.isEmpty else {
        throw Disproved(claim: "\(setting.title): \(node.machine.name) dropped nothing", detail: "\(drops)")
      }
    }
  }
}
