import WG6Crypto
import WG6Protocol

/// A whole device on the simulated network: both paths in one thread, in the order of events.
public final class Host {
  public let name: String
  /// Its place in `World.hosts`.
  public let number: Int
  public private(set) var device: Device
  public private(set) var privateKey: PrivateKey
  /// Where its datagrams come from; change it to move the host.
  public var endpoint: Endpoint {
    didSet { world.attach(self, at: endpoint, insteadOf: oldValue) }
  }
  /// What hides it.
  public let box: NATBox?
  /// What its datagrams pass through, in place of the world's link.
  public var uplink: Link?
  /// Whether it has an address at all.
  public var isConnected = true
  /// Handshake messages that it gets done in a second, before they pile up in a queue of 1,024; `nil` for any number.
  public var handshakeRate: Double?

  /// The machine that it is a tunnel of, together with others.
  weak var machine: Machine?
  /// Whether it stands for another program's device: it does not mind where ways lead.
  var isForeign = false
  /// Gets its datagrams in place of the network.
  var diversion: (([UInt8]) -> Void)?

  /// Packets that came out of the tunnel, where `keepsReceived`.
  public private(set) var received: [[UInt8]] = []
  public var keepsReceived = true
  /// ICMP errors about packets of programs here that could not be sent.
  public private(set) var errors: [[UInt8]] = []
  /// What a program here answers to a packet: at once, before the control path has had a turn.
  public var reply: (([UInt8]) -> [UInt8]?)?
  /// How often a data thread had something to tell the control path.
  public private(set) var controlTurns = 0
  public private(set) var reports: [Device.Report] = []

  public private(set) var isAsleep = false
  var plannedWake: Nanoseconds?
  /// Whether some peer of it has a persistent keepalive, which no silence can be expected of.
  private(set) var usesKeepalive = false

  private unowned let world: World
  private var outbound: Outbound
  private var inbound: Inbound
  /// How far its time of day is ahead of the world's.
  private var clockError: Int64 = 0
  /// What it was told, for when it starts again.
  private var configuration: [DeviceUpdate] = []
  private var firstCounter: UInt64 = 0
  private var backlog = 0.0
  private var backlogAt: Nanoseconds = 0
  /// The datagram that is being dealt with.
  private var cause: Cause?

  init(_ name: String, number: Int, world: World, endpoint: Endpoint, behind box: NATBox?, starts: Bool) {
    self.name = name
    self.number = number
    self.world = world
    self.endpoint = endpoint
    self.box = box
    device = Device(using: SeededRandom(seed: world.random.next()))
    outbound = Outbound(plane: device.plane, reader: 0)
    inbound = Inbound(plane: device.plane, reader: 1)
    privateKey = PrivateKey(using: &world.random)
    world.attach(self, at: endpoint, insteadOf: nil)
    guard starts else { return }
    setPrivateKey(privateKey)
    comeUp()
  }

  public var publicKey: PublicKey { privateKey.publicKey }

  /// The instant, as this host's clocks tell it.
  public var now: Now {
    Now(monotonic: world.now.monotonic, wall: UInt64(Int64(world.now.wall) + clockError))
  }

  // MARK: What its owner does

  /// Sets the interface up.
  public func comeUp() {
    device.comeUp(now: now)
    settle()
  }

  /// Sets the interface down.
  public func goDown() {
    device.goDown()
    settle()
  }

  /// Applies `update`.
  public func configure(_ update: DeviceUpdate) {
    configuration.append(update)
    apply(update)
    perform()
    world.plan(self)
  }

  private func apply(_ update: DeviceUpdate) {
    if case .set(let key) = update.privateKey { privateKey = key }
    for peer in update.peers where peer.persistentKeepalive ?? 0 > 0 { usesKeepalive = true }
    device.apply(update, now: now)
  }

  /// Adds `peer`, with the prefixes given to it.
  public func add(
    _ peer: Host, allowedIPs: [IPPrefix], presharedKey: PresharedKey? = nil, knowsEndpoint: Bool = true,
    keepalive: UInt16 = 0
  ) {
    var change = PeerUpdate(peer.publicKey)
    change.endpoint = knowsEndpoint ? peer.endpoint : nil
    change.allowedIPs = allowedIPs.map { .add($0) }
    change.presharedKey = presharedKey.map { .set($0) } ?? .keep
    change.persistentKeepalive = keepalive
    var update = DeviceUpdate()
    update.peers = [change]
    configure(update)
  }

