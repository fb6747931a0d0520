import CHarness
import Foundation

extension Scenario {
  /// Anyone can claim that a router could not pass a datagram on, and the kernel would fragment for ten minutes.
  static let forgedPathMTU = Scenario(
    "forged-path-mtu", "forged ICMP errors say that outer datagrams are too long: none is fragmented over IPv4",
    needs: [.program("iperf3", package: "iperf3")]
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    try Throughput.serve(on: tunnel.server)
    let seconds = Scenario.isLong ? 10 : 2
    func measure() throws -> (rate: Double, fragments: Int) {
      let before = try NetworkCounters(of: tunnel.client)
      let rate = try Throughput.measure(from: tunnel.client, to: Tunnel.serverInner.v4, seconds: seconds)
      return (rate, try (NetworkCounters(of: tunnel.client) - before)["IpFragCreates"])
    }
    let before = try measure()
    let forger = try ForgedTooBig(on: tunnel.server, to: Tunnel.clientOuter.v4, about: Tunnel.serverOuter.v4)
    for _ in 0..<10 { forger.send(mtu: 552) }
    let learned = try tunnel.client.run("ip", "route", "get", Tunnel.serverOuter.v4).output
    try lab.require(
      learned.contains("mtu 552"), "the kernel believes that packets to the server may have 552 bytes", learned)
    let after = try measure()
    try lab.require(
      after.fragments == 0,
      String(
        format: "%.2f Gbit/s before ten forged errors, %.2f after; %d fragments", before.rate, after.rate,
        after.fragments),
      "\(before) before, \(after) after")
    // An error that comes just before a send makes that send fail once.
    forger.flood(every: 0.001)
    let during = try measure()
    forger.stop()
    try lab.require(
      during.fragments == 0,
      String(format: "%.2f Gbit/s while 1,000 come each second; %d fragments", during.rate, during.fragments))
    try lab.require(
      tunnel.client.floodPing(Tunnel.serverInner.v4, count: 1000).lost == 0, "1,000 pings after that, none lost")
  }
}

/// Sends ICMP "fragmentation needed" about a tunnel's datagrams, and about an echo reply, whose error changes the kernel's
/// route whatever sockets say.
private final class ForgedTooBig: @unchecked Sendable {
  private let descriptor: Int32
  private let target: SocketAddress
  private let quotes: [[UInt8]]
  private var thread: Thread?

  /// - Parameters:
  ///   - target: the sender of what the errors are about.
  ///   - destination: where that was to go.
  init(on host: Host, to target: String, about destination: String) throws {
    descriptor = try host.socket(family: AF_INET, type: SOCK_RAW, transport: Int32(IPPROTO_ICMP))
    self.target = try SocketAddress(target, 0)
    let addresses = try self.target.bytes + SocketAddress(destination, 0).bytes
    let port = [UInt8(Tunnel.port >> 8), UInt8(Tunnel.port & 0xFF)]
    quotes = [(17, port + port + [5, 0xC8, 0, 0]), (1, [0, 0, 0, 0, 0, 1, 0, 1])].map { transport, head in
      [0x45, 0, 5, 0xDC, 0, 1, 0, 0, 64, transport, 0, 0] + addresses + head
    }
  }

  deinit { close(descriptor) }

  func send(mtu: UInt16) {
    for quote in quotes {
      var message = [3, 4, 0, 0, 0, 0, UInt8(mtu >> 8), UInt8(mtu & 0xFF)] + quote
      var sum: UInt32 = 0
      for (index, byte) in message.enumerated() { sum += UInt32(byte) << (index.isMultiple(of: 2) ? 8 : 0) }
      while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
      message[2] = UInt8(~sum >> 8 & 0xFF)
      message[3] = UInt8(~sum & 0xFF)
      _ = target.withPointer { sendto(descriptor, message, message.count, 0, $0, $1) }
    }
  }

  /// Sends on a thread of its own until `stop`.
  func flood(every interval: Double) {
    let thread = Thread { [self] in
      while !Thread.current.isCancelled {
        send(mtu: 552)
        Thread.sleep(forTimeInterval: interval)
      }
    }
    self.thread = thread
    thread.start()
  }

  func stop() { thread?.cancel() }
}
