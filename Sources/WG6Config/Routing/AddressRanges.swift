import WG6Protocol

/// Addresses of one family, both ends included, as numbers.
struct AddressRange: Hashable, Sendable {
  var first: UInt128
  var last: UInt128

  func contains(_ number: UInt128) -> Bool { first <= number && number <= last }
}

/// A set of addresses of one family: sorted ranges that neither overlap nor touch, so that equal sets are equal values.
struct AddressRanges: Hashable, Sendable {
  private(set) var ranges: [AddressRange] = []

  init() {}

  /// All addresses of `ranges`, in any order, overlapping or not.
  init(_ ranges: [AddressRange]) {
    self.ranges.reserveCapacity(ranges.count)
    for range in ranges.sorted(by: { $0.first < $1.first }) { append(range) }
  }

  var isEmpty: Bool { ranges.isEmpty }

  func contains(_ number: UInt128) -> Bool {
    let index = firstRange { $0.last >= number }
    return index < ranges.count && ranges[index].first <= number
  }

  func intersects(_ range: AddressRange) -> Bool {
    let index = firstRange { $0.last >= range.first }
    return index < ranges.count && ranges[index].first <= range.last
  }

  func containsAll(of range: AddressRange) -> Bool {
    let index = firstRange { $0.last >= range.first }
    return index < ranges.count && ranges[index].first <= range.first && range.last <= ranges[index].last
  }

  /// What of the set lies in `range`.
  func intersection(_ range: AddressRange) -> AddressRanges {
    var result = AddressRanges()
    var index = firstRange { $0.last >= range.first }
    while index < ranges.count, ranges[index].first <= range.last {
      result.ranges.append(
        AddressRange(first: max(ranges[index].first, range.first), last: min(ranges[index].last, range.last)))
      index += 1
    }
    return result
  }

  mutating func insert(_ range: AddressRange) {
    // Those that overlap `range` or touch it become one with it.
    let from = firstRange { $0.last >= (range.first == 0 ? 0 : range.first - 1) }
    let to = firstRange { range.last != .max && $0.first > range.last + 1 }
    var union = range
    if from < to {
      union.first = min(union.first, ranges[from].first)
      union.last = max(union.last, ranges[to - 1].last)
    }
    ranges.replaceSubrange(from..<to, with: CollectionOfOne(union))
  }

  mutating func formUnion(_ other: AddressRanges) {
    if !other.isEmpty { self = AddressRanges(ranges + other.ranges) }
  }

  mutating func subtract(_ range: AddressRange) {
    let from = firstRange { $0.last >= range.first }
    let to = firstRange { $0.first > range.last }
    guard from < to else { return }
    var rest: [AddressRange] = []
    if ranges[from].first < range.first {
      rest.append(AddressRange(first: ranges[from].first, last: range.first - 1))
    }
    if ranges[to - 1].last > range.last {
      rest.append(AddressRange(first: range.last + 1, last: ranges[to - 1].last))
    }
    ranges.replaceSubrange(from..<to, with: rest)
  }

  /// Linear in both.
  mutating func subtract(_ other: AddressRanges) {
    guard !isEmpty, !other.isEmpty else { return }
    var rest = AddressRanges()
    var index = 0
    for range in ranges {
      var first = range.first
      var isSpent = false
      while index < other.ranges.count, other.ranges[index].last < first { index += 1 }
      while index < other.ranges.count, other.ranges[index].first <= range.last {
        let cut = other.ranges[index]
        if cut.first > first { rest.ranges.append(AddressRange(first: first, last: cut.first - 1)) }
        isSpent = cut.last >= range.last
        // What reaches past this range may cut the next one too.
        if isSpent { break }
        first = cut.last + 1
        index += 1
      }
      if !isSpent { rest.ranges.append(AddressRange(first: first, last: range.last)) }
    }
    self = rest
  }

  /// Adds a range that begins no earlier than any that is there.
  mutating func append(_ range: AddressRange) {
    if let end = ranges.last?.last, end == .max || range.first <= end + 1 {
      ranges[ranges.count - 1].last = max(end, range.last)
    } else {
      ranges.append(range)
    }
  }

  /// Appends the fewest prefixes that make up the set, ascending.
  func appendPrefixes(to prefixes: inout [IPPrefix], isIPv6: Bool) {
    let width = isIPv6 ? 128 : 32
    for range in ranges {
      var first = range.first
      while true {
        // The largest block that can begin here and ends in the range.
        let room = range.last - first
        let fitting = room == .max ? 128 : 127 - (room + 1).leadingZeroBitCount
        let hostBits = min(fitting, first.trailingZeroBitCount, width)
        prefixes.append(IPPrefix(IPAddress(number: first, isIPv6: isIPv6), length: width - hostBits))
        let last = first + (hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1)
        if last == range.last { break }
        first = last + 1
      }
    }
  }

  /// The place of the first range that `condition` holds for, as it does for all behind it.
  private func firstRange(where condition: (AddressRange) -> Bool) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if condition(ranges[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension IPAddress {
  /// The address as a number of its family's width.
  var number: UInt128 {
    switch self {
    case .v4(let address): UInt128(address)
    case .v6(let high, let low): UInt128(high) << 64 | UInt128(low)
    }
  }

  init(number: UInt128, isIPv6: Bool) {
    self =
      isIPv6
      ? .v6(high: UInt64(truncatingIfNeeded: number >> 64), low: UInt64(truncatingIfNeeded: number))
      : .v4(UInt32(truncatingIfNeeded: number))
  }
}

extension IPPrefix {
  var isIPv6: Bool { address.isIPv6 }

  var range: AddressRange {
    let first = address.number
    let hostBits = address.bitWidth - length
    return AddressRange(first: first, last: first + (hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1))
  }

  /// All of a family.
  static func all(isIPv6: Bool) -> IPPrefix {
    IPPrefix(IPAddress(number: 0, isIPv6: isIPv6), length: 0)
  }

  /// One address.
  init(_ address: IPAddress) {
    self.init(address, length: address.bitWidth)
  }
}
