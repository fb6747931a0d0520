import WG6Crypto

@testable import WG6Protocol
@testable import WG6Simulation

/// What outsiders do, who see the network, and what a peer may do that does not keep to the rules.
extension MessagePlay {
  // MARK: Outsiders

  /// Bytes as they come, from anywhere.
  func invent() {
    var bytes = input.take(input.below(256))
    if bytes.count > 4, input.below(4) > 0 { bytes.replaceSubrange(0..<4, with: [UInt8(1 + input.below(4)), 0, 0, 0]) }
    inject(bytes, from: endpoint())
  }

  /// A datagram from the network once more, as it was or changed.
  func repeatDatagram(changed: Bool, fixesMac1: Bool) {
    guard !world.wire.isEmpty else { return }
    // The newest are the ones that a session may still know.
    let datagram = world.wire[world.wire.count - 1 - input.below(min(world.wire.count, 64))]
    var bytes = datagram.bytes
    if changed {
      for _ in 0...input.below(4) { change(&bytes) }
      if fixesMac1 { fixMac1(&bytes) }
    }
    inject(bytes, from: input.below(2) == 0 ? datagram.source : endpoint(), fixesMac1: fixesMac1)
  }

  private func change(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return }
    let place = input.below(bytes.count)
    switch input.below(5) {
    case 0: bytes[place] ^= max(1, input.byte())
    case 1: bytes[place] = input.byte()
    case 2: bytes.removeSubrange(place...)
    case 3: bytes += input.take(input.below(64))
    default:
      let other = world.wire[world.wire.count - 1 - input.below(min(world.wire.count, 64))].bytes
      let end = min(bytes.count, other.count, place + input.below(64))
      if place < end { bytes.replaceSubrange(place..<end, with: other[place..<end]) }
    }
  }

  /// Anyone who knows alice's public key can make this mac.
  private func fixMac1(_ bytes: inout [UInt8]) {
    guard let message = bytes.withUnsafeBytes({ ControlMessage($0) }), message.count >= 2 * FieldLength.mac else {
      return
    }
    let keys = MacKeys(of: alice.publicKey)
    let mac = MacKeys.mac(of: message, length: message.mac1Offset, key: keys.mac1.span.bytes)
    for index in 0..<FieldLength.mac { bytes[message.mac1Offset + index] = mac[index] }
  }

  private func endpoint() -> Endpoint {
    let port = UInt16(input.below(256)) << 8 | 1
    return input.below(2) == 0
      ? Endpoint(address: .v4(0xC0A8_0000 + UInt32(input.byte())), port: port)
      : Endpoint(address: .v6(high: 0xFE80 << 48, low: UInt64(input.byte())), port: port, zone: 2)
  }

  private struct Situation: Equatable {
    var received: Int
    var sent: Int
    var paths: [Path?]
    var handshakes: [Nanoseconds?]
  }

  private var situation: Situation {
    let peers = [bob, carol].map { alice.device.peersByKey[$0.publicKey] }
    return Situation(
      received: alice.received.count, sent: world.wire.count,
      paths: peers.map { peer in
        peer?.reference.path.endpoint.map { Path(to: $0) }
      }, handshakes: peers.map { $0?.lastHandshake })
  }

  private var drops: UInt64 { DropReason.allCases.reduce(0) { $0 + alice.device.plane.dropCount($1) } }

  /// Gives `bytes` to alice. Where none of them is authentic, nothing at all may come of it.
  private func inject(_ bytes: [UInt8], from source: Endpoint, fixesMac1: Bool = false) {
    let before = situation
    let dropsBefore = drops
    alice.receive(
      World.Datagram(sentAt: world.now.monotonic, source: source, destination: alice.endpoint, bytes: bytes))
    if fixesMac1 || isAuthentic(bytes) { return }
    claim(situation == before, "nothing comes of a forged message: \(bytes)")
    claim(drops == dropsBefore + 1 || !alice.device.isUp, "a forged message is counted once: \(bytes)")
  }

  /// Whether somebody sent just this to alice. The last field of a handshake message, mac2, is nothing to go by.
  private func isAuthentic(_ bytes: [UInt8]) -> Bool {
    world.wire.contains { datagram in
      datagram.destination == alice.endpoint && datagram.bytes.count == bytes.count
        && (datagram.bytes == bytes
          || datagram.type < 3 && datagram.bytes.dropLast(FieldLength.mac) == bytes.dropLast(FieldLength.mac))
    }
  }

  /// A handshake message while the queue is full: answered by at most one message, which is no longer.
  func underLoad() {
    let handshakes = world.wire.filter { $0.destination == alice.endpoint && (1...3).contains($0.type) }
    guard !handshakes.isEmpty else { return }
    var bytes = handshakes[handshakes.count - 1 - input.below(min(handshakes.count, 64))].bytes
    if input.below(2) == 0 {
      change(&bytes)
      fixMac1(&bytes)
    }
    guard let message = bytes.withUnsafeBytes({ ControlMessage($0) }) else { return }
    let source = endpoint()
    let path = PackedPath(Path(to: source, from: alice.endpoint.address, sourceInterface: 1))
    let before = world.wire.count
    alice.device.handle(message, from: path, fill: 1, now: world.now)
    alice.advance()
    let answers = world.wire[before...].filter { $0.destination == source }
    claim(answers.count <= 1, "at most one answer")
    claim(answers.allSatisfy { $0.bytes.count <= bytes.count }, "no answer is longer than what it answers")
  }

  // MARK: A peer that does not keep to the rules

  /// Bob seals whatever he likes, under whatever counter he likes.
  func sealAnything() {
    guard let keypair = bob.device.peersByKey[alice.publicKey]?.reference.sending else { return }
    let hasOwnCounter = input.below(2) == 0
    let counter = hasOwnCounter ? input.number(bytes: 8) : keypair.pointer.pointee.takeCounter()
    var plain = input.take(input.below(512))
    if input.below(2) == 0 {
      // Nearly a packet of his.
      let start: [UInt8] = [0x60, 0, 0, 0, UInt8(plain.count >> 8), UInt8(plain.count & 255), 59, 64]
      plain = start + MessagePlay.address(2) + MessagePlay.address(1) + plain
      for _ in 0..<input.below(3) { change(&plain) }
    }
    var bytes = [UInt8](repeating: 0, count: DataMessage.header) + plain
    bytes += [UInt8](repeating: 0, count: FieldLength.tag)
    bytes.withUnsafeMutableBytes {
      Train.seal($0.baseAddress! + DataMessage.header, count: plain.count, counter: counter, under: keypair.pointer)
    }
    // Where it is a packet from bob's address, as long as it says, alice may take it.
    if plain.count >= 40, plain[0] >> 4 == 6, Array(plain[8..<24]) == MessagePlay.address(2) {
      let length = 40 + Int(plain[4]) << 8 + Int(plain[5])
      if length <= plain.count { deliverable[Array(plain[..<length]), default: 0] += 1 }
    }
    if hasOwnCounter { isCurable = false }
    alice.receive(
      World.Datagram(sentAt: world.now.monotonic, source: bob.endpoint, destination: alice.endpoint, bytes: bytes))
  }

  /// Bob starts a handshake and claims that it is any time he likes.
  func initiateAnytime() {
    guard let alicesPeer = bob.device.peersByKey[alice.publicKey] else { return }
    var random = SeededRandom(seed: input.number(bytes: 2))
    let timestamp = TAI64N(seconds: input.number(bytes: 8), nanoseconds: UInt32(input.number(bytes: 4)))
    var message = ControlMessage(count: InitiationMessage.length)
    message.setWord(MessageType.initiation, at: 0)
    message.setWord(UInt32(input.number(bytes: 4)), at: InitiationMessage.sender)
    message.mutate { bytes in
      _ = NoiseIK.Initiator(
        from: alicesPeer.start, staticKey: bob.privateKey, staticPublicKey: bob.publicKey,
        staticStatic: alicesPeer.staticStatic!, responder: alice.publicKey, ephemeral: Secret(randomFrom: &random),
        payload: timestamp.bytes.span.bytes, writing: bytes + InitiationMessage.ephemeral)
    }
    let keys = MacKeys(of: alice.publicKey)
    message.setMac(
      MacKeys.mac(of: message, length: message.mac1Offset, key: keys.mac1.span.bytes), at: message.mac1Offset)
    isCurable = false
    let bytes = message.withUnsafeBytes { Array($0) }
    alice.receive(
      World.Datagram(sentAt: world.now.monotonic, source: bob.endpoint, destination: alice.endpoint, bytes: bytes))
  }

  // MARK: Alice changes her mind

  func reconfigure() {
    let other = input.below(2) == 0 ? bob : carol
    var change = PeerUpdate(other.publicKey)
    var update = DeviceUpdate()
    switch input.below(8) {
    case 0: change.removes = true
    case 1: change.persistentKeepalive = [0, 1, 25, 65535][input.below(4)]
    case 2:
      var random = SeededRandom(seed: 5)
      change.presharedKey = .set(PresharedKey(using: &random))
    case 3: change.endpoint = input.below(2) == 0 ? other.endpoint : Endpoint(address: .v4(1), port: 1)
    case 4:
      change.replacesAllowedIPs = true
      change.allowedIPs = [.add(MessagePlay.prefix(other === bob ? 2 : 3))]
    case 5: change.allowedIPs = [.remove(MessagePlay.prefix(other === bob ? 2 : 3))]
    case 6: return restoreKey()
    default:
      update.privateKey = .remove
      return alice.configure(update)
    }
    update.peers = [change]
    alice.configure(update)
  }
}
