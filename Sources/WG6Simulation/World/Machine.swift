import WG6Protocol

/// A machine with several tunnels: what is addressed to the inside of one goes through that one, be it a program's packet or
/// another tunnel's datagram, and in pieces if it is too long. What comes out for a port of a device here is that device's.
public final class Machine {
  /// One of its tunnels.
  public struct Tunnel {
    /// The device.
    public let host: Host
    /// Of the interface.
    public let index: UInt32
    /// Bytes.
    public let mtu: Int
  }

  public private(set) var tunnels: [Tunnel] = []
  /// Bytes of datagrams that its devices have sent, into tunnels and out of the machine.
  public private(set) var byteCount = 0
  public private(set) var datagramCount = 0
  /// Past this many bytes it carries nothing: so a storm ends, once it is one.
  public var byteLimit = 4 << 20

  private unowned let world: World
  private var identification: UInt16 = 0
  /// What a packet takes from a tunnel to the next.
  private static let delay: Nanoseconds = 20_000

  init(in world: World) { self.world = world }

  /// Adds a tunnel with a device at `address`. Its number, from 0 on, is in the addresses inside: 10.`number`.0.0/16 and
  /// fd`number`::/64, of which the machine itself has the first.
  ///
  /// - Parameter isForeign: whether another program's device is behind it, which does not mind where ways lead.
  public func addTunnel(at address: IPAddress, mtu: Int, isForeign: Bool = false) -> Tunnel {
    let number = tunnels.count
    let host = world.addHost("tunnel \(number)", at: address)
    host.endpoint = Endpoint(address: address, port: UInt16(51820 + number))
    let tunnel = Tunnel(host: host, index: UInt32(10 + number), mtu: mtu)
    host.machine = self
    host.isForeign = isForeign
    if !isForeign { host.device.plane.interfaceIndex = tunnel.index }
    host.device.plane.mtu = mtu
    tunnels.append(tunnel)
    return tunnel
  }

  /// An address inside a tunnel. Member 1 is the machine.
  public static func address(inside tunnel: Int, of member: Int, isIPv6: Bool) -> IPAddress {
    isIPv6
      ? .v6(high: 0xFD00 << 48 | UInt64(tunnel) << 48, low: UInt64(member))
      : .v4(0x0A00_0000 | UInt32(tunnel) << 16 | UInt32(member))
  }

  /// A program here sends `packet`, whose destination is `address`.
  public func send(_ packet: [UInt8], to address: IPAddress) {
    guard let tunnel = route(to: address) else { return }
    tunnel.host.send(packet)
  }

  // MARK: For its devices

  /// The MTU, in bytes, of the tunnel that datagrams along `path` leave by; nil if they leave the machine.
  func tunnelMTU(along path: PackedPath) -> Int? { (path.endpoint?.address).flatMap { route(to: $0)?.mtu } }

  /// A device sends a datagram; false if that leaves the machine.
  func carry(_ bytes: [UInt8], along path: PackedPath, from host: Host) -> Bool {
    guard let remote = path.endpoint else { return false }
    byteCount += bytes.count
    datagramCount += 1
    guard let tunnel = route(to: remote.address) else { return false }
    guard byteCount < byteLimit, let number = tunnels.firstIndex(where: { $0.index == tunnel.index }) else {
      return true
    }
    let own = Machine.address(inside: number, of: 1, isIPv6: remote.address.isIPv6)
    identification &+= 1
    let pieces = InnerDatagram.packets(
      bytes, from: Endpoint(address: own, port: host.endpoint.port), to: remote, mtu: tunnel.mtu,
      identification: identification)
    world.after(Machine.delay) { _ in for piece in pieces { tunnel.host.send(piece) } }
    return true
  }

  /// A packet comes out of a tunnel: a datagram for a device here is handed to it.
  func take(_ packet: [UInt8], outOf host: Host) {
    guard let tunnel = tunnels.first(where: { $0.host === host }), let datagram = InnerDatagram.read(packet),
      let receiver = tunnels.first(where: { $0.host.endpoint.port == datagram.destination.port })?.host
    else { return }
    let arriving = Datagram(
      sentAt: world.now.monotonic, source: datagram.source, destination: datagram.destination, bytes: datagram.bytes)
    world.after(Machine.delay) { _ in receiver.receive(arriving, interface: tunnel.index) }
  }

