import WG6Crypto
import WG6Protocol

/// An attacker with several keys that a machine knows: a peer under each. Writes messages of one peer through the session of
/// another, or with another's address inside for their source, so that one peer's endpoint becomes an address behind another.
public final class Insider {
  /// One of the attacker's keys.
  struct Member {
    let host: Host
    /// The tunnel that it is a peer of.
    let tunnel: Int
    /// The last part of its addresses inside.
    let number: Int
    /// Of its data messages: the type, and the index that the machine has given out.
    var header: [UInt8] = []
    var key: [UInt8] = []

    func address(isIPv6: Bool) -> IPAddress { Machine.address(inside: tunnel, of: number, isIPv6: isIPv6) }
  }

  /// How a message comes to the machine.
  enum Way: CaseIterable {
    /// Through the other peer's session, out of the machine's own interface.
    case inside
    /// By the uplink, with an address from inside for its source.
    case spoofed
  }

  private(set) var members: [Member] = []
  private unowned let world: World
  private let machine: Machine
  /// Counters, of all members: of messages that move somebody, and of those that others are wrapped in.
  private var newest: UInt64 = 4000
  private var oldest: UInt64 = 1000

  init(in world: World, against machine: Machine) {
    self.world = world
    self.machine = machine
  }

  /// Gets the machine to know another key, as a peer of a tunnel, and has a session under it.
  func join(_ tunnel: Int) {
    let number = members.count + 2
    let device = machine.tunnels[tunnel].host
    let host = world.addHost("insider \(number)", at: .v4(0xC633_6400 + UInt32(number)))
    var member = Member(host: host, tunnel: tunnel, number: number)
    device.add(
      host,
      allowedIPs: [
        IPPrefix(member.address(isIPv6: false), length: 32), IPPrefix(member.address(isIPv6: true), length: 128),
      ])
    host.add(device, allowedIPs: [IPPrefix(.v4(0), length: 0), IPPrefix(.v6(high: 0, low: 0), length: 0)])
    host.send(packet(from: member))
    world.run(for: Limits.second)
    host.diversion = { member.header = Array($0[..<8]) }
    host.send(packet(from: member))
    host.diversion = nil
    host.device.withSessionKeys { key in
      if member.key.isEmpty { member.key = unsafe key.withUnsafeBytes { unsafe Array($0) } }
    }
    members.append(member)
  }

  /// Has a message of one member come to the machine as if from the address of another, inside. Members count from 0.
  ///
  /// The message has a later counter than what it is wrapped in will have, when it is that member's turn: so what carries a
  /// message of another does not move its own sender back.
  func write(from sender: Int, as other: Int, _ way: Way, isIPv6: Bool) {
    let sender = members[sender], other = members[other]
    let device = machine.tunnels[sender.tunnel].host
    let source = Endpoint(address: other.address(isIPv6: isIPv6), port: 51820)
    let message = seal(packet(from: sender), of: sender, counter: &newest)
    switch way {
    case .inside:
      let destination = Endpoint(
        address: Machine.address(inside: other.tunnel, of: 1, isIPv6: isIPv6), port: device.endpoint.port)
      for packet in InnerDatagram.packets(message, from: source, to: destination, mtu: 1280, identification: 0) {
        inject(seal(packet, of: other, counter: &oldest), from: other.host.endpoint, to: other)
      }
    case .spoofed:
      inject(message, from: source, to: sender)
    }
    world.run(for: 100 * Limits.millisecond)
  }

  private func inject(_ bytes: [UInt8], from source: Endpoint, to member: Member) {
    let device = machine.tunnels[member.tunnel].host
    world.inject(
      Datagram(sentAt: world.now.monotonic, source: source, destination: device.endpoint, bytes: bytes))
  }

  /// A data message of a member's under the session that it has, with a counter that may be any.
  private func seal(_ packet: [UInt8], of member: Member, counter: inout UInt64) -> [UInt8] {
    counter += 1
    var message = member.header + (0..<8).map { UInt8(truncatingIfNeeded: counter >> UInt64(8 * $0)) }
    message += packet + [UInt8](repeating: 0, count: (16 - packet.count % 16) % 16 + 16)
    unsafe message.withUnsafeMutableBytes { bytes in
      unsafe member.key.withUnsafeBufferPointer { key in
        unsafe ChaCha20Poly1305.sealInPlace(
          bytes.baseAddress! + 16, count: bytes.count - 32, counter: counter, key: key.baseAddress!)
      }
    }
    return message
  }

  /// Says nothing from now on, whatever comes.
  func fallSilent() {
    for member in members { member.host.isConnected = false }
  }

  /// A packet of a member to the machine.
  private func packet(from member: Member) -> [UInt8] {
    let own = Machine.address(inside: member.tunnel, of: 1, isIPv6: true)
    return InnerDatagram.packets(
      [1, 2, 3], from: Endpoint(address: member.address(isIPv6: true), port: 1), to: Endpoint(address: own, port: 1),
      mtu: 1280, identification: 0)[0]
  }
}
