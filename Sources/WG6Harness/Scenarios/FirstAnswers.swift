import CHarness
import Foundation
import Synchronization

extension Scenario {
  /// What a restarted peer asks first is answered in its new session.
  static let firstAnswers = Scenario(
    "first-answers", "a client forgets its sessions, as a restart does, and its first ping is answered each time",
    needs: [.program("wireguard-go", package: "wireguard-go")]
  ) { lab in
    let count = Scenario.isLong ? 2000 : 100
    for (index, setting) in FirstAnswersSetting.all.enumerated() {
      let lost = try setting.lostAnswers(of: count, in: lab, number: index + 1)
      try lab.require(lost == 0, "\(setting.title): \(lost) of \(count) first answers lost")
    }
  }
}

/// Who asks whom, and under what conditions.
private struct FirstAnswersSetting {
  let title: String
  var client = Implementation.wg6
  var server = Implementation.wg6
  var isOverIPv6 = false
  var environment: [String: String] = [:]
  /// Whether the server has datagrams for the client all the while: its trains are never empty when the session changes.
  var hasLoad = false

  static let all = [
    FirstAnswersSetting(title: "wg6 over IPv4"),
    FirstAnswersSetting(title: "wg6 over IPv6", isOverIPv6: true),
    FirstAnswersSetting(title: "a client of wireguard-go", client: .wireguardGo),
    FirstAnswersSetting(title: "a server of wireguard-go", server: .wireguardGo, isOverIPv6: true),
    FirstAnswersSetting(title: "4 threads", environment: ["WG6_THREADS": "4"]),
    FirstAnswersSetting(title: "without offloads", environment: ["WG6_NO_OFFLOAD": "all"]),
    FirstAnswersSetting(title: "under load", hasLoad: true),
    FirstAnswersSetting(
      title: "4 threads, without offloads, under load", isOverIPv6: true,
      environment: ["WG6_THREADS": "4", "WG6_NO_OFFLOAD": "all"], hasLoad: true),
  ]

  /// A responder takes one initiation of a peer in 20 ms (`Limits.initiationInterval`), with timestamps that are as much
  /// apart. From the answer on, which the responder's share of the handshake precedes.
  private static let spacing = 0.03

  func lostAnswers(of count: Int, in lab: Lab, number: Int) throws -> Int {
    let outer = isOverIPv6 ? "[\(Tunnel.serverOuter.v6)]" : Tunnel.serverOuter.v4
    let tunnel = try Tunnel(
      in: lab, client, suffix: "\(number)", endpoint: "\(outer):\(Tunnel.port)", environment: environment,
      serverImplementation: server)
    try tunnel.establish()
    // A queue that overflows while the daemon waits for a processor loses answers, too.
    for host in [tunnel.client, tunnel.server] { try host.ip("link", "set", "wg0", "txqueuelen", "10000") }
    let pings = try [Tunnel.serverInner.v4, Tunnel.serverInner.v6].map { try SinglePing(from: tunnel.client, to: $0) }
    let load = try hasLoad ? SteadyDatagrams(from: tunnel.server, to: Tunnel.clientInner.v4) : nil
    defer { load?.stop() }
    let forget = forgetting(tunnel, endpoint: "\(outer):\(Tunnel.port)")
    var lost = 0
    for round in 0..<count {
      let socket = try ControlSocket(on: tunnel.client, interface: "wg0")
      socket.send(forget)
      guard socket.errorNumber() == 0 else { throw Disproved(claim: "the client forgets its session", detail: forget) }
      if !pings[round % 2].isAnswered { lost += 1 }
      Thread.sleep(forTimeInterval: Self.spacing)
    }
    return lost
  }

  /// A request that removes the server from the client's peers, and adds it again.
  private func forgetting(_ tunnel: Tunnel, endpoint: String) -> String {
    let key = ControlSocket.hexadecimal(tunnel.serverKey)
    return """
      set=1
      public_key=\(key)
      remove=true
      public_key=\(key)
      endpoint=\(endpoint)
      allowed_ip=\(Tunnel.serverInner.v4)/32
      allowed_ip=\(Tunnel.serverInner.v6)/128


      """
  }
}

/// One echo request at a time, over one socket.
private final class SinglePing {
  private let socket: Int32
  private let isIPv6: Bool

  init(from host: Host, to target: String) throws {
    isIPv6 = target.contains(":")
    try host.sysctl(["net.ipv4.ping_group_range": "0 0"])
    socket = try host.socket(
      family: isIPv6 ? AF_INET6 : AF_INET, type: SOCK_DGRAM,
      transport: Int32(isIPv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
    guard try SocketAddress(target, 0).withPointer({ connect(socket, $0, $1) }) == 0 else {
      throw SystemFailure("connect to \(target)")
    }
  }

  deinit { close(socket) }

  /// Whether an answer comes within half a second, which is more than anything but a lost packet takes.
  var isAnswered: Bool {
    var sample = 0.0
    return harness_round_trips(socket, isIPv6 ? 1 : 0, 1, 0, 500_000_000, &sample) == 1
  }
}

/// Some 10,000 datagrams a second that nothing answers.
private final class SteadyDatagrams {
  private let isStopped = Flag()
  private let sending: Background

  init(from host: Host, to target: String) throws {
    let socket = try host.socket(family: AF_INET, type: SOCK_DGRAM)
    guard try SocketAddress(target, 9).withPointer({ connect(socket, $0, $1) }) == 0 else {
      throw SystemFailure("connect to \(target)")
    }
    sending = Background { [isStopped] in
      let bytes = [UInt8](repeating: 0, count: 200)
      while !isStopped.isSet {
        for _ in 0..<16 { _ = bytes.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, 0) } }
        usleep(1500)
      }
      close(socket)
    }
  }

  func stop() {
    isStopped.set()
    sending.join()
  }
}

private final class Flag: Sendable {
  private let value = Atomic(false)

  var isSet: Bool { value.load(ordering: .relaxed) }

  func set() { value.store(true, ordering: .relaxed) }
}
