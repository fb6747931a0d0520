import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `An inner packet` {
  @Test(arguments: seeds) func `has the addresses and the length that its header says`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for round in 0..<1000 {
      let isIPv6 = round % 2 == 0
      var bytes = random.bytes(64)
      bytes[0] = isIPv6 ? 0x60 : 0x45
      (bytes[isIPv6 ? 4 : 2], bytes[isIPv6 ? 5 : 3]) = (0, isIPv6 ? 24 : 64)
      guard let packet = bytes.withUnsafeBytes({ InnerPacket($0) }) else { return fail("seed \(seed): \(bytes)") }
      let size = isIPv6 ? 16 : 4, source = isIPv6 ? 8 : 12
      guard packet.isIPv6 == isIPv6, packet.length == 64, packet.source == bits(bytes[source..<source + size]),
        packet.destination == bits(bytes[source + size..<source + 2 * size])
      else { return fail("seed \(seed): \(bytes)") }
    }
  }

  /// The bits of an address, one by one from its bytes, zeroes behind them.
  private func bits(_ bytes: ArraySlice<UInt8>) -> AddressBits {
    var words: [UInt64] = [0, 0]
    for (index, byte) in bytes.enumerated() { words[index / 8] |= UInt64(byte) << UInt64(56 - index % 8 * 8) }
    return AddressBits(high: words[0], low: words[1])
  }
}
