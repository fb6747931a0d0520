import Foundation
import Synchronization
import WG6Crypto
import WG6Protocol

/// A malicious peer: has a key that a device knows, and decides about every datagram. Stands on the engine, as `Stranger`
/// does. Used by one thread.
final class Insider {
  let publicKey: String
  /// Its addresses inside the tunnel.
  let inner: (v4: String, v6: String)
  /// Where the device listens, and its addresses inside.
  let target: SocketAddress
  let targetPort: Int
  let targetInner: (v4: String, v6: String)

  private let device = Device(using: SystemRandomNumberGenerator())
  private var outbound: Outbound
  private var inbound: Inbound
  private let socket: DatagramSocket
  /// Of data messages: the type, and the index that the device has given out.
  private var header: [UInt8] = []
  private var key: [UInt8] = []
  private let path = PackedPath(Path(to: Endpoint(address: .v4(0x7F00_0001), port: 1))).reviewed(tunnelMTU: nil)

  /// - Parameters:
  ///   - host: where it sends from, by default from `address`.
  ///   - responder: the device's key, in base64.
  init(
    on host: Host, address: String, inner: (v4: String, v6: String), knowing responder: String, at target: String,
    port: Int, targetInner: (v4: String, v6: String)
  ) throws {
    self.inner = inner
    self.target = try SocketAddress(target, port)
    targetPort = port
    self.targetInner = targetInner
    socket = try DatagramSocket(on: host, address: address, port: 0)
    outbound = Outbound(plane: device.plane, reader: 0)
    inbound = Inbound(plane: device.plane, reader: 1)
    var random = SystemRandomNumberGenerator()
    let key = PrivateKey(using: &random)
    publicKey = key.publicKey.base64
    guard let responder = PublicKey(base64: responder) else {
      throw Disproved(claim: "\(responder) is a key", detail: "")
    }
    var update = DeviceUpdate()
    update.privateKey = .set(key)
    var peer = PeerUpdate(responder)
    peer.endpoint = path.endpoint
    peer.allowedIPs = [.add(IPPrefix(.v4(0), length: 0)), .add(IPPrefix(.v6(high: 0, low: 0), length: 0))]
    update.peers = [peer]
    device.apply(update, now: now)
    device.comeUp(now: now)
  }

  /// Has a session with the device, in which it has heard from here.
  func connect() throws {
    _ = seal(packet(to: targetInner.v4, port: 9, Array("hello".utf8)))
    for message in takeMessages() { socket.send(message, to: target) }
    let end = Clock.seconds + 10
    while Clock.seconds < end {
      guard let (bytes, _) = socket.receive(within: 1), let message = bytes.withUnsafeBytes({ ControlMessage($0) })
      else { continue }
      device.handle(message, from: path, now: now)
      let answers = takeMessages()
      guard !answers.isEmpty else { continue }
      for answer in answers { socket.send(answer, to: target) }
      header = Array(answers.last!.prefix(8))
      device.withSessionKeys { key in if self.key.isEmpty { self.key = key.withUnsafeBytes { Array($0) } } }
      return
    }
    throw Disproved(claim: "the peer at \(inner.v4) has a session", detail: "")
  }

  /// A message of this peer's with a packet for the device's machine.
  ///
  /// - Parameter counter: any that was not used yet; the newest moves the peer.
  func message(counter: UInt64) -> [UInt8] {
    seal(packet(to: targetInner.v4, port: 9, Array("hello".utf8)), counter: counter)
  }

  /// Sends a message to the device, from another socket if there is one.
  func send(_ message: [UInt8], from other: DatagramSocket? = nil) { (other ?? socket).send(message, to: target) }

  /// Sends `payload` through this peer's session to a port of the machine, from this peer's inner address, port 51820.
  func deliver(_ payload: [UInt8], to port: Int, isIPv6: Bool, counter: UInt64) {
    send(seal(packet(to: isIPv6 ? targetInner.v6 : targetInner.v4, port: port, payload), counter: counter))
  }

  /// `packet` in a data message under the session that `connect` has made.
  private func seal(_ packet: [UInt8], counter: UInt64) -> [UInt8] {
    var message = header + (0..<8).map { UInt8(truncatingIfNeeded: counter >> UInt64(8 * $0)) }
    message += packet + [UInt8](repeating: 0, count: (16 - packet.count % 16) % 16 + 16)
    message.withUnsafeMutableBytes { bytes in
      key.withUnsafeBufferPointer { key in
        ChaCha20Poly1305.sealInPlace(
          bytes.baseAddress! + 16, count: bytes.count - 32, counter: counter, key: key.baseAddress!)
      }
    }
    return message
  }

  private var now: Now {
    Now(monotonic: UInt64(Clock.seconds * 1e9) + 1_000_000_000, wall: UInt64(Clock.wallSeconds * 1e9))
  }

  /// Data messages for `packet`; none if there is no session.
  private func seal(_ packet: [UInt8]) -> [[UInt8]] {
    var messages: [[UInt8]] = []
    func take(_ train: inout Train) -> Int {
      for index in 0..<train.count { messages.append(Array(train.datagram(index))) }
      return train.byteCount
    }
    outbound.pass()
    packet.withUnsafeBytes { outbound.room.baseAddress!.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    _ = outbound.push(length: packet.count, now: now.monotonic, send: take)
    outbound.flush(now: now.monotonic, send: take)
    outbound.leave()
    return messages
  }

  /// What the device of this peer wants to send.
  private func takeMessages() -> [[UInt8]] {
    var messages: [[UInt8]] = []
    device.handleEvents(now: now)
    for action in device.takeActions() {
      switch action {
      case .send(let message, _, _): messages.append(message.withUnsafeBytes { Array($0) })
      case .wakeOutbound:
        outbound.pass()
        outbound.flushStaged(now: now.monotonic) { train in
          for index in 0..<train.count { messages.append(Array(train.datagram(index))) }
          return train.byteCount
        }
        outbound.leave()
      case .report, .silenceChanged: break
      }
    }
    return messages
  }

  /// A UDP datagram from this peer's inner address, port 51820, as a packet.
  private func packet(to destination: String, port: Int, _ payload: [UInt8]) -> [UInt8] {
    let isIPv6 = destination.contains(":")
    guard let from = try? SocketAddress(isIPv6 ? inner.v6 : inner.v4, 0).bytes,
      let to = try? SocketAddress(destination, 0).bytes
    else { preconditionFailure("an address inside") }
    func word(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)] }
    let length = payload.count + 8
    var datagram = word(Tunnel.port) + word(port) + word(length) + [0, 0] + payload
    // Of the pseudo-header, too; IPv6 has no datagrams without a checksum.
    let sum = Insider.checksum(from + to + word(length) + word(17) + datagram)
    datagram.replaceSubrange(6..<8, with: word(sum == 0 ? 0xFFFF : sum))
    if isIPv6 { return [0x60, 0, 0, 0] + word(length) + [17, 64] + from + to + datagram }
    var header = [0x45, 0] + word(20 + length) + [0, 1, 0, 0, 64, 17, 0, 0] + from + to
    header.replaceSubrange(10..<12, with: word(Insider.checksum(header)))
    return header + datagram
  }

  private static func checksum(_ bytes: [UInt8]) -> Int {
    var sum = 0
    for (index, byte) in bytes.enumerated() { sum += Int(byte) << (index.isMultiple(of: 2) ? 8 : 0) }
    while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
    return ~sum & 0xFFFF
  }
}
