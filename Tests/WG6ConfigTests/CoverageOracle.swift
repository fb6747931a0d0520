import WG6Crypto
import WG6Protocol

@testable import WG6Config

/// A random file with prefixes and exclusions that get in each other's way, and a slow and obvious judge of it.
struct CoverageOracle {
  struct Part {
    var allowed: [IPPrefix] = []
    var excluded: [IPPrefix] = []
    var excludesLAN = false
  }

  var interface = Part()
  var peers: [Part] = []
  let connected: [IPPrefix]
  let endpoints: [IPAddress]
  /// Prefixes, and who has each in the end.
  private let owners: [(prefix: IPPrefix, peer: Int)]

  init(using random: inout SeededRandom) {
    // Few addresses, so that prefixes meet.
    var roots: [IPAddress] = []
    for _ in 0..<3 { roots.append(random.nearbyAddress()) }
    func prefixes(_ most: Int, longest: Int = 128) -> [IPPrefix] {
      (0..<Int.random(in: 0...most, using: &random)).map { _ in
        let address = Bool.random(using: &random) ? roots.randomElement(using: &random)! : random.nearbyAddress()
        let width = address.bitWidth
        let length =
          Int.random(in: 0..<12, using: &random) == 0
          ? Int.random(in: 0...8, using: &random)
          : width - Int.random(in: 0...min(width, 24), using: &random)
        return IPPrefix(address, length: min(length, longest))
      }
    }
    connected = prefixes(2)
    endpoints = (0..<Int.random(in: 0...2, using: &random)).map { _ in random.nearbyAddress() }
    for _ in 0..<Int.random(in: 1...5, using: &random) {
      var peer = Part()
      peer.allowed = prefixes(5)
      if Bool.random(using: &random) { peer.excluded = prefixes(4) }
      peer.excludesLAN = Int.random(in: 0..<6, using: &random) == 0
      peers.append(peer)
    }
    if Bool.random(using: &random) { interface.excluded = prefixes(3) }
    interface.excludesLAN = Int.random(in: 0..<8, using: &random) == 0
    var last: [IPPrefix: Int] = [:]
    for (index, peer) in peers.enumerated() {
      for prefix in peer.allowed { last[prefix] = index }
    }
    owners = last.map { ($0.key, $0.value) }
  }

  /// Every peer's key is made of its place.
  var text: String {
    func lines(_ part: Part) -> [String] {
      let excluded = part.excluded.map(\.description) + (part.excludesLAN ? ["lan"] : [])
      return (part.allowed.isEmpty ? [] : ["AllowedIPs = \(part.allowed.map(\.description).joined(separator: ", "))"])
        + excluded.map { "ExcludedIPs = \($0)" }
    }
    var text = ["[Interface]"] + lines(interface)
    for (index, peer) in peers.enumerated() {
      let key = PublicKey(InlineArray<32, UInt8>(repeating: UInt8(index + 1)))
      text += ["[Peer]", "PublicKey = \(key.base64)"] + lines(peer)
    }
    return text.joined(separator: "\n")
  }

  func excludes(_ part: Part, _ address: IPAddress) -> Bool {
    part.excluded.contains { $0.contains(address) }
      || part.excludesLAN && connected.contains { CoverageOracle.isLocal($0) && $0.contains(address) }
  }

  /// Whether a network's first and last address, and so all, are in one local range.
  private static func isLocal(_ network: IPPrefix) -> Bool {
    let ranges = [
      "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10",
    ]
    return ranges.contains { text in
      guard let range = IPPrefix(text), range.contains(network.address) else { return false }
      return range.length <= network.length
    }
  }

  /// Who gets `address`: of all that have it and don't exclude it, the one with the longest prefix.
  func peer(for address: IPAddress) -> Int? {
    var best: (length: Int, peer: Int)?
    for (prefix, peer) in owners where prefix.length > best?.length ?? -1 && prefix.contains(address) {
      if !excludes(peers[peer], address) { best = (prefix.length, peer) }
    }
    return best == nil || excludes(interface, address) ? nil : best?.peer
  }

  func hasDefaultRoute(isIPv6: Bool) -> Bool {
    owners.contains { $0.prefix == .all(isIPv6: isIPv6) }
  }

  /// Whether `address` should be led into the tunnel, an endpoint's or not.
  func isRouted(_ address: IPAddress) -> Bool { peer(for: address) != nil }

  /// Addresses where something may go wrong: mostly the ends of prefixes, and their neighbours.
  func addresses(_ count: Int, using random: inout SeededRandom) -> [IPAddress] {
    let prefixes =
      owners.map(\.prefix) + peers.flatMap(\.excluded) + interface.excluded + connected + endpoints.map { IPPrefix($0) }
    return (0..<count).map { _ in
      guard let prefix = prefixes.randomElement(using: &random), Int.random(in: 0..<8, using: &random) > 0 else {
        return random.nearbyAddress()
      }
      let range = prefix.range
      let offset = UInt128(random.next() & 3)
      let mask: UInt128 = prefix.isIPv6 ? .max : UInt128(UInt32.max)
      let number =
        switch random.next() & 3 {
        case 0: range.first &+ offset
        case 1: range.first &- offset
        case 2: range.last &+ offset
        default: range.last &- offset
        }
      return IPAddress(number: number & mask, isIPv6: prefix.isIPv6)
    }
  }
}

/// Prefixes by length, the longest first: the plainest longest-prefix match.
struct PlainMatch<Value> {
  private let rows: [(range: AddressRange, isIPv6: Bool, value: Value)]

  init(_ prefixes: [(IPPrefix, Value)]) {
    rows = prefixes.sorted { $0.0.length > $1.0.length }.map { ($0.0.range, $0.0.isIPv6, $0.1) }
  }

  func value(for address: IPAddress) -> Value? {
    let (number, isIPv6) = (address.number, address.isIPv6)
    for row in rows where row.isIPv6 == isIPv6 && row.range.first <= number && number <= row.range.last {
      return row.value
    }
    return nil
  }
}

extension SeededRandom {
  /// In 10.0.0.0/8 or fd00::/8, with most of the lower bits alike.
  mutating func nearbyAddress() -> IPAddress {
    let bits = next() & next() & 0xFF_FFFF
    return Bool.random(using: &self)
      ? .v4(0x0A00_0000 | UInt32(bits)) : .v6(high: 0xFD00 << 48, low: bits)
  }
}
