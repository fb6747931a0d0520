import WG6Crypto
import WG6Protocol

/// Hosts, a network between them, and a clock that jumps from event to event. Everything follows from the seed.
public final class World {
  public let seed: UInt64
  public private(set) var now: Now
  public let startedAt: Nanoseconds
  public var random: SeededRandom
  public private(set) var hosts: [Host] = []

  /// What datagrams pass through, unless their host has an uplink of its own; by default they arrive after 10 ms.
  public var link = Link()
  /// Every datagram that was put on the wire, as an eavesdropper sees it: the latest `wireCapacity`, at least.
  public private(set) var wire: [Datagram] = []
  public var wireCapacity = 1 << 15
  /// Where somebody else decides what becomes of each datagram, no link does: it may arrive, any number of times.
  public var course: ((Datagram) -> [Delivery])?
  /// Sees each datagram of a host at the moment that it leaves: an attacker on the path.
  public var tap: ((Datagram) -> Void)?
  /// Who checks that what happens may happen.
  public var observer: Observer?
  public internal(set) var trace = Trace()
  /// Packets that were handed to hosts so far: the next one's number.
  public internal(set) var packetCount: UInt64 = 0

  private var events = EventQueue<Event>()
  private var attachments: [Endpoint: Host] = [:]
  private var boxes: [IPAddress: NATBox] = [:]
  /// Where honest hosts are, and have been.
  private var honestEndpoints: Set<Endpoint> = []
  private var messageCounts = [Int](repeating: 0, count: 5)
  /// Events at one instant: a world that goes round in a circle is caught by it.
  private var eventsNow = 0
  private static let eventsAtOnce = 1 << 20

  public typealias Datagram = WG6Simulation.Datagram

  /// A datagram that arrives, some time after it was sent.
  public struct Delivery {
    public let datagram: Datagram
    public let delay: Nanoseconds

    public init(_ datagram: Datagram, after delay: Nanoseconds = 10 * Limits.millisecond) {
      self.datagram = datagram
      self.delay = delay
    }
  }

  private enum Event {
    case arrival(Datagram)
    case wake(Host, Nanoseconds)
    case action((World) -> Void)
  }

  public init(seed: UInt64) {
    self.seed = seed
    random = SeededRandom(seed: seed)
    now = Now(monotonic: 1000 * Limits.second, wall: 1_700_000_000 * Limits.second)
    startedAt = now.monotonic
  }

  // MARK: Who is there

  /// A host at `address`, port 51820, with a fresh key, up; where it does not start by itself, its device has no key
  /// and is down.
  public func addHost(
    _ name: String, at address: IPAddress, behind box: NATBox? = nil, starts: Bool = true
  ) -> Host {
    let host = Host(
      name, number: hosts.count, world: self, endpoint: Endpoint(address: address, port: 51820), behind: box,
      starts: starts)
    hosts.append(host)
    return host
  }

  public func addNATBox(at address: IPAddress, isEndpointDependent: Bool, memory: Nanoseconds) -> NATBox {
    let box = NATBox(address: address, isEndpointDependent: isEndpointDependent, memory: memory)
    boxes[address] = box
    return box
  }

  /// The host whose key this is.
  func host(of key: PublicKey) -> Host? { hosts.first { $0.publicKey == key } }

  /// Whether a host of ours is there, or was.
  func isHonest(_ endpoint: Endpoint) -> Bool {
    honestEndpoints.contains(endpoint) || boxes[endpoint.address] != nil
  }

  func attach(_ host: Host, at endpoint: Endpoint?, insteadOf old: Endpoint?) {
    if let old, attachments[old] === host { attachments[old] = nil }
    guard let endpoint else { return }
    honestEndpoints.insert(endpoint)
    // Inside addresses of NAT boxes can't be reached from outside.
    if host.box == nil { attachments[endpoint] = host }
  }

  // MARK: Time

  /// Lets `duration` pass.
  public func run(for duration: Nanoseconds) {
    let end = now.monotonic + duration
    while let next = events.first, next <= end { step(to: next) }
    advanceClock(to: end)
  }

  /// Lets time pass until `condition` holds; false where it does not within `limit`.
  public func run(atMost limit: Nanoseconds, until condition: () -> Bool) -> Bool {
    let end = now.monotonic + limit
    while !condition() {
      guard let next = events.first, next <= end else { return condition() }
      step(to: next)
    }
    return true
  }

  /// Does something later. The world must not be captured: it is handed in.
  public func after(_ delay: Nanoseconds, _ action: @escaping (World) -> Void) {
    events.insert(.action(action), at: now.monotonic + delay)
  }

  /// Sets the time of day; the boot-time clock stays as it is.
  public func setWallClock(_ wall: Nanoseconds) { now.wall = wall }

  /// Nothing more will happen here.
  func end() {
    events.removeAll()
    tap = nil
  }

