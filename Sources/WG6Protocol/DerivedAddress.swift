import WG6Crypto

/// Addresses that follow from public keys and from names of networks, so that peers that know each other's keys know each
/// other's addresses. docs/addresses.md is the specification, with vectors: what is computed here may never change.
///
/// A network is the first 64 bits of an address, an interface identifier the last 64.
public enum DerivedAddress {
  /// fe80::/64, as high half of an address.
  public static let linkLocalNetwork: UInt64 = 0xFE80 << 48

  /// All groups of the link's scope (RFC 4291 §2.7): router solicitations, routing daemons, DHCPv6.
  public static let groupsOfLink = IPPrefix(.v6(high: 0xFF02 << 48, low: 0), length: 16)

  /// The interface identifier of the peer with `key`: 64 bits of BLAKE2s over a label and the key. All of them are opaque
  /// (RFC 7136 §5); those that are reserved (RFC 5453) are never used.
  public static func interfaceIdentifier(of key: PublicKey) -> UInt64 {
    unsafe identifier(from: digest("wg6 interface identifier v1", key.bytes.span.bytes))
  }

  /// The network that `name` stands for: a unique local /48 (RFC 4193 §3.1) whose global ID is 40 bits of BLAKE2s over a
  /// label and the name, and in it the subnet 0. Upper and lower case of ASCII letters are the same.
  public static func uniqueLocalNetwork(named name: String) -> UInt64 {
    let letters = name.utf8.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    let digest = unsafe digest("wg6 unique local network v1", letters.span.bytes)
    var globalID: UInt64 = 0
    for index in 0..<5 { globalID = globalID << 8 | UInt64(digest[index]) }
    return 0xFD << 56 | globalID << 16
  }

  /// The address of the peer with `key` in `network`.
  public static func address(of key: PublicKey, in network: UInt64) -> IPAddress {
    .v6(high: network, low: interfaceIdentifier(of: key))
  }

  /// The address with `identifier` in `network`, as an allowed IP.
  public static func prefix(of identifier: UInt64, in network: UInt64) -> IPPrefix {
    IPPrefix(.v6(high: network, low: identifier), length: 128)
  }

  /// The first of the digest's four groups of eight bytes that is not reserved. All four are with a probability below
  /// 2^-155; the last group counts then.
  static func identifier(from digest: Digest) -> UInt64 {
    var word: UInt64 = 0
    for group in 0..<4 {
      word = 0
      for index in 8 * group..<8 * group + 8 { word = word << 8 | UInt64(digest[index]) }
      if !isReserved(word) { break }
    }
    return word
  }

  /// What IANA's registry of reserved interface identifiers has (RFC 5453): the subnet-router anycast address (RFC 4291
  /// §2.6.1), those of IANA's Ethernet block (RFC 4291, RFC 6543) and the subnet anycast addresses (RFC 2526).
  static func isReserved(_ identifier: UInt64) -> Bool {
    identifier == 0 || identifier >> 24 == 0x02_005E_FFFE
      || (0xFDFF_FFFF_FFFF_FF80...0xFDFF_FFFF_FFFF_FFFF).contains(identifier)
  }

  private static func digest(_ label: StaticString, _ value: RawSpan) -> Digest {
    var hash = BLAKE2s()
    hash.update(unsafe UnsafeRawBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount).bytes)
    hash.update(value)
    return hash.digest()
  }
}
