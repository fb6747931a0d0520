import Foundation

extension Scenario {
  /// Everything around a peer changes, again and again, and its traffic does not notice.
  static let reloadUnderLoad = Scenario(
    "reload-under-load", "100 reloads of everything but one peer, while it carries a stream and 1,000 pings a second",
    needs: [.commandLine, .program("iperf3", package: "iperf3"), .program("nft", package: "nftables")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 reloads") }
    var random = SeededGenerator.chosen()
    lab.say("seed \(random.seed)")
    let tunnel = try ReloadedTunnel(in: lab)
    let capture = try tunnel.client.capture(on: "wan", "udp[8] = 1 or udp[8] = 2 or ip6[48] = 1 or ip6[48] = 2")
    let handshakes = {
      try capture.packets().filter {
        $0.messageType.map { (1...2).contains($0) } == true
          && [$0.source, $0.destination].contains(Tunnel.serverOuter.v4)
      }.count
    }

    try Throughput.serve(on: tunnel.server)
    // As long as a hundred of them take, and half as long again: the last one must come while there is traffic.
    var file = ReloadedFile(serverKey: tunnel.serverKey, privateKey: tunnel.clientKeys.privateKey)
    let start = Clock.seconds
    _ = file.change(0, &random)
    try tunnel.reload(file)
    let seconds = max(20, Int((Clock.seconds - start) * 150))
    let stream = try Throughput.start(
      from: tunnel.client, to: Tunnel.serverInner.v4, seconds: seconds, ["-b", "200M"])
    let pings = try TimedPings(from: tunnel.client, to: Tunnel.serverInner.v4, count: seconds * 1000)
    var done: [String: Int] = [:]
    var times: [(end: Double, what: String)] = []
    for round in 1...100 {
      let what = file.change(round, &random)
      do { try tunnel.reload(file) } catch {
        throw Disproved(claim: "reload \(round), seed \(random.seed): \(what)", detail: "\(error)\n\(file.text)")
      }
      done[what, default: 0] += 1
      times.append((Clock.wallSeconds, "\(round), \(what)"))
    }
    let stillGoing = pings.program.isRunning && stream.isRunning
    for (what, count) in done.sorted(by: { $0.key < $1.key }) { lab.say("    \(count) times: \(what)") }
    try lab.require(stillGoing, "100 reloads while the traffic went on")

    let broken = file.text + "Colour = blue\n"
    let before = try tunnel.client.snapshot()
    try tunnel.write(broken)
    let refused = try tunnel.command("reload")
    try lab.require(!refused.succeeded, "a file with a mistake is refused", refused.complaints)
    let changed = Difference(before, try tunnel.client.snapshot())
    try lab.require(changed.isEmpty, "and changes nothing", changed.description)
    try tunnel.write(file.text)

    let lost = try pings.lost(within: Double(seconds) + 60)
    let when = lost.map { time in
      times.first { $0.end > time }.map { "in reload \($0.what)" } ?? "after the last reload"
    }
    try lab.require(
      lost.isEmpty, "of \(pings.count) pings none is lost",
      "seed \(random.seed): \(lost.count): \(when.joined(separator: "; "))")
    let rate = try Throughput.Result(stream.wait(within: Double(seconds) + 30).orThrow()).rate
    try lab.require(rate > 0.1, "the stream went on at \(String(format: "%.2f", rate)) Gbit/s")
    try lab.require(try handshakes() == 0, "the peer had no handshake", "\(try handshakes()) messages")

    let idle = try tunnel.command("reload", "--dry-run").orThrow()
    try lab.require(idle.output.contains("nothing"), "then there is nothing to do", idle.output)
    let reloaded = try tunnel.client.snapshot()
    try tunnel.command("down").orThrow()
    try tunnel.command("up").orThrow()
    let fresh = Difference(
      reloaded.withRulesInOrder, try tunnel.client.snapshot().withRulesInOrder, names: ("reloaded", "fresh"))
    try lab.require(fresh.isEmpty, "the machine is what a fresh up makes of the last file", "\(fresh)\n\(file.text)")
    try tunnel.client.reach(Tunnel.serverInner.v4)
    try waitUntil("the capture sees the handshake of that") { try handshakes() >= 2 }
  }
}

/// Pings, a thousand a second, of which it is known when one was lost.
private struct TimedPings {
  let program: Program
  let count: Int

