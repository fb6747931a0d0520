import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

extension FuzzTarget {
  /// Packets inside the tunnel, from both sides: what programs send, and what peers do. The input is a packet, and by its
  /// first two bytes how many zeroes follow it.
  static let packet = FuzzTarget("packet") { input in
    var input = input
    let zeroes = input.below(4) == 0 ? Int(input.number(bytes: 2)) : 0
    let packet = Array((input.rest() + [UInt8](repeating: 0, count: zeroes)).prefix(65535))
    let read = NaivePacket(packet)
    PacketPlay.header(packet, read)
    PacketPlay.error(packet, read)
    PacketPlay.shared.send(packet, read)
    PacketPlay.shared.receive(packet, read)
  }
}

/// The header as the RFCs draw it.
private struct NaivePacket {
  let source: [UInt8]
  let destination: [UInt8]
  let length: Int

  init?(_ packet: [UInt8]) {
    if packet.count >= 20, packet[0] >> 4 == 4 {
      (source, destination) = (Array(packet[12..<16]), Array(packet[16..<20]))
      length = Int(packet[2]) * 256 + Int(packet[3])
      let headerLength = Int(packet[0] & 15) * 4
      if headerLength < 20 || length < headerLength { return nil }
    } else if packet.count >= 40, packet[0] >> 4 == 6 {
      (source, destination) = (Array(packet[8..<24]), Array(packet[24..<40]))
      length = 40 + Int(packet[4]) * 256 + Int(packet[5])
    } else {
      return nil
    }
    if length > packet.count { return nil }
  }

  var isIPv6: Bool { source.count == 16 }

  /// A datagram as most are: whole, without options, between two hosts.
  func isPlainUDP(_ packet: [UInt8]) -> Bool {
    let hosts = [source, destination].allSatisfy { isIPv6 ? $0[0] == 0xFD : $0[0] == 10 }
    return hosts
      && (isIPv6 ? packet[6] == 17 : packet[0] == 0x45 && packet[6] & 0x1F == 0 && packet[7] == 0 && packet[9] == 17)
  }
}

/// RFC 1071, byte by byte.
func naiveChecksum(_ bytes: [UInt8]) -> UInt16 {
  var sum: UInt64 = 0
  for (index, byte) in bytes.enumerated() { sum += UInt64(byte) << (index % 2 == 0 ? 8 : 0) }
  while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
  return ~UInt16(sum)
}

/// A device whose only session is with itself: what it seals, it opens again.
private final class PacketPlay {
  nonisolated(unsafe) static let shared = PacketPlay()

  private let device = Device(using: SeededRandom(seed: 1))
  private var outbound: Outbound
  private var inbound: Inbound
  private let keypair: KeypairReference
  private let path = PackedPath(Path(to: Endpoint(address: .v4(0x0A00_0002), port: 51820)))
  private var now = 1000 * Limits.second

  /// fd00::/16 and 10.0.0.0/9 are a peer's with a session, fd80::/16 and 10.128.0.0/9 one's whose endpoint is unknown.
  init() {
    var update = DeviceUpdate()
    for (number, top) in [(UInt8(1), UInt64(0)), (2, 0x80)] {
      var peer = PeerUpdate(PublicKey(InlineArray(repeating: number)))
      peer.allowedIPs = [
        .add(IPPrefix(.v6(high: (0xFD00 | top) << 48, low: 0), length: 16)),
        .add(IPPrefix(.v4(0x0A00_0000 | UInt32(top) << 16), length: 9)),
      ]
      if number == 1 { peer.endpoint = Endpoint(address: .v4(0x0A00_0002), port: 51820) }
      update.peers.append(peer)
    }
    device.apply(update, now: Now(monotonic: now, wall: now))
    outbound = Outbound(plane: device.plane, reader: 0)
    inbound = Inbound(plane: device.plane, reader: 1)
    let peer = device.peersByKey[update.peers[0].publicKey]!
    let index = device.indexAllocator.allocate(in: device.plane.indices)!
    var random = SeededRandom(seed: 3)
    let key = Secret(randomFrom: &random)
    keypair = .create(
      Keypair(
        localIndex: index, remoteIndex: index, peer: peer.reference, createdAt: .max, isInitiator: false,
        keys: NoiseIK.TransportKeys(
          sending: key.clone(), receiving: key.clone(), handshakeHash: Digest(repeating: 0)), firstCounter: 0))
    device.plane.indices.bind(index, to: keypair)
    peer.reference.send(under: keypair)
  }

