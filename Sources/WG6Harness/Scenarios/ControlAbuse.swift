import Foundation

extension Scenario {
  /// Requests on the control socket that no tool would make.
  static let controlAbuse = Scenario(
    "control-abuse", "two hundred broken requests, halves, giants and many clients at once on the control socket"
  ) { lab in
    var random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it)")
    let tunnel = try Tunnel(in: lab, environment: ["LOG_LEVEL": "verbose"])
    try tunnel.establish()
    let daemon = tunnel.serverNode.daemon!
    let state = { () throws -> String in try tunnel.server.run("wg", "showconf", "wg0").output }
    let before = try state()

    var accepted: [String] = []
    var silent = 0
    for _ in 0..<200 {
      let request = BrokenRequest.drawn(peer: tunnel.clientKey, &random)
      let logged = daemon.output.utf8.count + daemon.complaints.utf8.count
      let socket = try ControlSocket(on: tunnel.server, interface: "wg0")
      socket.send(request)
      socket.finishSending()
      if socket.errorNumber() == 0 { accepted.append(request) }
      if daemon.output.utf8.count + daemon.complaints.utf8.count == logged { silent += 1 }
    }
    try lab.require(accepted.isEmpty, "200 broken requests, each refused", "\(accepted)")
    lab.say("  \(200 - silent) of the refusals left a message in the daemon's log at once")
    if lab.implementation == .wg6 {
      try lab.require(state() == before, "nothing changed on the interface", state())
    } else {
      // wireguard-go applies what stands before the mistake; undo that.
      try tunnel.serverNode.set("listen-port", "\(Tunnel.port)", "fwmark", "off")
    }

    lab.say("half requests, giants, and clients that say nothing")
    let idle = try (0..<50).map { _ in try ControlSocket(on: tunnel.server, interface: "wg0") }
    // wireguard-go takes its lock with a request's first line and keeps it.
    let halves = lab.implementation == .wg6 ? 25 : 0
    for client in idle.prefix(halves) { client.send("set=1\nlisten_po") }
    let giant = try ControlSocket(on: tunnel.server, interface: "wg0")
    giant.send("set=1\nprivate_key=" + String(repeating: "a", count: 4 << 20))
    giant.finishSending()
    try lab.require(giant.errorNumber() != 0, "a line of four megabytes is refused")
    try lab.require(
      tunnel.server.attempt(["wg", "show", "wg0"], within: 10).succeeded, "with fifty idle clients, `wg show` is served"
    )
    withExtendedLifetime(idle) {}
    if lab.implementation == .wg6 { try crowd(lab, tunnel) }
    let slow = try ControlSocket(on: tunnel.server, interface: "wg0")
    for character in "get=1\n\n" { slow.send(String(character)) }
    try lab.require(slow.errorNumber() == 0, "a request that comes byte by byte is answered")
    try lab.require(
      daemon.isRunning && tunnel.answers(from: tunnel.client, Tunnel.serverInner.v6), "the tunnel works as before")
  }
}

/// More clients than the daemon has descriptors: they wait, and cost nothing meanwhile.
private func crowd(_ lab: Lab, _ tunnel: Tunnel) throws {
  let pid = tunnel.serverNode.daemon!.pid
  // The daemon may still be closing what the clients before have left; with sixty-four of ours it has enough in any case.
  let limit = Files.names(in: "/proc/\(pid)/fd").count + 10
  try tunnel.server.run("prlimit", "--pid", "\(pid)", "--nofile=\(limit):1024")
  var clients = try (0..<64).map { _ in try ControlSocket(on: tunnel.server, interface: "wg0") }
  try waitUntil("every descriptor is taken") { Files.names(in: "/proc/\(pid)/fd").count >= limit }
  let before = Usage(of: pid), start = Clock.seconds
  try lab.require(
    tunnel.client.floodPing(Tunnel.serverInner.v6, count: 500).lost == 0, "out of descriptors, the tunnel goes on")
  try waitUntil("a second has passed") { Clock.seconds - start > 1 }
  let control = Usage(of: pid).shares(since: before, over: Clock.seconds - start).of["wg6d"] ?? 0
  try lab.require(control < 0.2, "and nobody spins: the control thread had \(Usage.percent(control)) of a processor")
  let last = clients.removeLast()
  last.send("get=1\n\n")
  withExtendedLifetime(clients) {}
  clients = []
  try lab.require(last.errorNumber() == 0, "who waited is served once the others have gone")
  try tunnel.server.run("prlimit", "--pid", "\(pid)", "--nofile=1024:1024")
  try lab.require(
    tunnel.server.attempt(["wg", "show", "wg0"], within: 10).succeeded, "once they have gone, `wg show` is served")
}

/// Requests with exactly one mistake, each at some place among lines that are right.
private enum BrokenRequest {
  static func drawn(peer: String, _ random: inout SeededGenerator) -> String {
    let key = ControlSocket.hexadecimal(peer)
    func junk(_ count: Int) -> String {
      (0..<count).map { _ in String("0123456789abcdefghijkl:/.=%-".randomElement(using: &random)!) }.joined()
    }
    let number = Int.random(in: 65_536...99_999_999, using: &random)
    let device = [
      "listen_port=\(number)", "listen_port=-1", "listen_port=", "listen_port=12x", "fwmark=0x1ffffffff",
      "fwmark=mark", "private_key=\(key.dropLast())", "private_key=\(key)00", "private_key=z\(key.dropFirst())",
      "replace_peers=maybe", "no_such_key=1", "listen_port", "=", "x" + junk(20), "endpoint=198.51.100.2:1",
      "allowed_ip=10.0.0.0/8", "preshared_key=\(key)", "persistent_keepalive_interval=5",
      "public_key=\(key.dropLast(2))", "public_key=", "public_key=" + junk(64) + "!",
    ]
    let ofPeer = [
      "endpoint=198.51.100.2", "endpoint=198.51.100.2:70000", "endpoint=:51820", "endpoint=[2001:db8::1:51820",
      "endpoint=2001:db8::1:port", "endpoint=host.invalid:51820", "allowed_ip=10.0.0.0/33", "allowed_ip=10.0.0/24",
      "allowed_ip=2001:db8::/129", "allowed_ip=10.0.0.0/-1", "allowed_ip=", "allowed_ip=10.0.0.0/",
      "persistent_keepalive_interval=65536", "persistent_keepalive_interval=-1", "persistent_keepalive_interval=x",
      "preshared_key=\(key.dropLast())", "preshared_key=g\(key.dropFirst())", "replace_allowed_ips=yes",
      "update_only=1", "remove=1", "remove=", "protocol_version=2", "protocol_version=x", "no_such_key=1",
      "listen_port=1", "private_key=\(key)", "fwmark=1",
    ]
    switch Int.random(in: 0..<10, using: &random) {
    case 0: return ["gett=1\n\n", "get=2\n\n", "set=0\n\n", "set\n\n", "hello\n\n"].randomElement(using: &random)!
    case 1..<5:
      let right = ["fwmark=7\n", "listen_port=40404\n", ""].randomElement(using: &random)!
      return "set=1\n\(right)\(device.randomElement(using: &random)!)\n\n"
    default:
      let right = ["allowed_ip=10.99.0.0/16\n", "persistent_keepalive_interval=9\n", ""].randomElement(using: &random)!
      return "set=1\npublic_key=\(key)\n\(right)\(ofPeer.randomElement(using: &random)!)\n\n"
    }
  }
}
