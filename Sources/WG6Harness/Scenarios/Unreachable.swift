import CHarness
import Foundation

extension Scenario {
  /// What cannot go into the tunnel is answered, so that programs fail at once.
  static let unreachable = Scenario(
    "unreachable",
    "no peer for a destination, a peer without endpoint, a packet too big: told at once, also behind NAT",
    needs: [.program("nft", package: "nftables")]
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let router = tunnel.client
    let nowhere = try KeyPair.fresh(lab)
    try tunnel.clientNode.set("peer", nowhere.publicKey, "allowed-ips", "10.78.0.0/24,fd78::/64")
    for prefix in ["10.77.0.0/24", "10.78.0.0/24", "fd77::/64", "fd78::/64"] {
      try router.ip(prefix.contains(":") ? "-6" : "-4", "route", "add", prefix, "dev", "wg0")
    }
    let cases = [
      Undeliverable("no peer", "10.77.0.9", "icmp[0] = 3 and icmp[1] = 1", error: EHOSTUNREACH),
      Undeliverable("no peer", "fd77::9", "ip6[40] = 1 and ip6[41] = 0", error: ENETUNREACH),
      Undeliverable("a peer without endpoint", "10.78.0.9", "icmp[0] = 3 and icmp[1] = 1", error: EHOSTUNREACH),
      Undeliverable("a peer without endpoint", "fd78::9", "ip6[40] = 1 and ip6[41] = 3", error: EHOSTUNREACH),
    ]
    lab.say("programs on the tunnel's own machine")
    for which in cases { try which.fails(lab, on: router, seenOn: "lo") }

    try areLimited(lab, router)
    try areNotSentAboutErrors(lab, router)

    lab.say("a host of the LAN behind it, with a strict reverse-path filter")
    let lan = try lab.host("lan")
    try lab.cable(
      lan.port("eth", "10.1.0.2/24", "fd10::2/64"), router.port("lan", "10.1.0.1/24", "fd10::1/64"))
    try router.forward()
    try lan.sysctl(["net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.eth.rp_filter": "1"])
    try lan.route(via: "10.1.0.1")
    try lan.route(via: "fd10::1")
    try lan.reach("10.1.0.1")
    try lan.reach("fd10::1")
    for which in cases { try which.fails(lab, on: lan, seenOn: "eth") }
    for (target, header) in [(Tunnel.serverInner.v4, 28), (Tunnel.serverInner.v6, 48)] {
      let ping = try lan.attempt(["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "\(1421 - header)", target])
      let said = (ping.output + ping.complaints).lowercased()
      try lab.require(
        !ping.succeeded && said.contains("mtu") && said.contains("1420"),
        "1,421 bytes to \(target) are too big for the tunnel, and the sender is told 1420", said)
    }

    lab.say("the same host behind NAT into the tunnel")
    try router.nft(
      """
      table inet nat {
        chain postrouting {
          type nat hook postrouting priority srcnat;
          oifname "wg0" masquerade
        }
      }
      """)
    try lan.reach(Tunnel.serverInner.v4)
    try lan.reach(Tunnel.serverInner.v6)
    for which in cases { try which.fails(lab, on: lan, seenOn: "eth") }

  }

  /// A thousand packets as fast as they go.
  private static func areLimited(_ lab: Lab, _ router: Host) throws {
    for (own, target, filter) in [
      (Tunnel.clientInner.v4, "10.77.0.9", "icmp[0] = 3"), (Tunnel.clientInner.v6, "fd77::9", "ip6[40] = 1"),
    ] {
      let capture = try router.capture(on: "lo", filter)
      let socket = try DatagramSocket(on: router, address: own, port: 7200)
      let address = try SocketAddress(target, 7200)
      let start = Clock.seconds
      for _ in 0..<1000 { socket.send([1, 2, 3], to: address) }
      let seconds = Clock.seconds - start
      // The last packet's answer, if it has one, comes before the answer to this ping, which is sent once more are allowed.
      try waitUntil("errors are sent again", within: 10) {
        try router.attempt(["ping", "-n", "-c", "1", "-W", "0.5", target]).output.lowercased().contains("unreachable")
      }
      capture.stop()
      let errors = capture.digest().split(separator: "\n").count
      try lab.require(
        errors >= 1 && errors <= 250,
        "1,000 packets to \(target) in \(String(format: "%.0f", seconds * 1000)) ms: \(errors) errors", "\(errors)")
    }
  }

  /// Errors about errors, about multicast and about later fragments would multiply.
  private static func areNotSentAboutErrors(_ lab: Lab, _ router: Host) throws {
    for group in ["224.0.0.0/4", "ff00::/8"] {
      try router.ip(group.contains(":") ? "-6" : "-4", "route", "add", group, "dev", "wg0", "metric", "1")
    }
    let capture = try router.capture(on: "lo", "icmp[0] = 3 or ip6[40] = 1")
    let into = try router.capture(on: "wg0", "dst host 10.77.0.9 or dst host fd77::9 or dst host 239.9.9.9")

    let v4 = try RawSocket(on: router, "10.77.0.9", transport: Int32(IPPROTO_RAW))
    // An ICMP "port unreachable" with a header and eight bytes of what it is about, in IPv4 by hand.
    let about = RawSocket.header(transport: 17, length: 28) + [0, 7, 0, 7, 0, 8, 0, 0]
    v4.send(RawSocket.header(transport: 1, length: 56) + [3, 3, 0xFC, 0xFC, 0, 0, 0, 0] + about)
    v4.send(RawSocket.header(transport: 17, length: 36, fragmentOffset: 185) + [UInt8](repeating: 7, count: 16))
    let v6 = try RawSocket(on: router, "fd77::9", transport: Int32(IPPROTO_ICMPV6))
    v6.send([1, 4, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0x60, count: 48))
    let group = try DatagramSocket(on: router, address: Tunnel.clientInner.v4, port: 7201)
    group.send([1], to: try SocketAddress("239.9.9.9", 7201))

    let ping = try router.attempt(["ping", "-n", "-c", "1", "-W", "1", "10.77.0.9"])
    try lab.require(ping.output.contains("Unreachable"), "a ping to nowhere is answered with an error, as a comparison")
    capture.stop()
    into.stop()
    let sent = into.digest().split(separator: "\n")
    let errors = capture.digest().split(separator: "\n")
    // The forged errors themselves pass the filter as well, on their way out.
    let answers = errors.filter { $0.contains("10.66.0.2: ICMP") || $0.contains("fd66::2: ICMP6") }
    try lab.require(
      answers.count == 1
        && ["udp port 7", "ip-proto-17", "ICMP6", "239.9.9.9"].allSatisfy { mark in
          sent.contains { $0.contains(mark) }
        },
      "none to an ICMP error, a later fragment, an ICMPv6 error and a multicast packet",
      (errors + sent).joined(separator: "\n"))
  }
}

/// A destination that the tunnel cannot take packets to, and how that shows.
private struct Undeliverable {
  let why: String
  let address: String
  let filter: String
  let error: Int32

  init(_ why: String, _ address: String, _ filter: String, error: Int32) {
    self.why = why
    self.address = address
    self.filter = filter
    self.error = error
  }

  /// Fails unless a ping prints the error, a capture sees it, and a TCP connection fails within a second.
  func fails(_ lab: Lab, on host: Host, seenOn interface: String) throws {
    let capture = try host.capture(on: interface, filter)
    let ping = try host.attempt(["ping", "-n", "-c", "1", "-W", "2", address])
    let said = ping.output.split(separator: "\n").first { $0.lowercased().contains("unreachable") }
    try lab.require(
      !ping.succeeded && said != nil, "\(why) for \(address): \(said ?? "")", ping.output + ping.complaints)
    try waitUntil("the error is captured", within: 3) { !capture.digest().trimmed.isEmpty }
    capture.stop()

    let socket = try host.socket(family: address.contains(":") ? AF_INET6 : AF_INET, type: SOCK_STREAM)
    defer { close(socket) }
    _ = fcntl(socket, F_SETFL, O_NONBLOCK)
    let start = Clock.seconds
    let code = try SocketAddress(address, 80).withPointer { connect(socket, $0, $1) == 0 ? 0 : errno }
    var question = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
    let heard = code == EINPROGRESS && poll(&question, 1, 1000) > 0
    var error: Int32 = code == EINPROGRESS ? 0 : code
    var length = socklen_t(MemoryLayout<Int32>.size)
    if heard { getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) }
    try lab.require(
      error == self.error,
      String(
        format: "a TCP connection there fails after %.1f ms: %@", (Clock.seconds - start) * 1000,
        String(cString: strerror(error))), "error \(error), poll \(heard)")
  }
}

/// Sends packets of one's own making to one destination.
private final class RawSocket {
  private let descriptor: Int32
  private let target: SocketAddress

  init(on host: Host, _ target: String, transport: Int32) throws {
    descriptor = try host.socket(
      family: target.contains(":") ? AF_INET6 : AF_INET, type: SOCK_RAW, transport: transport)
    self.target = try SocketAddress(target, 0)
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) {
    _ = target.withPointer { address, length in sendto(descriptor, bytes, bytes.count, 0, address, length) }
  }

  /// An IPv4 header from the tunnel's own address to nowhere. The kernel fills in the checksum.
  static func header(transport: UInt8, length: UInt8, fragmentOffset: UInt16 = 0) -> [UInt8] {
    [
      0x45, 0, 0, length, 0, 9, UInt8(fragmentOffset >> 8), UInt8(truncatingIfNeeded: fragmentOffset), 64, transport, 0,
      0, 10, 66, 0, 2, 10, 77, 0, 9,
    ]
  }
}