  /// Turns persistent keepalives to every peer off.
  func stopKeepalives() {
    var update = DeviceUpdate()
    update.peers = world.hosts.filter { $0 !== self }.map { peer in
      var change = PeerUpdate(peer.publicKey)
      change.updatesOnly = true
      change.persistentKeepalive = 0
      return change
    }
    configure(update)
    usesKeepalive = false
  }

  /// Takes another private key.
  public func change(to key: PrivateKey) {
    world.note("takes another key", of: name)
    world.observe(.changed(.key, of: number))
    setPrivateKey(key)
  }

  private func setPrivateKey(_ key: PrivateKey) {
    var update = DeviceUpdate()
    update.privateKey = .set(key)
    configure(update)
  }

  /// Learns that a peer goes by another key: the one it knew is removed, and its settings stay.
  public func learn(_ new: PublicKey, insteadOf old: PublicKey) {
    guard let known = device.status().peers.first(where: { $0.publicKey == old }) else { return }
    world.note("learns a peer's new key", of: name)
    world.observe(.changed(.key, of: number))
    var removal = PeerUpdate(old)
    removal.removes = true
    var addition = PeerUpdate(new)
    addition.presharedKey = known.presharedKey.map { .set($0) } ?? .keep
    addition.endpoint = known.endpoint
    addition.allowedIPs = known.allowedIPs.map { .add($0) }
    addition.persistentKeepalive = known.persistentKeepalive
    var update = DeviceUpdate()
    update.peers = [removal, addition]
    configure(update)
  }

  /// Makes sessions begin at `counter`.
  public func startSessions(at counter: UInt64) {
    firstCounter = counter
    device.firstCounter = counter
  }

  // MARK: What befalls it

  /// It does nothing and hears nothing, while the boot-time clock goes on.
  public func sleep() {
    isAsleep = true
    plannedWake = nil
    world.note("falls asleep", of: name)
  }

  public func wake() {
    guard isAsleep else { return }
    isAsleep = false
    world.note("wakes up", of: name)
    world.observe(.changed(.awake, of: number))
    advance()
  }

  /// Its daemon starts anew, and knows nothing but its configuration.
  public func restart() {
    world.note("restarts", of: name)
    world.observe(.changed(.restarted, of: number))
    device = Device(using: SeededRandom(seed: world.random.next()))
    device.firstCounter = firstCounter
    outbound = Outbound(plane: device.plane, reader: 0)
    inbound = Inbound(plane: device.plane, reader: 1)
    plannedWake = nil
    for update in configuration { apply(update) }
    device.comeUp(now: now)
    settle()
  }

  /// Its idea of the time of day jumps; the boot-time clock stays as it is.
  public func stepClock(by step: Int64) {
    world.note("its clock steps by \(step / Int64(Limits.second)) s", of: name)
    clockError += step
  }

  // MARK: What it does

  /// A program here sends an IP packet.
  public func send(_ packet: [UInt8]) {
    guard !isAsleep else { return }
    push(packet)
    settle()
  }

  /// A program here sends one of the packets that whoever looks on can tell apart.
  public func send(to peer: Host, size: Int = 96) {
    guard !isAsleep else { return }
    let number = world.packetCount
    world.packetCount += 1
    world.observe(.pushed(number, by: self.number, to: peer.number))
    send(Packet.make(number, from: self.number, to: peer.number, size: size))
  }

  private func push(_ packet: [UInt8]) {
    outbound.pass()
    unsafe packet.withUnsafeBytes { bytes in
      unsafe outbound.room.baseAddress!.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
    }
    if let answer = unsafe outbound.push(length: packet.count, now: world.now.monotonic, send: { transmit($0) }) {
      unsafe errors.append(Array(answer))
      if errors.count > 4096 { errors.removeFirst(2048) }
    }
    outbound.flush(now: world.now.monotonic) { transmit($0) }
    outbound.leave()
  }

  /// Lets timers fire.
  func advance() {
    device.advance(now: now)
    settle()
  }