  /// Remembers when `host` wants to be called.
  func plan(_ host: Host) {
    guard !host.isAsleep, let wake = host.device.nextWake(now: now.monotonic) else { return }
    if let planned = host.plannedWake, planned <= wake { return }
    host.plannedWake = wake
    events.insert(.wake(host, wake), at: max(wake, now.monotonic))
  }

  private func step(to instant: Nanoseconds) {
    eventsNow = instant > now.monotonic ? 0 : eventsNow + 1
    precondition(eventsNow < World.eventsAtOnce, "seed \(seed): time stands still")
    advanceClock(to: instant)
    switch events.removeFirst() {
    case .arrival(let datagram): deliver(datagram)
    case .wake(let host, let wake):
      // An earlier one has been planned since, or the host slept.
      guard host.plannedWake == wake else { return }
      host.plannedWake = nil
      host.advance()
    case .action(let action): action(self)
    }
  }

  private func advanceClock(to instant: Nanoseconds) {
    guard instant > now.monotonic else { return }
    now.wall += instant - now.monotonic
    now.monotonic = instant
  }

  // MARK: The network

  /// Puts a datagram on the wire, as an attacker might.
  public func inject(_ datagram: Datagram, through link: Link? = nil) {
    put(datagram, from: "stranger", through: link ?? self.link)
  }

  /// A host sends a datagram.
  func transmit(_ datagram: Datagram, from host: Host) {
    observe(.sent(datagram, by: host.number))
    guard host.isConnected else {
      return trace.add(
        datagram, at: now.monotonic, number: count(datagram), from: host.name, to: name(of: datagram.destination),
        .noAddress)
    }
    var datagram = datagram
    if let box = host.box {
      datagram.source = box.outside(of: datagram.source, to: datagram.destination, now: now.monotonic)
    }
    put(datagram, from: host.name, through: host.uplink ?? link)
    tap?(datagram)
  }

  private func put(_ datagram: Datagram, from name: String, through link: Link) {
    if wire.count >= 2 * wireCapacity { wire.removeFirst(wireCapacity) }
    wire.append(datagram)
    if let course {
      for delivery in course(datagram) {
        events.insert(.arrival(delivery.datagram), at: now.monotonic + delivery.delay)
      }
      return
    }
    let fate: Trace.Fate
    switch link.carry(byteCount: datagram.bytes.count, &random) {
    case .tooBig: fate = .tooBig
    case .lost: fate = .lost
    case .arrives(let time, let again, let flippedBit):
      // A second copy is a faithful one: it must not matter which of both comes first.
      if let again { events.insert(.arrival(datagram), at: now.monotonic + again) }
      var arriving = datagram
      if let flippedBit { arriving.bytes[flippedBit / 8] ^= 1 << UInt8(flippedBit % 8) }
      events.insert(.arrival(arriving), at: now.monotonic + time)
      fate = .arrives(after: time, twice: again != nil, isFlipped: flippedBit != nil)
    }
    trace.add(
      datagram, at: now.monotonic, number: count(datagram), from: name, to: self.name(of: datagram.destination), fate)
  }

  private func deliver(_ datagram: Datagram) {
    if let box = boxes[datagram.destination.address] {
      guard
        let inside = box.inside(of: datagram.destination.port, from: datagram.source, now: now.monotonic),
        let host = hosts.first(where: { $0.box === box && $0.endpoint == inside })
      else { return missed(datagram, .refusedByNAT) }
      return hand(datagram, to: host)
    }
    guard let host = attachments[datagram.destination] else { return missed(datagram, .nobodyThere) }
    hand(datagram, to: host)
  }

  private func hand(_ datagram: Datagram, to host: Host) {
    guard host.isConnected else { return missed(datagram, .nobodyThere) }
    guard !host.isAsleep else { return missed(datagram, .asleep) }
    host.receive(datagram)
  }

  private func missed(_ datagram: Datagram, _ fate: Trace.Fate) {
    trace.add(
      datagram, at: now.monotonic, number: messageCounts[min(4, Int(datagram.type))], from: name(of: datagram.source),
      to: name(of: datagram.destination), fate)
  }

  private func count(_ datagram: Datagram) -> Int {
    let kind = datagram.type <= 4 ? Int(datagram.type) : 0
    messageCounts[kind] += 1
    return messageCounts[kind]
  }

  private func name(of endpoint: Endpoint) -> String {
    if let host = attachments[endpoint] { return host.name }
    return boxes[endpoint.address] != nil ? "NAT" : "nobody"
  }

  // MARK: Who looks on

  func observe(_ observation: Observation) {
    observer?.observe(observation, in: self)
  }

  /// Something went wrong: says so in the trace, and keeps it.
  func complain(_ complaint: String) {
    trace.add("AGAINST THE CLAIM: \(complaint)", at: now.monotonic, of: "observer")
    trace.keep()
  }

  /// Something for the trace.
  func note(_ text: @autoclosure () -> String, of host: String) {
    trace.add(text(), at: now.monotonic, of: host)
  }
}
