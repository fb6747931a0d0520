import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// Devices taken apart: each path is driven by hand, so that a test can stand between any two steps.
///
/// Where `World` shows what hosts do, this shows what their parts do to one another.
final class Bench {
  var now = Now(monotonic: 1000 * Limits.second, wall: 1_700_000_000 * Limits.second)
  private(set) var nodes: [Node] = []
  private var random: SeededRandom

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
  }

  func addNode() -> Node {
    let node = Node(self, number: UInt8(nodes.count + 1), random: SeededRandom(seed: random.next()))
    nodes.append(node)
    return node
  }

  func wait(_ duration: Nanoseconds) {
    now.monotonic += duration
    now.wall += duration
    for node in nodes { node.device.advance(now: now) }
  }

  /// Carries every datagram to where it goes, and all that follows from it, until nothing is under way.
  func deliver() {
    for node in nodes { node.settle() }
    while let sender = nodes.first(where: { !$0.outbox.isEmpty }) {
      let datagram = sender.outbox.removeFirst()
      nodes.first { $0.endpoint == datagram.destination }?.receive(datagram.bytes, from: sender.endpoint)
    }
  }
}

/// One device of a `Bench`: at 10.0.0.`number`, and fd00::`number` behind the tunnel.
final class Node {
  let device: Device
  let key: PrivateKey
  let number: UInt8
  var endpoint: Endpoint
  var outbound: Outbound
  var inbound: Inbound
  /// How full the handshake queue claims to be.
  var fill = 0.0
  /// Whether `wakeOutbound` is obeyed at once.
  var isAwake = true

  var outbox: [(bytes: [UInt8], destination: Endpoint)] = []
  var received: [[UInt8]] = []
  /// ICMP errors about packets that could not be sent.
  var errors: [[UInt8]] = []
  /// How many datagrams each train had, and how many bytes.
  var trains: [(count: Int, bytes: Int)] = []
  /// Strong both ways: a bench lives as long as the test process, and a test need not hold on to it.
  private let bench: Bench

  init(_ bench: Bench, number: UInt8, random: SeededRandom) {
    self.bench = bench
    self.number = number
    var random = random
    device = Device(using: SeededRandom(seed: random.next()))
    key = PrivateKey(using: &random)
    endpoint = Endpoint(address: .v4(0x0A00_0000 + UInt32(number)), port: 51820)
    outbound = Outbound(plane: device.plane, reader: 0)
    inbound = Inbound(plane: device.plane, reader: 1)
    var update = DeviceUpdate()
    update.privateKey = .set(key)
    apply(update)
    device.comeUp(now: bench.now)
  }

  var prefix: IPPrefix { Pair.prefix(UInt64(number)) }

  func apply(_ update: DeviceUpdate) {
    device.apply(update, now: bench.now)
  }

  func apply(_ peer: PeerUpdate) {
    var update = DeviceUpdate()
    update.peers = [peer]
    apply(update)
  }

  /// Makes the other one a peer of this one, under its prefix.
  func add(_ other: Node, knowsEndpoint: Bool = true) {
    var peer = PeerUpdate(other.key.publicKey)
    peer.endpoint = knowsEndpoint ? other.endpoint : nil
    peer.allowedIPs = [.add(other.prefix)]
    apply(peer)
  }

  /// The control path's view of the other one.
  func peer(_ other: Node) -> Peer { device.peersByKey[other.key.publicKey]! }

  func drops(_ reason: DropReason) -> UInt64 { device.plane.dropCount(reason) }

  func packet(to other: Node, number: Int = 0, size: Int = 64) -> [UInt8] {
    ipv6Packet(from: self.number, to: other.number, number: number, size: size)
  }

  /// Pushes the packets in one go, as a thread does that finds them all waiting.
  func push(_ packets: [[UInt8]]) {
    outbound.pass()
    for packet in packets {
      packet.withUnsafeBytes { outbound.room.copyMemory(from: $0) }
      if let answer = outbound.push(length: packet.count, now: bench.now.monotonic, send: { transmit($0) }) {
        errors.append(Array(answer))
      }
    }
    outbound.flush(now: bench.now.monotonic) { transmit($0) }
    outbound.leave()
  }

  /// What the outbound thread does when it is woken.
  func wake() {
    outbound.pass()
    outbound.flushStaged(now: bench.now.monotonic) { transmit($0) }
    outbound.leave()
  }

  func receive(_ bytes: [UInt8], from source: Endpoint, to local: IPAddress? = nil, interface: UInt32 = 1) {
    let path = PackedPath(Path(to: source, from: local ?? endpoint.address, sourceInterface: interface))
    var bytes = bytes
    inbound.pass()
    bytes.withUnsafeMutableBytes { bytes in
      switch inbound.open(bytes, from: path, now: bench.now.monotonic) {
      case .packet(let offset, let length): received.append(Array(bytes[offset..<offset + length]))
      case .control:
        device.handle(ControlMessage(UnsafeRawBufferPointer(bytes))!, from: path, fill: fill, now: bench.now)
      case .nothing: break
      }
    }
    inbound.leave()
    settle()
  }

  /// Lets the control path do what there is to do.
  func settle() {
    repeat {
      outbound.wantsControl = false
      inbound.wantsControl = false
      device.handleEvents(now: bench.now)
      perform()
    } while outbound.wantsControl || inbound.wantsControl
  }

  private func perform() {
    for action in device.takeActions() {
      switch action {
      case .send(let message, let path, let peer):
        let bytes = message.withUnsafeBytes { Array($0) }
        if let destination = path.endpoint { outbox.append((bytes, destination)) }
        peer?.sent(bytes.count)
      case .wakeOutbound: if isAwake { wake() }
      case .report, .silenceChanged: break
      }
    }
  }

  func transmit(_ train: borrowing Train) -> Int {
    trains.append((train.count, train.byteCount))
    guard let destination = train.path.endpoint else { return 0 }
    for index in 0..<train.count { outbox.append((Array(train.datagram(index)), destination)) }
    return train.byteCount
  }
}

/// Seeds of a randomised test: some that stay, and one that nobody has tried. The failing one is printed as its argument.
let seeds: [UInt64] = [1, 2, 3, .random(in: 0 ... .max)]

/// Ends a test that has no use for going on.
func fail(_ what: String) { Issue.record(Comment(rawValue: what)) }

/// A keypair that no handshake made.
func makeKeypair(
  _ peer: PeerReference, index: UInt32 = 1, createdAt: Nanoseconds = 0, isInitiator: Bool = true,
  firstCounter: UInt64 = 0
) -> KeypairReference {
  var random = SeededRandom(seed: 77)
  let keys = NoiseIK.TransportKeys(
    sending: Secret(randomFrom: &random), receiving: Secret(randomFrom: &random), handshakeHash: Digest(repeating: 0))
  return .create(
    Keypair(
      localIndex: index, remoteIndex: 2, peer: peer, createdAt: createdAt, isInitiator: isInitiator, keys: keys,
      firstCounter: firstCounter))
}