  private enum Owner { case session, noEndpoint, nobody }

  private func owner(of address: [UInt8]) -> Owner {
    if address.count == 4 {
      return address[0] != 10 ? .nobody : address[1] < 128 ? .session : .noEndpoint
    }
    return address[0] != 0xFD ? .nobody : address[1] == 0 ? .session : address[1] == 0x80 ? .noEndpoint : .nobody
  }

  // MARK: The parts on their own, on memory that ends with the packet

  static func header(_ packet: [UInt8], _ read: NaivePacket?) {
    withExactCopy(packet) { bytes in
      let inner = InnerPacket(bytes)
      claim((inner == nil) == (read == nil), "a packet is one for both: \(packet)")
      guard let inner, let read else { return }
      claim(
        inner.isIPv6 == read.isIPv6 && inner.length == read.length, "its length is \(read.length), not \(inner.length)")
      claim(array(inner.source, inner.isIPv6) == read.source, "its source is \(read.source)")
      claim(array(inner.destination, inner.isIPv6) == read.destination, "its destination is \(read.destination)")
    }
  }

  static func error(_ packet: [UInt8], _ read: NaivePacket?) {
    guard let read else { return }
    for reason in [Undeliverable.noPeer, .noEndpoint, .tooBig(mtu: 1280)] {
      withExactCopy(packet) { bytes in
        var errors = ICMPErrors()
        let answer = errors.answer(to: bytes, InnerPacket(bytes)!, reason, now: Limits.second).map { Array($0) }
        if let answer {
          check(answer, about: packet, read)
        } else {
          claim(!read.isPlainUDP(packet), "a plain datagram is answered: \(packet)")
        }
      }
    }
  }

  private static func check(_ answer: [UInt8], about packet: [UInt8], _ read: NaivePacket) {
    guard let error = NaivePacket(answer) else { return claim(false, "an error is a packet: \(answer)") }
    claim(error.length == answer.count, "an error says how long it is")
    claim(error.isIPv6 == read.isIPv6, "an error is of the packet's family")
    claim(error.source == read.destination && error.destination == read.source, "an error goes back")
    claim(answer.count <= (read.isIPv6 ? 1280 : 576), "an error is of a length that goes everywhere")
    let header = read.isIPv6 ? 40 : 20
    let quoted = Array(answer[(header + 8)...])
    claim(quoted == Array(packet.prefix(quoted.count)), "an error quotes what it is about")
    claim(quoted.count == read.length || quoted.count == (read.isIPv6 ? 1232 : 548), "as much as fits")
    if read.isIPv6 {
      claim(answer[6] == 58 && (1...2).contains(answer[40]), "it is an ICMPv6 error")
      let pseudo =
        read.destination + read.source + [
          0, 0, UInt8((answer.count - 40) >> 8), UInt8((answer.count - 40) & 255), 0, 0, 0, 58,
        ]
      claim(naiveChecksum(pseudo + answer[40...]) == 0, "its checksum is right: \(answer)")
      claim(packet[6] != 58 || packet.count > 40 && packet[40] >= 128, "no error is about an error: \(packet)")
      claim(read.source[0] != 0xFF && read.destination[0] != 0xFF, "no error is about a multicast packet: \(packet)")
    } else {
      claim(answer[9] == 1 && answer[20] == 3, "it is an ICMP error")
      claim(
        naiveChecksum(Array(answer[..<20])) == 0 && naiveChecksum(Array(answer[20...])) == 0,
        "its checksums are right: \(answer)"
      )
      let headerLength = Int(packet[0] & 15) * 4
      let isError = packet[9] == 1 && headerLength < packet.count && [3, 4, 5, 11, 12].contains(packet[headerLength])
      claim(!isError, "no error is about an error: \(packet)")
      claim(read.source[0] < 224 && read.destination[0] < 224, "no error is about a multicast packet: \(packet)")
      claim(packet[6] & 0x1F == 0 && packet[7] == 0, "no error is about a later fragment: \(packet)")
    }
  }

  private static func array(_ address: AddressBits, _ isIPv6: Bool) -> [UInt8] {
    let bytes = [address.high, address.low].flatMap { word in (0..<8).map { UInt8(word >> (56 - 8 * $0) & 255) } }
    return Array(bytes.prefix(isIPv6 ? 16 : 4))
  }

