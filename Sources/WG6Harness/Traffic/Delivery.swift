import Foundation

/// Numbered datagrams inside the tunnel, counted where they arrive.
final class Delivery {
  private let client: DatagramSocket
  private let server: DatagramSocket
  private let toClient: SocketAddress
  private let toServer: SocketAddress
  private var next: UInt64 = 0
  private var arrivals: [UInt64: Int] = [:]

  init(_ tunnel: Tunnel) throws {
    client = try DatagramSocket(on: tunnel.client, address: Tunnel.clientInner.v4, port: 7000)
    server = try DatagramSocket(on: tunnel.server, address: Tunnel.serverInner.v4, port: 7000)
    toClient = try SocketAddress(Tunnel.clientInner.v4, 7000)
    toServer = try SocketAddress(Tunnel.serverInner.v4, 7000)
  }

  /// How many datagrams arrived more than once.
  var duplicates: Int {
    drain(patience: 0.2)
    return arrivals.values.reduce(0) { $0 + $1 - 1 }
  }

  /// Sends `count` datagrams each way, each after the one before has arrived, or was given up after `patience`.
  func exchange(count: Int, patience: Double = 0.5) throws {
    for _ in 0..<count {
      try pass(from: client, to: toServer, patience)
      try pass(from: server, to: toClient, patience)
    }
  }

  /// A datagram may drown in a flood. The next attempt has the next number, so that twice the same is always a fault.
  private func pass(from sender: DatagramSocket, to target: SocketAddress, _ patience: Double) throws {
    try waitUntil("a datagram arrives", within: 20, every: 0) {
      next += 1
      sender.send((0..<8).map { UInt8(truncatingIfNeeded: next >> (8 * $0)) }, to: target)
      let end = Clock.seconds + patience
      while arrivals[next] == nil, Clock.seconds < end { drain(patience: 0.005) }
      return arrivals[next] != nil
    }
  }

  /// Takes in what has arrived, waiting up to `patience` for the first datagram.
  private func drain(patience: Double) {
    var questions = [server, client].map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    guard poll(&questions, 2, Int32(patience * 1000)) > 0 else { return }
    for socket in [server, client] {
      while let (bytes, _) = socket.receive(within: 0) {
        guard bytes.count == 8 else { continue }
        arrivals[bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }, default: 0] += 1
      }
    }
  }
}
