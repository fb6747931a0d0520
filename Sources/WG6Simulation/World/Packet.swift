import WG6Protocol

/// IPv6 packets whose every byte follows from their number, sender, receiver and size, so that whoever gets one can
/// tell whether it is unharmed. Host n is fd00::n+1.
public enum Packet {
  /// What must never be seen on the wire: stands in every packet, again and again.
  static let marker: [UInt8] = Array("PLAINTEXT!wg6wg6".utf8)
  /// IPv6 header, number, one marker.
  public static let leastSize = 40 + 8 + 16

  static func prefix(of host: Int) -> IPPrefix {
    IPPrefix(.v6(high: 0xFD00 << 48, low: UInt64(host) + 1), length: 128)
  }

  /// A packet of `size` bytes. Precondition: at least `leastSize`; fewer than 255 hosts.
  public static func make(_ number: UInt64, from source: Int, to destination: Int, size: Int) -> [UInt8] {
    precondition(size >= leastSize)
    var packet = [UInt8](repeating: 0, count: 40)
    packet.reserveCapacity(size)
    packet[0] = 0x60
    packet[4] = UInt8(truncatingIfNeeded: (size - 40) >> 8)
    packet[5] = UInt8(truncatingIfNeeded: size - 40)
    packet[6] = 59
    packet[7] = 64
    packet[8] = 0xFD
    packet[23] = UInt8(source + 1)
    packet[24] = 0xFD
    packet[39] = UInt8(destination + 1)
    append(number, to: &packet)
    packet += marker
    // A stream of the number's own, with a marker in every fourth place.
    var stream = SeededRandom(seed: number)
    while packet.count + 64 <= size {
      for _ in 0..<6 { append(stream.next(), to: &packet) }
      packet += marker
    }
    packet += stream.bytes(size - packet.count)
    return packet
  }

  /// Number, sender and receiver of a packet that has them.
  static func read(_ packet: [UInt8]) -> (number: UInt64, source: Int, destination: Int)? {
    guard packet.count >= leastSize else { return nil }
    let number = packet[40..<48].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    return (number, Int(packet[23]) - 1, Int(packet[39]) - 1)
  }

  /// Whether no byte of `packet` is another than it was.
  static func isUnharmed(_ packet: [UInt8]) -> Bool {
    guard let (number, source, destination) = read(packet) else { return false }
    return packet == make(number, from: source, to: destination, size: packet.count)
  }

  private static func append(_ word: UInt64, to packet: inout [UInt8]) {
    for shift in stride(from: 56, through: 0, by: -8) {
      packet.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
    }
  }
}
