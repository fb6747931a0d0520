import Foundation

/// A host with two ways outside and a LAN behind it, and its tunnel, which takes everything.
final class LeakHunt {
  static let far = (v4: "192.0.2.7", v6: "2001:db8:99::7")
  static let gateways = ["198.51.100.1", "2001:db8:100::1", "203.0.113.1", "2001:db8:200::1"]
  static let uplinks = [("wan", "198.51.100", "2001:db8:100"), ("lte", "203.0.113", "2001:db8:200")]

  let lab: Lab
  let home: Host
  let net: Host
  let laptop: Host
  let server: Node
  let ownKeys: KeyPair
  let killSwitch: String
  let frontend: Frontend
  var watches: [LeakWatch] = []
  var chatters: [Chatter] = []
  var pings: [Ping] = []
  var listeners: [Int32] = []
  var phases: [(name: String, start: Double)] = []

  init(in lab: Lab, killSwitch: String) throws {
    self.lab = lab
    self.killSwitch = killSwitch
    frontend = Frontend(implementation: lab.implementation)
    ownKeys = try KeyPair.fresh(lab)
    home = try lab.host("home-\(killSwitch)")
    net = try lab.host("net-\(killSwitch)")
    laptop = try lab.host("laptop-\(killSwitch)")
    for (port, v4, v6) in Self.uplinks {
      try lab.cable(home.port(port, "\(v4).2/24", "\(v6)::2/64"), net.port(port, "\(v4).1/24", "\(v6)::1/64"))
    }
    let lan = try RoutedLAN(behind: home, laptop, in: lab)
    for host in [home, net] { try host.forward() }
    server = try lan.server(on: net, for: ownKeys, leadingTo: Self.far, in: lab)
    try routeOutside()
    for gateway in Self.gateways { try home.reach(gateway) }
    try lan.reachesItsGateways()
  }

  deinit { for listener in listeners { close(listener) } }

  /// How often somebody tried to say something.
  var attempts: Int { chatters.reduce(0) { $0 + $1.attempts } }

  /// Everything that befalls a tunnel.
  func play() throws {
    try talk()
    try write(endpoint: "198.51.100.1:51820")
    try switchesOn()
    try works("a tunnel that is up")
    try chat()

    begin("reload, with another endpoint")
    try write(endpoint: "[2001:db8:200::1]:51820")
    try home.run([frontend.tool(), "reload", "home"])
    try works("after a reload with an endpoint of the other family, on the other uplink")
    try chat()

    begin("another endpoint while it runs")
    try home.run("wg", "set", "home", "peer", server.keys.publicKey, "endpoint", "203.0.113.1:51820")
    try works("after the peer moved")
    try chat()

    begin("link down")
    for (port, _, _) in Self.uplinks { try home.ip("link", "set", port, "down") }
    try chat()
    begin("link up")
    for (port, _, v6) in Self.uplinks {
      try home.ip("link", "set", port, "up")
      try home.ip("-6", "addr", "replace", "\(v6)::2/64", "dev", port, "nodad")
    }
    try routeOutside()
    try works("after both uplinks were down")
    try chat()

    for (signal, name) in [(SIGKILL, "kill -9 of the daemon"), (SIGTERM, "the daemon ended by SIGTERM")] {
      begin(name)
      for pid in home.daemons(of: lab.implementation) { kill(pid, signal) }
      try waitUntil("the interface goes with the daemon") { !home.has(interface: "home") }
      try chat()
      for target in RoutedLAN.laptop {
        let answers = try home.attempt(["ping", "-q", "-n", "-c", "1", "-W", "1", target]).succeeded
        try lab.require(
          answers == (killSwitch != "yes"),
          "without a daemon \(target) on the LAN is reached: \(answers ? "yes" : "no")")
      }
      if signal == SIGTERM { try upIsKilled() }
      begin("up again")
      try frontend.up("home", on: home).orThrow()
      try works("up again after \(name)")
      try chat()
    }
    try switchesOff()
    for chatter in chatters { chatter.stop() }
    for ping in pings { ping.program.stop() }
    for watch in watches { watch.capture.stop() }
    try lab.require(watches.allSatisfy { $0.capture.missedCount == 0 }, "the captures have missed nothing")
  }

  /// An `up` that is killed as soon as there is an interface.
  private func upIsKilled() throws {
    begin("up killed half-way")
    let up = try home.start([frontend.tool(), "up", "home"])
    try waitUntil("there is an interface", every: 0.001) { isInterfaceThere(up.pid) }
    let wasInTime = up.stop(SIGKILL) == 128 + SIGKILL
    lab.say("  up was killed " + (wasInTime ? "half-way" : "too late: it had finished"))
    try chat()
  }

  /// Whether a program sees the interface; asked without a program, to be in time.
  private func isInterfaceThere(_ pid: pid_t) -> Bool {
    Files.text("/proc/\(pid)/net/dev").contains("home:")
  }

  /// What left in each phase, all links together.
  func leaks() throws -> [(phase: String, packets: Int)] {
    let packets = try watches.map { try $0.leaks() }
    return phases.indices.dropLast().map { index in
      let (start, end) = (phases[index].start, phases[index + 1].start)
      return (phases[index].name, packets.joined().count { $0.time >= start && $0.time < end })
    }
  }

  /// Some of what left, for the reader of a failure.
  func examples() throws -> String {
    guard let start = phases.first?.start, let end = phases.last?.start else { return "" }
    return try watches.flatMap { watch in
      try watch.leaks().filter { $0.time >= start && $0.time < end }.prefix(10).map { packet in
        let phase = phases.last { $0.start <= packet.time }?.name ?? ""
        return
          "\(watch.capture.interface), \(phase): \(packet.source) → \(packet.destination), transport \(packet.transport)"
      }
    }.joined(separator: "\n")
  }
}
