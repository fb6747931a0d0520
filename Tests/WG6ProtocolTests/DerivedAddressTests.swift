import TestVectors
import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// The vectors are those of docs/addresses.md, computed with Python's hashlib.blake2s, which nobody here wrote.
@Suite struct `Addresses that follow from keys` {
  @Test(
    arguments: [
      ("c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038", 0x3ACD_857E_9648_017C),
      ("4eb32f4a83f88d842563a448cc181bb2c42a637bf12363e2fb2ef594e5965d7d", 0x6E93_96C3_BA42_4F11),
      ("80deb906420acb578213da4fd7075cf11394b641cb1763df02a61dc98073e840", 0x0B49_8079_00B6_BB9F),
      (String(repeating: "00", count: 32), 0x918F_5BBC_26A0_00A4),
    ] as [(String, UInt64)])
  func `each vector's interface identifier`(key: String, identifier: UInt64) {
    #expect(DerivedAddress.interfaceIdentifier(of: PublicKey(hex: key)) == identifier)
  }

  @Test(
    arguments: [
      ("home", 0xFD58_F25B_E75D_0000), ("HoMe", 0xFD58_F25B_E75D_0000),
      ("office.example.org", 0xFD64_A98F_B9BE_0000), ("a", 0xFD63_B24A_4071_0000), ("wgnet", 0xFDC1_07B5_5273_0000),
    ] as [(String, UInt64)])
  func `each vector's unique local network`(name: String, network: UInt64) {
    #expect(DerivedAddress.uniqueLocalNetwork(named: name) == network)
  }

  @Test func `the same identifier ends a peer's address in every network`() {
    let key = PublicKey(hex: "4eb32f4a83f88d842563a448cc181bb2c42a637bf12363e2fb2ef594e5965d7d")
    #expect(
      DerivedAddress.address(of: key, in: DerivedAddress.linkLocalNetwork)
        == .v6(high: 0xFE80_0000_0000_0000, low: 0x6E93_96C3_BA42_4F11))
    #expect(
      DerivedAddress.address(of: key, in: DerivedAddress.uniqueLocalNetwork(named: "home"))
        == .v6(high: 0xFD58_F25B_E75D_0000, low: 0x6E93_96C3_BA42_4F11))
  }

  @Test(
    arguments: [
      0, 0x0200_5EFF_FE00_0000, 0x0200_5EFF_FE00_5213, 0x0200_5EFF_FEFF_FFFF, 0xFDFF_FFFF_FFFF_FF80,
      0xFDFF_FFFF_FFFF_FFFF,
    ] as [UInt64])
  func `a reserved identifier gives way to the digest's next eight bytes`(reserved: UInt64) {
    #expect(DerivedAddress.identifier(from: digest(reserved, 7, 8, 9)) == 7)
    #expect(DerivedAddress.identifier(from: digest(reserved, 0, reserved, 9)) == 9)
  }

  @Test(
    arguments: [
      1, 0x0200_5EFF_FDFF_FFFF, 0x0200_5EFF_FF00_0000, 0xFDFF_FFFF_FFFF_FF7F, 0xFE00_0000_0000_0000, .max,
    ] as [UInt64])
  func `an identifier beside the reserved ones stays`(identifier: UInt64) {
    #expect(DerivedAddress.identifier(from: digest(identifier, 7, 8, 9)) == identifier)
  }

  @Test func `thousands of keys have as many identifiers, and each bit of them is set half of the time`() {
    var random = SeededRandom(seed: 5)
    var known: Set<UInt64> = []
    var bits = [Int](repeating: 0, count: 64)
    let count = 4096
    for _ in 0..<count {
      let identifier = DerivedAddress.interfaceIdentifier(of: PublicKey(InlineArray { _ in UInt8(random.below(256)) }))
      #expect(!DerivedAddress.isReserved(identifier))
      known.insert(identifier)
      for bit in 0..<64 where identifier >> UInt64(bit) & 1 == 1 { bits[bit] += 1 }
    }
    #expect(known.count == count)
    // Eight standard deviations of 32.
    #expect(bits.allSatisfy { abs($0 - count / 2) < 256 })
  }

  @Test func `a unique local network is a /48 of fd00::/8 with the subnet 0`() {
    var random = SeededRandom(seed: 6)
    for _ in 0..<1000 {
      let name = String(
        (0..<1 + random.below(63)).map { _ in "abcdefghijklmnopqrstuvwxyz0123456789-_.".randomElement(using: &random)! }
      )
      let network = DerivedAddress.uniqueLocalNetwork(named: name)
      #expect(network >> 56 == 0xFD && network & 0xFFFF == 0)
      #expect(network == DerivedAddress.uniqueLocalNetwork(named: name.uppercased()))
    }
  }

  private func digest(_ words: UInt64...) -> Digest {
    InlineArray { UInt8(truncatingIfNeeded: words[$0 / 8] >> UInt64(56 - 8 * ($0 % 8))) }
  }
}
