import WG6Crypto
import WG6Protocol

/// A whole device on the simulated network: both paths in one thread, in the order of events.
public final class Host {
  public let name: String
  public let device: Device
  public let privateKey: PrivateKey
  /// Where its datagrams come from; change it to move the host.
  public var endpoint: Endpoint
  /// Packets that came out of the tunnel.
  public private(set) var received: [[UInt8]] = []
  /// ICMP errors about packets of programs here that could not be sent.
  public private(set) var errors: [[UInt8]] = []
  /// What a program here answers to a packet: at once, before the control path has had a turn.
  public var reply: (([UInt8]) -> [UInt8]?)?
  /// How often a data thread had something to tell the control path.
  public private(set) var controlTurns = 0
  public private(set) var reports: [Device.Report] = []

  private unowned let world: World
  private var outbound: Outbound
  private var inbound: Inbound

  init(_ name: String, world: World, endpoint: Endpoint) {
    self.name = name
    self.world = world
    self.endpoint = endpoint
    device = Device(using: SeededRandom(seed: world.random.next()))
    outbound = Outbound(plane: device.plane, reader: 0)
    inbound = Inbound(plane: device.plane, reader: 1)
    privateKey = PrivateKey(using: &world.random)
    var update = DeviceUpdate()
    update.privateKey = .set(privateKey)
    configure(update)
    device.comeUp(now: world.now)
  }

  public var publicKey: PublicKey { privateKey.publicKey }

  /// Applies `update`, which must be acceptable.
  public func configure(_ update: DeviceUpdate) {
    do {
      try device.apply(update, now: world.now)
    } catch {
      preconditionFailure("\(name): \(error)")
    }
    perform()
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

  /// A program here sends an IP packet.
  public func send(_ packet: [UInt8]) {
    push(packet)
    settle()
  }

  private func push(_ packet: [UInt8]) {
    outbound.pass()
    unsafe packet.withUnsafeBytes { bytes in
      unsafe outbound.room.baseAddress!.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
    }
    if let answer = unsafe outbound.push(length: packet.count, now: world.now.monotonic, send: { transmit($0) }) {
      unsafe errors.append(Array(answer))
    }
    outbound.flush(now: world.now.monotonic) { transmit($0) }
    outbound.leave()
  }

  /// Lets timers fire.
  func advance() {
    device.advance(now: world.now)
    settle()
  }

  func receive(_ datagram: World.Datagram) {
    let path = PackedPath(Path(to: datagram.source, from: endpoint.address, sourceInterface: 1))
    var bytes = datagram.bytes
    inbound.pass()
    unsafe bytes.withUnsafeMutableBytes { bytes in
      switch unsafe inbound.open(bytes, from: path, now: world.now.monotonic) {
      case .packet(let offset, let length):
        let packet = unsafe Array(bytes[offset..<offset + length])
        received.append(packet)
        if let answer = reply?(packet) { push(answer) }
      case .control:
        unsafe device.handle(ControlMessage(UnsafeRawBufferPointer(bytes))!, from: path, now: world.now)
      case .nothing: break
      }
    }
    inbound.leave()
    settle()
  }

  /// Does what there is to do until nothing is left.
  private func settle() {
    repeat {
      if outbound.wantsControl || inbound.wantsControl { controlTurns += 1 }
      outbound.wantsControl = false
      inbound.wantsControl = false
      device.handleEvents(now: world.now)
      perform()
    } while outbound.wantsControl || inbound.wantsControl
  }

  private func perform() {
    var actions = device.takeActions()
    while !actions.isEmpty {
      for action in actions {
        switch action {
        case .send(let message, let path, let peer):
          let bytes = unsafe message.withUnsafeBytes { unsafe Array($0) }
          put(bytes, along: path)
          peer?.sent(bytes.count)
        case .wakeOutbound:
          outbound.pass()
          outbound.flushStaged(now: world.now.monotonic) { transmit($0) }
          outbound.leave()
        case .report(let report):
          reports.append(report)
        }
      }
      actions = device.takeActions()
    }
  }

  private func transmit(_ train: borrowing Train) -> Int {
    for index in 0..<train.count { put(unsafe Array(train.datagram(index)), along: train.path) }
    return train.byteCount
  }

  private func put(_ bytes: [UInt8], along path: PackedPath) {
    guard let destination = path.endpoint else { return }
    world.inject(World.Datagram(sentAt: world.now.monotonic, source: endpoint, destination: destination, bytes: bytes))
  }
}