  /// The numbers of pings have 16 bits.
  init(from host: Host, to target: String, count: Int) throws {
    self.count = min(count, 65_000)
    program = try host.start(["ping", "-n", "-D", "-c", "\(self.count)", "-i", "0.001", "-W", "5", target])
  }

  /// About when those were sent that had no answer, in seconds since 1970.
  func lost(within seconds: Double) throws -> [Double] {
    // "[1763756040.123456] 64 bytes from 10.66.0.1: icmp_seq=1 ttl=64 time=0.4 ms"
    let outcome = try program.wait(within: seconds)
    var times = [Double?](repeating: nil, count: count + 1)
    for line in outcome.lines {
      let words = line.split(separator: " ")
      guard let number = words.first(where: { $0.hasPrefix("icmp_seq=") }).flatMap({ Int($0.dropFirst(9)) }),
        times.indices.contains(number), line.contains("bytes from")
      else { continue }
      times[number] = Double(words[0].filter { !"[]".contains($0) })
    }
    guard times.contains(where: { $0 != nil }) else { throw ProgramFailed(outcome: outcome) }
    var last = times.lazy.compactMap { $0 }.first ?? 0
    return times.dropFirst().compactMap { time in
      if let time { last = time }
      return time == nil ? last : nil
    }
  }
}

/// A client whose tunnel `wg6` brought up from a file, and the server behind it.
private struct ReloadedTunnel {
  let client: Host
  let server: Host
  let serverKey: String
  let clientKeys: KeyPair
  private let tool: String
  private let environment: [String: String]

  init(in lab: Lab) throws {
    client = try lab.host("client")
    server = try lab.host("server")
    try client.sysctl(["net.ipv6.conf.default.dad_transmits": "0"])
    try lab.cable(
      client.port("wan", Tunnel.clientOuter.v4 + "/24", Tunnel.clientOuter.v6 + "/64"),
      server.port("wan", Tunnel.serverOuter.v4 + "/24", Tunnel.serverOuter.v6 + "/64"))
    for gateway in [Tunnel.serverOuter.v4, Tunnel.serverOuter.v6] { try client.route(via: gateway) }
    clientKeys = try KeyPair.fresh(lab)
    let node = try Node(on: server, .wg6, interface: "wg0")
    try node.configure(
      listenPort: Tunnel.port,
      peers: [
        PeerSettings(clientKeys.publicKey, allowedIPs: [Tunnel.clientInner.v4 + "/32", Tunnel.clientInner.v6 + "/128"])
      ])
    try node.up([Tunnel.serverInner.v4 + "/24", Tunnel.serverInner.v6 + "/64"])
    serverKey = node.keys.publicKey
    tool = try Binaries.path(of: "wg6")
    try FakeResolver.install(in: lab)
    try Files.makeDirectory(client.privateDirectory("/etc/wireguard") + "/resolver")
    environment = [
      "PATH": FakeResolver.directory(of: lab) + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
    ]
    try write(ReloadedFile(serverKey: serverKey, privateKey: clientKeys.privateKey).text)
    try command("up").orThrow()
    try client.reach(Tunnel.serverInner.v4)
  }

  func write(_ text: String) throws {
    try Files.write(text, to: client.privateDirectory("/etc/wireguard") + "/home.conf", mode: 0o600)
  }

  @discardableResult
  func command(_ words: String...) throws -> Outcome {
    try client.attempt([tool, words[0], "home"] + words.dropFirst(), environment: environment)
  }

  func reload(_ file: ReloadedFile) throws {
    try write(file.text)
    try command("reload").orThrow()
  }
}