  /// - Parameter interface: the index of the one that the datagram came in by.
  public func receive(_ datagram: Datagram, interface: UInt32 = 1) {
    let local = interface == 1 ? endpoint.address : datagram.destination.address
    let path = PackedPath(Path(to: datagram.source, from: local, sourceInterface: interface))
    cause = world.observer?.arrival(of: datagram, at: self, in: world)
    var bytes = datagram.bytes
    inbound.pass()
    unsafe bytes.withUnsafeMutableBytes { bytes in
      switch unsafe inbound.open(bytes, from: path, now: world.now.monotonic) {
      case .packet(let offset, let length):
        let packet = unsafe Array(bytes[offset..<offset + length])
        if keepsReceived { received.append(packet) }
        if let cause { world.observe(.accepted(packet, at: number, cause)) }
        if let answer = reply?(packet) { push(answer) }
        machine?.take(packet, outOf: self)
      case .control:
        handle(unsafe ControlMessage(UnsafeRawBufferPointer(bytes))!, from: path)
      case .nothing: break
      }
    }
    inbound.leave()
    settle()
    cause = nil
  }

  /// Hands a message to the control path, as full as the queue before it would be.
  private func handle(_ message: ControlMessage, from path: PackedPath) {
    var fill = 0.0
    if let handshakeRate {
      let passed = Double(world.now.monotonic - backlogAt) / Double(Limits.second)
      backlog = max(0, backlog - passed * handshakeRate)
      backlogAt = world.now.monotonic
      guard backlog < 1024 else { return device.plane.drop(.handshakeQueueFull) }
      backlog += 1
      fill = backlog / 1024
    }
    device.handle(message, from: path, fill: fill, now: now)
  }

  /// Does what there is to do until nothing is left.
  private func settle() {
    repeat {
      if outbound.wantsControl || inbound.wantsControl { controlTurns += 1 }
      outbound.wantsControl = false
      inbound.wantsControl = false
      device.handleEvents(now: now)
      perform()
    } while outbound.wantsControl || inbound.wantsControl
    world.plan(self)
  }

  private func perform() {
    var actions = device.takeActions()
    while !actions.isEmpty {
      for action in actions {
        switch action {
        case .send(let message, let path, let peer):
          let bytes = unsafe message.withUnsafeBytes { unsafe Array($0) }
          put(bytes, along: review(path, of: peer))
          peer?.sent(bytes.count)
        case .wakeOutbound:
          outbound.pass()
          outbound.flushStaged(now: world.now.monotonic) { transmit($0) }
          outbound.leave()
        case .silenceChanged: break
        case .report(let report): tell(report)
        }
      }
      actions = device.takeActions()
    }
  }

  private func tell(_ report: Device.Report) {
    if reports.count >= 4096 { reports.removeFirst(2048) }
    reports.append(report)
    world.observe(.reported(report, by: number, cause))
    world.note(Host.words(report), of: name)
  }

  private func transmit(_ train: borrowing Train) -> Int {
    let path = review(train.path, of: train.peer)
    for index in 0..<train.count { put(unsafe Array(train.datagram(index)), along: path) }
    return train.byteCount
  }

  /// Finds out where `path` leads, if that is not known yet, before anything is sent along it.
  private func review(_ path: PackedPath, of peer: PeerReference?) -> PackedPath {
    guard !path.isReviewed else { return path }
    let reviewed = path.reviewed(tunnelMTU: isForeign ? nil : machine?.tunnelMTU(along: path))
    peer?.replace(path, by: reviewed)
    return reviewed
  }

  private func put(_ bytes: [UInt8], along path: PackedPath) {
    guard let destination = path.endpoint else { return }
    guard bytes.count <= path.longestDatagram else { return device.plane.drop(.packetTooBig) }
    if let diversion { return diversion(bytes) }
    if let machine, machine.carry(bytes, along: path, from: self) { return }
    world.transmit(
      Datagram(sentAt: world.now.monotonic, source: endpoint, destination: destination, bytes: bytes), from: self)
  }

  private static func words(_ report: Device.Report) -> String {
    switch report {
    case .initiationSent(_, let attempt): "try \(attempt) of a handshake"
    case .responseSent: "answers an initiation"
    case .sessionEstablished(_, let asInitiator): "has a session, as \(asInitiator ? "initiator" : "responder")"
    case .handshakeGivenUp: "gives its peer up"
    case .keepaliveSent: "sends a keepalive"
    case .keysZeroed: "zeroes its keys"
    case .peerSilent: "counts a peer as silent"
    case .peerHeard: "hears a peer again"
    case .endpointUnreachable: "is told that its peer can't be reached"
    case .endpointMoved: "follows its peer elsewhere"
    case .messageDropped(let reason, _): "drops a message: \(reason)"
    }
  }
}