  private static func withExactCopy(_ packet: [UInt8], _ body: (UnsafeRawBufferPointer) -> Void) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: packet.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: packet)
    body(UnsafeRawBufferPointer(copy))
  }

  // MARK: Both ways

  /// A program sends it: it goes to whom it belongs, unharmed, or is dropped for the right reason.
  func send(_ packet: [UInt8], _ read: NaivePacket?) {
    now += Limits.second
    var datagrams: [[UInt8]] = []
    func keep(_ train: inout Train) -> Int {
      for index in 0..<train.count { datagrams.append(Array(train.datagram(index))) }
      return train.byteCount
    }
    let expected: DropReason? =
      switch read.map({ owner(of: $0.destination) }) {
      case nil: .notAnIPPacket
      case .nobody?: .noPeerForDestination
      case _ where packet.count > Limits.longestPacket: .packetTooBig
      case .noEndpoint?: .noEndpoint
      case .session?: isOwnData(packet, isIPv6: read!.isIPv6) ? .routingLoop : nil
      }
    outbound.pass()
    outbound.room.copyBytes(from: packet)
    counting(expected) {
      let answer = outbound.push(length: packet.count, now: now, send: keep).map { Array($0) }
      claim(answer == nil || expected != nil && expected != .notAnIPPacket, "only what is dropped is answered")
    }
    outbound.flush(now: now, send: keep)
    outbound.leave()
    claim(datagrams.count == (expected == nil ? 1 : 0), "\(datagrams.count) datagrams")
    guard let datagram = datagrams.first else { return }
    let padded = datagram.count - DataMessage.overhead
    claim(padded >= packet.count && padded < packet.count + 16, "\(packet.count) bytes are padded to \(padded)")
    open(datagram, packet, read)
  }

  /// Whether it is a datagram of this very session, or the first piece of one.
  private func isOwnData(_ packet: [UInt8], isIPv6: Bool) -> Bool {
    var start = isIPv6 ? 40 : Int(packet[0] & 15) * 4
    var transport = isIPv6 ? packet[6] : packet[9]
    if isIPv6, transport == 44, packet.count >= 48, packet[42] == 0, packet[43] < 8 {
      (start, transport) = (48, packet[40])
    }
    if !isIPv6, packet[6] & 0x1F != 0 || packet[7] != 0 { return false }
    let index = keypair.pointer.pointee.remoteIndex
    let beginning = [4, 0, 0, 0] + (0..<4).map { UInt8(truncatingIfNeeded: index >> (8 * $0)) }
    return transport == 17 && packet.count >= start + 24 && Array(packet[(start + 8)..<(start + 16)]) == beginning
  }

  /// A peer sends it, packet or not.
  func receive(_ packet: [UInt8], _ read: NaivePacket?) {
    var bytes =
      [UInt8](repeating: 0, count: DataMessage.header) + packet + [UInt8](repeating: 0, count: FieldLength.tag)
    let counter = keypair.pointer.pointee.takeCounter()
    bytes.withUnsafeMutableBytes {
      Train.seal($0.baseAddress! + DataMessage.header, count: packet.count, counter: counter, under: keypair.pointer)
    }
    open(bytes, packet, read)
  }

  private func open(_ datagram: [UInt8], _ packet: [UInt8], _ read: NaivePacket?) {
    let expected: DropReason? =
      switch read.map({ owner(of: $0.source) }) {
      case nil: packet.isEmpty ? nil : .malformedPacket
      case .session?: nil
      default: .sourceNotAllowed
      }
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: datagram.count, alignment: 16)
    defer { copy.deallocate() }
    copy.copyBytes(from: datagram)
    inbound.pass()
    counting(expected) {
      switch inbound.open(copy, from: path, now: now) {
      case .packet(let offset, let length):
        claim(expected == nil && length == read?.length, "a packet of \(length) bytes comes out")
        claim(Array(copy[offset..<offset + length]) == Array(packet.prefix(length)), "it comes out unharmed")
      case .control: claim(false, "a data message is no control message")
      case .nothing: claim(expected != nil || packet.isEmpty, "a packet is lost: \(packet)")
      }
    }
    inbound.leave()
  }

  /// Exactly one drop, and for this reason; none where there is none.
  private func counting(_ reason: DropReason?, _ body: () -> Void) {
    let before = DropReason.allCases.map { device.plane.dropCount($0) }
    body()
    for (index, other) in DropReason.allCases.enumerated() {
      let count = device.plane.dropCount(other) - before[index]
      claim(count == (other == reason ? 1 : 0), "\(count) dropped for \(other), expected \(String(describing: reason))")
    }
  }
}
