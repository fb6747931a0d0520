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
    /// How many seconds the way takes, drawn anew for each datagram. Order is kept, but for a datagram that is
    /// `reordering`'s: that one takes the shortest way and overtakes all that are under way.
    var delay: ClosedRange<Double>?
  }

  /// What the weather did.
  struct Figures: Sendable {
    var carried = 0
    var lost = 0
    var overtaking = 0
    /// Handshake initiations that came in, by where they were to go.
    var initiations: [Direction: Int] = [:]
  }

  fileprivate struct State {
    let weather: Weather
    let recordsAtMost: Int
    var random: SeededGenerator
    var held: [Direction: [UInt8]] = [:]
    var flights: [Flight] = []
    var client: SocketAddress?
    var recorded: [Recorded] = []
    var figures = Figures()
    var stops = false
  }

  /// A datagram under way, and when it arrives.
  fileprivate struct Flight {
    let due: Double
    let direction: Direction
    let bytes: [UInt8]
  }

  private let front: DatagramSocket
  private let back: DatagramSocket
  private let server: SocketAddress
  private let state: Mutex<State>
  private let ended = DispatchSemaphore(value: 0)

  /// Listens on `host` for the client at `front` and speaks to `server` from another port.
  init(
    on host: Host, address: String, port: Int, server: SocketAddress, weather: Weather = Weather(),
    random: SeededGenerator = SeededGenerator(seed: 1), recordsAtMost: Int = 20_000
  ) throws {
    state = Mutex(State(weather: weather, recordsAtMost: recordsAtMost, random: random))
    front = try DatagramSocket(on: host, address: address, port: port)
    back = try DatagramSocket(on: host, address: address, port: port + 1)
    self.server = server
    Thread { [self] in carry() }.start()
  }

  /// What went by so far; at most the first `recordsAtMost`.
  var recorded: [Recorded] { state.withLock { $0.recorded } }

  var figures: Figures { state.withLock { $0.figures } }

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
      let due = state.withLock { $0.flights.first?.due }
      let patience = due.map { min(0.1, max(0, $0 - Clock.seconds)) } ?? 0.1
      if poll(&questions, 2, Int32((patience * 1000).rounded(.up))) > 0 {
        while let (bytes, sender) = front.receive(within: 0) {
          record(bytes, .toServer) { $0.client = sender }
          depart(bytes, .toServer)
        }
        while let (bytes, _) = back.receive(within: 0) {
          record(bytes, .toClient) { _ in }
          depart(bytes, .toClient)
        }
      }
      arrive()
    }
    ended.signal()
  }

  /// Sends `bytes` on, through the weather: at once, or later, or never.
  private func depart(_ bytes: [UInt8], _ direction: Direction) {
    let arrivals = state.withLock { state -> [[UInt8]] in
      guard let delay = state.weather.delay else { return state.weathered(bytes, direction) }
      state.takeOff(bytes, direction, delay)
      return []
    }
    for datagram in arrivals { inject(datagram, direction) }
  }

  /// Delivers what has been under way for long enough.
  private func arrive() {
    let now = Clock.seconds
    let landed = state.withLock { state in
      let count = state.flights.prefix { $0.due <= now }.count
      defer { state.flights.removeFirst(count) }
      return Array(state.flights.prefix(count))
    }
    for flight in landed { inject(flight.bytes, flight.direction) }
  }

  private func record(_ bytes: [UInt8], _ direction: Direction, also change: (inout State) -> Void) {
    state.withLock { state in
      change(&state)
      state.figures.carried += 1
      if bytes.first == 1 { state.figures.initiations[direction, default: 0] += 1 }
      if state.recorded.count < state.recordsAtMost {
        state.recorded.append(Recorded(direction: direction, bytes: bytes))
      }
    }
  }
}

extension Relay.State {
  private mutating func happens(_ probability: Double) -> Bool {
    probability > 0 && Double.random(in: 0..<1, using: &random) < probability
  }

  /// What comes out of the weather when `bytes` goes in: nothing, or one or several datagrams in order.
  fileprivate mutating func weathered(_ bytes: [UInt8], _ direction: Relay.Direction) -> [[UInt8]] {
    if happens(weather.loss) {
      figures.lost += 1
      return []
    }
    let copies = happens(weather.doubling) ? [bytes, bytes] : [bytes]
    if let held = held.removeValue(forKey: direction) { return copies + [held] }
    if happens(weather.reordering) {
      held[direction] = bytes
      figures.overtaking += 1
      return []
    }
    return copies
  }

  /// Puts `bytes` among the flights, unless it is lost.
  fileprivate mutating func takeOff(_ bytes: [UInt8], _ direction: Relay.Direction, _ delay: ClosedRange<Double>) {
    if happens(weather.loss) {
      figures.lost += 1
      return
    }
    let overtakes = happens(weather.reordering)
    let now = Clock.seconds
    var due = now + (overtakes ? delay.lowerBound : Double.random(in: delay, using: &random))
    if overtakes {
      figures.overtaking += 1
    } else if let last = flights.last(where: { $0.direction == direction }) {
      due = max(due, last.due)
    }
    for _ in 0..<(happens(weather.doubling) ? 2 : 1) {
      let place = (flights.lastIndex { $0.due <= due } ?? -1) + 1
      flights.insert(Relay.Flight(due: due, direction: direction, bytes: bytes), at: place)
    }
  }
}
