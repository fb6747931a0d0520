/// An IPv4 or IPv6 address, in host order.
public enum IPAddress: Hashable, Sendable {
  case v4(UInt32)
  case v6(high: UInt64, low: UInt64)

  public var isIPv6: Bool {
    if case .v6 = self { true } else { false }
  }

  /// Bits of an address of this family: 32 or 128.
  public var bitWidth: Int { isIPv6 ? 128 : 32 }

  /// The address as 128 bits, an IPv4 address in the topmost 32: prefixes of both families compare from the top.
  public var bits: AddressBits {
    switch self {
    case .v4(let address): AddressBits(high: UInt64(address) << 32, low: 0)
    case .v6(let high, let low): AddressBits(high: high, low: low)
    }
  }

  /// The IPv4 address in an IPv4-mapped one; any other as it is.
  var unmapped: IPAddress {
    guard case .v6(high: 0, let low) = self, low >> 32 == 0xFFFF else { return self }
    return .v4(UInt32(truncatingIfNeeded: low))
  }

  /// Of IPv4 the topmost 32 bits.
  public init(bits: AddressBits, isIPv6: Bool) {
    self = isIPv6 ? .v6(high: bits.high, low: bits.low) : .v4(UInt32(truncatingIfNeeded: bits.high >> 32))
  }
}

/// 128 bits, counted from the most significant one.
public struct AddressBits: Hashable, Sendable {
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// The first `length` bits, the others zero.
  public func masked(to length: Int) -> AddressBits {
    if length >= 64 {
      AddressBits(high: high, low: length >= 128 ? low : low & ~(UInt64.max >> UInt64(length - 64)))
    } else {
      AddressBits(high: high & ~(UInt64.max >> UInt64(length)), low: 0)
    }
  }

  /// How many leading bits both have in common, 0 to 128.
  public func commonPrefixLength(with other: AddressBits) -> Int {
    let difference = high ^ other.high
    return difference != 0 ? difference.leadingZeroBitCount : 64 + (low ^ other.low).leadingZeroBitCount
  }

  /// The bit at `position`, 0 being the most significant. Precondition: below 128.
  public func bit(at position: Int) -> Bool {
    position < 64 ? (high >> UInt64(63 - position)) & 1 == 1 : (low >> UInt64(127 - position)) & 1 == 1
  }
}

/// A network prefix: an address whose host bits are zero, and a length.
public struct IPPrefix: Hashable, Sendable {
  public let address: IPAddress
  /// 0 to 32 for IPv4, 0 to 128 for IPv6.
  public let length: Int

  /// The prefix that `address` is in, host bits cleared. Precondition: `length` fits the family.
  public init(_ address: IPAddress, length: Int) {
    precondition((0...address.bitWidth).contains(length))
    self.address = IPAddress(bits: address.bits.masked(to: length), isIPv6: address.isIPv6)
    self.length = length
  }

  public func contains(_ other: IPAddress) -> Bool {
    other.isIPv6 == address.isIPv6 && other.bits.masked(to: length) == address.bits
  }
}

/// Where a peer is reached: address, UDP port, and the zone (interface index) of a link-local IPv6 address.
///
/// An IPv4-mapped IPv6 address (::ffff:0:0/96, RFC 4291 section 2.5.5.2) is the IPv4 address in it: nothing that leaves a
/// machine carries the mapped form.
public struct Endpoint: Hashable, Sendable {
  public let address: IPAddress
  public var port: UInt16
  /// `sin6_scope_id`; 0 for anything but a link-local IPv6 address.
  public var zone: UInt32

  public init(address: IPAddress, port: UInt16, zone: UInt32 = 0) {
    self.address = address.unmapped
    self.port = port
    self.zone = zone
  }
}

/// The way to a peer: its endpoint, and the local address and interface that its last packet came to ("sticky" source).
public struct Path: Hashable, Sendable {
  public var remote: Endpoint
  /// The local address to send from, of the remote's family; `nil` lets the kernel choose.
  public var source: IPAddress?
  /// The interface that the packet came in by; 0 where unknown.
  public var sourceInterface: UInt32

  public init(to remote: Endpoint, from source: IPAddress? = nil, sourceInterface: UInt32 = 0) {
    self.remote = remote
    self.source = source
    self.sourceInterface = sourceInterface
  }
}

extension IPPrefix: Comparable {
  /// IPv4 first, ascending; of prefixes at one address the wider.
  public static func < (left: IPPrefix, right: IPPrefix) -> Bool {
    let (a, b) = (left.address, right.address)
    if a.isIPv6 != b.isIPv6 { return b.isIPv6 }
    return (a.bits.high, a.bits.low, left.length) < (b.bits.high, b.bits.low, right.length)
  }
}
