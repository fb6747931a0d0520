import Foundation

/// An address prefix, for scenarios that have to know better than the program that they test. Plain and slow.
struct Prefix: Hashable, Comparable, CustomStringConvertible {
  let isIPv6: Bool
  /// Host bits are zero, and what is beyond the address too.
  let bits: UInt128
  let length: Int

  var width: Int { isIPv6 ? 128 : 32 }

  init(isIPv6: Bool, bits: UInt128, length: Int) {
    self.isIPv6 = isIPv6
    self.length = length
    let width = isIPv6 ? 128 : 32
    let address = UInt128.max >> UInt128(128 - width)
    self.bits = bits & address & ~(address >> UInt128(length))
  }

  /// `nil` for what is no prefix and no address. A missing length is the whole address's, and `default` is `ip`'s word.
  init?(_ text: some StringProtocol, isIPv6 family: Bool = false) {
    if text == "default" {
      self.init(isIPv6: family, bits: 0, length: 0)
      return
    }
    let parts = String(text).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard (1...2).contains(parts.count) else { return nil }
    let isIPv6 = parts[0].contains(":")
    var bytes = [UInt8](repeating: 0, count: isIPv6 ? 16 : 4)
    guard inet_pton(isIPv6 ? AF_INET6 : AF_INET, parts[0], &bytes) == 1 else { return nil }
    let length = parts.count == 2 ? Int(parts[1]) : bytes.count * 8
    guard let length, (0...bytes.count * 8).contains(length) else { return nil }
    self.init(isIPv6: isIPv6, bits: bytes.reduce(0) { $0 << 8 | UInt128($1) }, length: length)
  }

  func contains(_ other: Prefix) -> Bool {
    isIPv6 == other.isIPv6 && length <= other.length
      && Prefix(isIPv6: isIPv6, bits: other.bits, length: length).bits == bits
  }

  /// The fewest prefixes that make up what is left of it when `holes` are taken out.
  func without(_ holes: [Prefix]) -> [Prefix] {
    if holes.contains(where: { $0.contains(self) }) { return [] }
    let inside = holes.filter { contains($0) }
    guard !inside.isEmpty else { return [self] }
    let upper = bits | UInt128(1) << UInt128(width - length - 1)
    return [bits, upper].flatMap { Prefix(isIPv6: isIPv6, bits: $0, length: length + 1).without(inside) }
  }

  /// The first address, as `inet_ntop` writes it.
  var address: String {
    let count = width / 8
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: bits >> UInt128(8 * (count - 1 - $0))) }
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    _ = bytes.withUnsafeBytes {
      inet_ntop(isIPv6 ? AF_INET6 : AF_INET, $0.baseAddress, &text, socklen_t(INET6_ADDRSTRLEN))
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  var description: String { "\(address)/\(length)" }

  static func < (left: Prefix, right: Prefix) -> Bool {
    (left.isIPv6 ? 1 : 0, left.bits, left.length) < (right.isIPv6 ? 1 : 0, right.bits, right.length)
  }
}
