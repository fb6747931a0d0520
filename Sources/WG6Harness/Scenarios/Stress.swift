import Foundation

extension Scenario {
  /// Against other people's WireGuard, for long, on a bad path.
  static let stress = Scenario(
    "stress", "checked streams and datagrams both ways for minutes, 2% lost, 5% overtaking, 20 ± 10 ms, against others",
    needs: [.program("wireguard-go", package: "wireguard-go"), .kernelPeer]
  ) { lab in
    let seconds = lab.minutes.map { $0 * 60 } ?? 20
    let random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it); \(Int(seconds)) s")
    let field = try StressField(lab)
    let runs = [
      try field.run(of: lab.implementation, towards: .wireguardGo, number: 1, random),
      try field.run(of: .wireguardGo, towards: lab.implementation, number: 2, random),
      try field.run(of: lab.implementation, towards: .kernel, number: 3, random),
      try field.run(of: .kernel, towards: lab.implementation, number: 4, random),
    ]
    defer { for run in runs { run.relay.stop() } }
    for run in runs { try run.start() }
    lab.say("four tunnels, each with a TCP stream of 500 kB and 50 datagrams a second both ways")
    let end = Clock.seconds + seconds
    var told = Clock.seconds
    try waitUntil("the time is over", within: seconds + 60, every: 1) {
      for run in runs { try run.watch() }
      if Clock.seconds - told >= 60 {
        told = Clock.seconds
        for run in runs { lab.say("  \(run.title): \(run.summary)") }
      }
      return Clock.seconds >= end
    }
    for run in runs { try run.require(lab, seconds: seconds) }
  }
}

/// All machines on one switch: ours, wireguard-go's, a kernel's with a host behind it, and one whose relays spoil it.
private final class StressField {
  private let lab: Lab
  private let left: Host
  private let right: Host
  private let behind: Host
  private let middle: Host
  private let guest: Guest

  private static let outer = (
    left: "198.51.100.1", right: "198.51.100.2", middle: "198.51.100.3", guest: "198.51.100.4"
  )
  /// Where the kernel's streams end: programs of ours do not run in the guest, so it forwards.
  private static let behind = "10.80.0.2"

  init(_ lab: Lab) throws {
    self.lab = lab
    left = try lab.host("left")
    right = try lab.host("right")
    middle = try lab.host("middle")
    behind = try lab.host("behind")
    let outer = StressField.outer
    let device = try lab.plug(
      [
        left.port("wan", outer.left + "/24"), right.port("wan", outer.right + "/24"),
        middle.port("wan", outer.middle + "/24"), behind.port("lan", StressField.behind + "/24"),
      ], into: "switch")
    lab.say("booting a Linux kernel with WireGuard of its own")
    guest = try Guest("kernel", pluggedInto: device.port("guest"))
    try device.ip("link", "set", "guest", "master", "bridge")
    try guest.shell(
      """
      ip addr add \(outer.guest)/24 dev eth0 && ip addr add 10.80.0.1/24 dev eth0
      echo 1 >/proc/sys/net/ipv4/ip_forward
      """)
    try behind.route(via: "10.80.0.1")
    try behind.reach("10.80.0.1")
    try middle.reach(outer.guest)
  }

  /// A tunnel in which `first` initiates, through a relay, to `second`. One of the two is the one under test, on `left`.
  func run(
    of first: Implementation, towards second: Implementation, number: Int, _ random: SeededGenerator
  ) throws -> StressRun {
    let interface = "wg\(number)"
    let near = try Node(on: left, lab.implementation, interface: interface)
    let other = number.isMultiple(of: 2) ? first : second
    let far =
      other == .kernel ? try Node(in: guest, interface: interface) : try Node(on: right, other, interface: interface)
    let addresses = (near: "10.66.\(number).1", far: "10.66.\(number).2")
    let port = 51_820 + number
    let relayPort = 4000 + 2 * number
    let relayed = "\(StressField.outer.middle):\(relayPort)"
    let initiates = !number.isMultiple(of: 2)
    let routes = other == .kernel ? [addresses.far + "/32", StressField.behind + "/32"] : [addresses.far + "/32"]
    try near.configure(
      listenPort: port,
      peers: [PeerSettings(far.keys.publicKey, endpoint: initiates ? relayed : nil, allowedIPs: routes)])
    try far.configure(
      listenPort: port,
      peers: [
        PeerSettings(near.keys.publicKey, endpoint: initiates ? nil : relayed, allowedIPs: [addresses.near + "/32"])
      ])
    try near.up([addresses.near + "/24"])
    try far.up([addresses.far + "/24"])
    let server =
      initiates ? (other == .kernel ? StressField.outer.guest : StressField.outer.right) : StressField.outer.left
    let weather = Relay.Weather(loss: 0.02, reordering: 0.05, delay: 0.010...0.030)
    let relay = try Relay(
      on: middle, address: StressField.outer.middle, port: relayPort, server: SocketAddress(server, port),
      weather: weather, random: SeededGenerator(seed: random.seed &+ UInt64(number)), recordsAtMost: 0)
    // Two tunnels lead to the host behind the kernel: the near address tells which.
    if other == .kernel {
      try left.ip("rule", "add", "from", addresses.near, "table", "\(100 + number)")
      try left.ip("route", "add", "default", "dev", interface, "table", "\(100 + number)")
    }
    return StressRun(
      title: "\(first.rawValue) → \(second.rawValue)", near: near, far: far, relay: relay, initiates: initiates,
      from: (left, addresses.near), to: other == .kernel ? (behind, StressField.behind) : (right, addresses.far),
      wake: addresses, port: 7100 + number, random: SeededGenerator(seed: random.seed &+ UInt64(100 + number)))
  }
}

