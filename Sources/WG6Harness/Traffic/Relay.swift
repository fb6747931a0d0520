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

  /// What happens on the way: with these probabilities a datagram is lost, doubled, or overtaken by the next one.
  struct Weather: Sendable {
    var loss = 0.0
    var doubling = 0.0
    var reordering = 0.0
  }

  private struct State {
    let weather: Weather
    var random: SeededGenerator
    var held: [Direction: [UInt8]] = [:]
    var client: SocketAddress?
    var recorded: [Recorded] = []
    var stops = false
  }

  private let front: DatagramSocket
  private let back: DatagramSocket
  private let server: SocketAddress
  private let state: Mutex<State>
  private let ended = DispatchSemaphore(value: 0)

  /// Listens on `host` for the client at `front` and speaks to `server` from another port.
  init(
    on host: Host, address: String, port: Int, server: SocketAddress, weather: Weather = Weather(),
    random: SeededGenerator = SeededGenerator(seed: 1)
  ) throws {
    state = Mutex(State(weather: weather, random: random))
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
        for datagram in weathered(bytes, .toServer) { inject(datagram, .toServer) }
      }
      while let (bytes, _) = back.receive(within: 0) {
        record(bytes, .toClient) { _ in }
        for datagram in weathered(bytes, .toClient) { inject(datagram, .toClient) }
      }
    }
    ended.signal()
  }

  /// What comes out of the weather when `bytes` goes in: nothing, or one or several datagrams in order.
  private func weathered(_ bytes: [UInt8], _ direction: Direction) -> [[UInt8]] {
    state.withLock { state in
      let weather = state.weather
      func happens(_ probability: Double) -> Bool {
        probability > 0 && Double.random(in: 0..<1, using: &state.random) < probability
      }
      if happens(weather.loss) { return [] }
      let copies = happens(weather.doubling) ? [bytes, bytes] : [bytes]
      if let held = state.held.removeValue(forKey: direction) { return copies + [held] }
      if happens(weather.reordering) {
        state.held[direction] = bytes
        return []
      }
      return copies
    }
  }

  private func record(_ bytes: [UInt8], _ direction: Direction, also change: (inout State) -> Void) {
    state.withLock { state in
      change(&state)
      if state.recorded.count < 20_000 { state.recorded.append(Recorded(direction: direction, bytes: bytes)) }
    }
  }
}
