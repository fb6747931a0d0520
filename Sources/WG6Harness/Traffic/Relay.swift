import Foundation
import Synchronization

/// A stranger on the path: passes datagrams between a client and a server on, and keeps a copy of each.
///
/// To the server the client seems to be here, so what is sent from here comes from the authenticated peer's address.
final class Relay: Sendable {
  /// Which way a datagram went.
  enum Direction: Sendable { case toServer, toClient }

  struct Recorded: Sendable {
    let direction: Direction
    let bytes: [UInt8]
  }

  private struct State {
    var client: SocketAddress?
    var recorded: [Recorded] = []
    var stops = false
  }

  private let front: DatagramSocket
  private let back: DatagramSocket
  private let server: SocketAddress
  private let state = Mutex(State())
  private let ended = DispatchSemaphore(value: 0)

  /// Listens on `host` for the client at `front` and speaks to `server` from another port.
  init(on host: Host, address: String, port: Int, server: SocketAddress) throws {
    front = try DatagramSocket(on: host, address: address, port: port)
    back = try DatagramSocket(on: host, address: address, port: port + 1)
    self.server = server
    Thread { [self] in carry() }.start()
  }

  /// What went by so far; at most the first twenty thousand.
  var recorded: [Recorded] { state.withLock { $0.recorded } }

  /// Sends a datagram of one's own making, as if the other side had sent it.
  func inject(_ bytes: [UInt8], _ direction: Direction) {
    switch direction {
    case .toServer: back.send(bytes, to: server)
    case .toClient:
      if let client = state.withLock({ $0.client }) { front.send(bytes, to: client) }
    }
  }

  func stop() {
    state.withLock { $0.stops = true }
    ended.wait()
  }

  private func carry() {
    var questions = [
      pollfd(fd: front.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: back.descriptor, events: Int16(POLLIN), revents: 0),
    ]
    while !state.withLock({ $0.stops }) {
      guard poll(&questions, 2, 100) > 0 else { continue }
      while let (bytes, sender) = front.receive(within: 0) {
        record(bytes, .toServer) { $0.client = sender }
        back.send(bytes, to: server)
      }
      while let (bytes, _) = back.receive(within: 0) {
        record(bytes, .toClient) { _ in }
        if let client = state.withLock({ $0.client }) { front.send(bytes, to: client) }
      }
    }
    ended.signal()
  }

  private func record(_ bytes: [UInt8], _ direction: Direction, also change: (inout State) -> Void) {
    state.withLock { state in
      change(&state)
      if state.recorded.count < 20_000 { state.recorded.append(Recorded(direction: direction, bytes: bytes)) }
    }
  }
}
