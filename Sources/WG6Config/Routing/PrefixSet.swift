import WG6Protocol

/// A set of addresses of both families, made from prefixes and taken apart into prefixes.
public struct PrefixSet: Hashable, Sendable {
  private var v4 = AddressRanges()
  private var v6 = AddressRanges()

  public init() {}

  /// Everything in `prefixes`, which may overlap. Costs as much as sorting them.
  public init(_ prefixes: some Sequence<IPPrefix>) {
    var ranges: (v4: [AddressRange], v6: [AddressRange]) = ([], [])
    for prefix in prefixes {
      if prefix.isIPv6 { ranges.v6.append(prefix.range) } else { ranges.v4.append(prefix.range) }
    }
    self.init(v4: AddressRanges(ranges.v4), v6: AddressRanges(ranges.v6))
  }

  init(v4: AddressRanges, v6: AddressRanges) {
    self.v4 = v4
    self.v6 = v6
  }

  public var isEmpty: Bool { v4.isEmpty && v6.isEmpty }

  public mutating func insert(_ prefix: IPPrefix) {
    self[prefix.isIPv6].insert(prefix.range)
  }

  public mutating func formUnion(_ other: PrefixSet) {
    v4.formUnion(other.v4)
    v6.formUnion(other.v6)
  }

  public mutating func subtract(_ prefix: IPPrefix) {
    self[prefix.isIPv6].subtract(prefix.range)
  }

  /// Linear in both sets.
  public mutating func subtract(_ other: PrefixSet) {
    v4.subtract(other.v4)
    v6.subtract(other.v6)
  }

  public func contains(_ address: IPAddress) -> Bool {
    self[address.isIPv6].contains(address.number)
  }

  public func containsAll(of prefix: IPPrefix) -> Bool {
    self[prefix.isIPv6].containsAll(of: prefix.range)
  }

  /// Whether any address of `prefix` is in the set.
  public func intersects(_ prefix: IPPrefix) -> Bool {
    self[prefix.isIPv6].intersects(prefix.range)
  }

  /// The fewest prefixes that make it up, IPv4 first, ascending.
  public var prefixes: [IPPrefix] {
    var prefixes: [IPPrefix] = []
    v4.appendPrefixes(to: &prefixes, isIPv6: false)
    v6.appendPrefixes(to: &prefixes, isIPv6: true)
    return prefixes
  }

  /// The addresses of one family.
  subscript(isIPv6: Bool) -> AddressRanges {
    get { isIPv6 ? v6 : v4 }
    _modify { if isIPv6 { yield &v6 } else { yield &v4 } }
  }
}