  private func route(to address: IPAddress) -> Tunnel? {
    let number =
      address.isIPv6
      ? (address.bits.high >> 56 == 0xFD ? Int(address.bits.high >> 48 & 0xFF) : -1)
      : (address.bits.high >> 56 == 10 ? Int(address.bits.high >> 48 & 0xFF) : -1)
    return tunnels.indices.contains(number) ? tunnels[number] : nil
  }
}

/// UDP datagrams as packets inside a tunnel.
public enum InnerDatagram {
  /// The packets of a datagram: more than one if it is longer than `mtu` bytes with its headers.
  public static func packets(
    _ bytes: [UInt8], from source: Endpoint, to destination: Endpoint, mtu: Int, identification: UInt16
  ) -> [[UInt8]] {
    let length = bytes.count + 8
    let payload = words([source.port, destination.port, UInt16(truncatingIfNeeded: length), 0]) + bytes
    let isIPv6 = destination.address.isIPv6
    let header = isIPv6 ? 40 : 20
    guard header + length > mtu else {
      return [head(source, destination, length, isIPv6, 0, identification: identification) + payload]
    }
    let extra = isIPv6 ? 8 : 0
    let step = (mtu - header - extra) / 8 * 8
    return stride(from: 0, to: length, by: step).map { offset in
      let piece = payload[offset..<min(offset + step, length)]
      let isLast = offset + step >= length
      if isIPv6 {
        let fragment = [17, 0] + words([UInt16(offset) | (isLast ? 0 : 1), 0, identification])
        return head(source, destination, piece.count + 8, true, 0, next: 44) + fragment + piece
      }
      let field = UInt16(offset / 8) | (isLast ? 0 : 0x2000)
      return head(source, destination, piece.count, false, field, identification: identification) + piece
    }
  }

  /// The datagram in a packet; nil if it is none, or a piece of one.
  static func read(_ packet: [UInt8]) -> (source: Endpoint, destination: Endpoint, bytes: [UInt8])? {
    let isIPv6 = packet.first.map { $0 >> 4 == 6 } ?? false
    let header = isIPv6 ? 40 : 20
    guard packet.count >= header + 8, packet[isIPv6 ? 6 : 9] == 17,
      isIPv6 || (packet[6] & 0x3F == 0 && packet[7] == 0)
    else { return nil }
    func port(_ offset: Int) -> UInt16 { UInt16(packet[header + offset]) << 8 | UInt16(packet[header + offset + 1]) }
    func address(_ offset: Int) -> IPAddress {
      func word(_ offset: Int, _ count: Int) -> UInt64 {
        packet[offset..<offset + count].reduce(0) { $0 << 8 | UInt64($1) }
      }
      return isIPv6
        ? .v6(high: word(offset, 8), low: word(offset + 8, 8)) : .v4(UInt32(truncatingIfNeeded: word(offset, 4)))
    }
    return (
      Endpoint(address: address(isIPv6 ? 8 : 12), port: port(0)),
      Endpoint(address: address(isIPv6 ? 24 : 16), port: port(2)), Array(packet[(header + 8)...])
    )
  }

  private static func head(
    _ source: Endpoint, _ destination: Endpoint, _ length: Int, _ isIPv6: Bool, _ fragment: UInt16, next: UInt8 = 17,
    identification: UInt16 = 0
  ) -> [UInt8] {
    let addresses = [source.address, destination.address].flatMap { address in
      isIPv6
        ? words64([address.bits.high, address.bits.low])
        : words([UInt16(address.bits.high >> 48), UInt16(address.bits.high >> 32 & 0xFFFF)])
    }
    if isIPv6 { return [0x60, 0, 0, 0] + words([UInt16(length)]) + [next, 64] + addresses }
    return [0x45, 0] + words([UInt16(20 + length), identification, fragment]) + [64, 17, 0, 0] + addresses
  }

  private static func words(_ values: [UInt16]) -> [UInt8] {
    values.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
  }

  private static func words64(_ values: [UInt64]) -> [UInt8] {
    values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) } }
  }
}