/// One tunnel under stress.
private final class StressRun {
  let title: String
  let relay: Relay
  private let near: Node
  private let far: Node
  private let initiates: Bool
  private let from: (host: Host, address: String)
  private let to: (host: Host, address: String)
  private let wake: (near: String, far: String)
  private let port: Int
  private let random: SeededGenerator
  private var traffic: CheckedTraffic?
  private var handshakes: Set<Int> = []

  init(
    title: String, near: Node, far: Node, relay: Relay, initiates: Bool, from: (host: Host, address: String),
    to: (host: Host, address: String), wake: (near: String, far: String), port: Int, random: SeededGenerator
  ) {
    self.title = title
    self.near = near
    self.far = far
    self.relay = relay
    self.initiates = initiates
    self.from = from
    self.to = to
    self.wake = wake
    self.port = port
    self.random = random
  }

  /// Lets the initiator speak first, and then the streams begin.
  func start() throws {
    let speaker = initiates ? near.machine : far.machine
    try waitUntil("\(title): the first answer", within: 60) {
      try speaker.attempt(
        ["ping", "-q", "-n", "-c", "1", "-W", "1", initiates ? wake.far : wake.near], input: nil, environment: [:],
        within: 20
      ).succeeded
    }
    traffic = try CheckedTraffic(
      from: from, to: to, port: port, load: .init(streamRate: 500_000, datagramRate: 50, datagramSizes: 16...1300),
      random: random)
  }

  /// Notes handshakes and stops the scenario at the first wrong byte.
  func watch() throws {
    handshakes.insert(try near.latestHandshake(with: far.keys.publicKey))
    let figures = traffic!.figures
    guard figures.isSound else {
      throw Disproved(claim: "\(title): nothing altered, nothing twice", detail: "\(figures)")
    }
  }

  var summary: String {
    let now = traffic!.figures
    let weather = relay.figures
    return String(
      format:
        "TCP %.1f MB there, %.1f MB back, %d wrong bytes; UDP %d sent, %d arrived (%.2f%% lost), %d twice, %d wrong; "
        + "%d rekeys; the relay lost %d of %d (%.2f%%), %d overtook", Double(now.streamed.there) / 1e6,
      Double(now.streamed.back) / 1e6, now.wrongBytes, now.datagramsSent, now.datagramsArrived, now.lossPercent,
      now.datagramsTwice, now.datagramsWrong, handshakes.count - 1, weather.lost, weather.carried,
      100 * Double(weather.lost) / Double(max(1, weather.carried)), weather.overtaking)
  }

  func require(_ lab: Lab, seconds: Double) throws {
    let figures = traffic!.finish(within: 60)
    let weather = relay.figures
    try lab.require(
      figures.isSound && figures.streamed.there > 0 && figures.streamed.back > 0, "\(title): \(summary)", "\(figures)")
    // What the relay loses is lost, and little more: a rekey takes nothing along.
    try lab.require(
      figures.lossPercent < 4,
      String(format: "%@: %.2f%% of the datagrams lost, as the path has it", title, figures.lossPercent),
      "\(figures)")
    let rekeys = Int(seconds / 125)
    let initiations = (
      by: weather.initiations[.toServer, default: 0], against: weather.initiations[.toClient, default: 0]
    )
    try lab.require(
      handshakes.count - 1 >= rekeys && initiations.by > rekeys,
      "\(title): \(handshakes.count - 1) rekeys, \(initiations.by) initiations from the initiator, \(initiations.against) against",
      "expected at least \(rekeys)")
  }
}
