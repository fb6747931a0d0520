import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `The Internet checksum` {
  /// Of `bytes`, which begin at any address.
  private func checksum(_ bytes: [UInt8], offset: Int = 0) -> UInt16 {
    let room = [UInt8](repeating: 0xA5, count: offset) + bytes + [0xA5]
    return room.withUnsafeBytes { room in
      var checksum = InternetChecksum()
      checksum.add(UnsafeRawBufferPointer(rebasing: room[offset..<offset + bytes.count]))
      return checksum.value
    }
  }

  @Test(arguments: seeds) func `is the sum of words, at every length and from any address`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for length in 0..<300 {
      for bytes in [random.bytes(length), Array(repeating: 0xFF, count: length), Array(repeating: 0, count: length)] {
        let expected = naiveChecksum(bytes)
        for offset in [0, 1, 2, 4, 7] where checksum(bytes, offset: offset) != expected {
          return fail("seed \(seed): \(length) bytes at \(offset)")
        }
      }
    }
    for length in [1499, 9000, 65534, 65535] {
      let bytes = random.bytes(length), ones = [UInt8](repeating: 0xFF, count: length)
      #expect(checksum(bytes) == naiveChecksum(bytes) && checksum(ones) == naiveChecksum(ones))
    }
  }

  @Test(arguments: seeds) func `of an address is that of its bytes`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for _ in 0..<1000 {
      let address = AddressBits(high: random.next(), low: random.next())
      var checksum = InternetChecksum()
      checksum.add(address)
      let bytes = [address.high, address.low].flatMap { word in
        (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
      }
      guard checksum.value == naiveChecksum(bytes) else { return fail("seed \(seed): \(bytes)") }
    }
  }

  @Test func `adds up from parts, and is left open for others to complete`() {
    let bytes = (0..<64).map { UInt8(truncatingIfNeeded: $0 &* 89) }
    var checksum = InternetChecksum()
    for part in [0..<2, 2..<32, 32..<36, 36..<64] {
      bytes.withUnsafeBytes { checksum.add(UnsafeRawBufferPointer(rebasing: $0[part])) }
    }
    #expect(checksum.value == naiveChecksum(bytes) && checksum.partial == ~naiveChecksum(bytes))
    checksum.add(UInt32(checksum.value))
    #expect(checksum.value == 0 && checksum.valueForUDP == 0xFFFF)
  }
}
