import WG6Crypto

@testable import WG6Protocol
@testable import WG6Simulation

extension FuzzTarget {
  /// A device, alice, with two peers: bob, with whom she talks, and carol, of whom she knows nothing but the key. The
  /// input is a play: who sends, what the network does, what an outsider and a peer gone bad make up, how long it takes.
  static let message = FuzzTarget("message") { input in
    let play = MessagePlay(input)
    play.run()
  }
}

/// What must hold, whatever happens:
/// - every packet that comes out of alice's tunnel was put into it for her by a peer, comes out as it was, and once;
/// - what an outsider makes up is dropped and counted, answered by nothing, and moves nobody;
/// - under load, what is answered gets at most one answer, no longer than itself;
/// - the tables grow with the peers, and not with what was thrown at them;
/// - and when the trouble is over, alice and bob find each other again.
final class MessagePlay {
  private static let longest = 96
  static let durations: [Nanoseconds] =
    [1, 5, 20, 100, 333, 1000].map { $0 * Limits.millisecond }
    + [5, 6, 10, 15, 25, 90, 120, 165, 180, 540].map { $0 * Limits.second }

  var input: FuzzedBytes
  let world = World(seed: 1)
  let alice: Host
  let bob: Host
  let carol: Host
  /// What may still come out of alice's tunnel, and how often.
  var deliverable: [[UInt8]: Int] = [:]
  private var seen = 0
  private var nextNumber: UInt64 = 1
  /// What the network does with the next datagrams.
  private var weather: [UInt8] = []
  /// Whether the end can be happy: a peer that lied about the time has locked itself out.
  var isCurable = true

  init(_ input: FuzzedBytes) {
    self.input = input
    alice = world.addHost("alice", at: .v4(0x0A00_0001))
    bob = world.addHost("bob", at: .v4(0x0A00_0002))
    carol = world.addHost("carol", at: .v6(high: 0x2001_0DB8 << 32, low: 3))
    alice.add(bob, allowedIPs: [MessagePlay.prefix(2)])
    alice.add(carol, allowedIPs: [MessagePlay.prefix(3)], knowsEndpoint: false)
    bob.add(alice, allowedIPs: [MessagePlay.prefix(1)])
    carol.add(alice, allowedIPs: [MessagePlay.prefix(1)])
    world.course = { [unowned self] datagram in pass(datagram) }
  }

  static func prefix(_ host: UInt64) -> IPPrefix { IPPrefix(.v6(high: 0xFD00 << 48, low: host), length: 128) }

  static func address(_ host: UInt8) -> [UInt8] { [0xFD] + [UInt8](repeating: 0, count: 14) + [host] }

  func run() {
    send(from: bob, to: alice, size: 64)
    world.run(for: 100 * Limits.millisecond)
    look()
    claim(seen == 1, "the first packet arrives")
    for _ in 0..<MessagePlay.longest where !input.isEmpty {
      step()
      look()
    }
    recover()
  }

  private func step() {
    switch input.below(16) {
    case 0: send(from: alice, to: input.below(2) == 0 ? bob : carol, size: 48 + input.below(1500))
    case 1: send(from: input.below(2) == 0 ? bob : carol, to: alice, size: 48 + input.below(1500))
    case 2: world.run(for: MessagePlay.durations[input.below(MessagePlay.durations.count)])
    case 3: weather = input.take(input.below(8))
    case 4: invent()
    case 5, 6: repeatDatagram(changed: true, fixesMac1: false)
    case 7: repeatDatagram(changed: true, fixesMac1: true)
    case 8: repeatDatagram(changed: false, fixesMac1: false)
    case 9: (input.below(2) == 0 ? bob : carol).endpoint.port = 51820 + UInt16(input.below(4))
    case 10: sealAnything()
    case 11: initiateAnytime()
    case 12: reconfigure()
    case 13: underLoad()
    case 14: world.setWallClock(input.number(bytes: 8) >> 2)
    default:
      if input.below(2) == 0 { alice.device.goDown() } else { alice.device.comeUp(now: world.now) }
      alice.advance()
    }
  }

  // MARK: Peers and the network

  /// A numbered packet, so that each is another one.
  func send(from source: Host, to destination: Host, size: Int) {
    let places = [ObjectIdentifier(alice): UInt8(1), ObjectIdentifier(bob): 2, ObjectIdentifier(carol): 3]
    var packet: [UInt8] = [0x60, 0, 0, 0, UInt8((size - 40) >> 8), UInt8((size - 40) & 255), 59, 64]
    for host in [source, destination] { packet += MessagePlay.address(places[ObjectIdentifier(host)]!) }
    packet += (0..<8).map { UInt8(truncatingIfNeeded: nextNumber >> UInt64(8 * $0)) }
    packet += [UInt8](repeating: 0, count: size - packet.count)
    nextNumber += 1
    if destination === alice { deliverable[packet, default: 0] += 1 }
    source.send(packet)
  }

  private func pass(_ datagram: World.Datagram) -> [World.Delivery] {
    guard !weather.isEmpty else { return [World.Delivery(datagram)] }
    let choice = weather.removeFirst()
    let delay = 10 * Limits.millisecond + UInt64(choice >> 3) * 17 * Limits.millisecond
    switch choice & 7 {
    case 0, 1: return []
    case 2: return [World.Delivery(datagram), World.Delivery(datagram, after: delay)]
    case 3:
      var changed = datagram
      changed.bytes[Int(choice) * 7 % changed.bytes.count] ^= 1 << (choice & 7)
      return [World.Delivery(changed), World.Delivery(datagram, after: delay)]
    default: return [World.Delivery(datagram, after: delay)]
    }
  }

  // MARK: What must hold

  /// Looks at what came out of alice's tunnel since the last time, and at how much she remembers.
  func look() {
    for packet in alice.received[seen...] {
      guard let left = deliverable[packet], left > 0 else {
        claim(false, "a packet comes out that nobody put in, or again: \(packet)")
        return
      }
      deliverable[packet] = left - 1
    }
    seen = alice.received.count
    claim(alice.device.indexOwners.count <= 4 * alice.device.peersByKey.count, "at most four indices a peer")
    claim(alice.device.actions.isEmpty, "no action is left behind")
  }

  /// When the trouble is over: as at the start, and bob where he really is.
  private func recover() {
    weather = []
    alice.device.comeUp(now: world.now)
    restoreKey()
    forgetPresharedKey(of: alice, for: bob)
    forgetPresharedKey(of: bob, for: alice)
    alice.add(bob, allowedIPs: [MessagePlay.prefix(2)])
    world.run(for: Limits.second)
    look()
    guard isCurable else { return }
    let before = bob.received.count
    for _ in 0..<10 where bob.received.count == before {
      send(from: alice, to: bob, size: 64)
      world.run(for: 5 * Limits.second)
    }
    claim(bob.received.count > before, "alice reaches bob within 50 s")
    look()
  }

  func restoreKey() {
    var update = DeviceUpdate()
    update.privateKey = .set(alice.privateKey)
    alice.configure(update)
  }

  private func forgetPresharedKey(of host: Host, for peer: Host) {
    var change = PeerUpdate(peer.publicKey)
    change.presharedKey = .remove
    change.updatesOnly = true
    var update = DeviceUpdate()
    update.peers = [change]
    host.configure(update)
  }
}
