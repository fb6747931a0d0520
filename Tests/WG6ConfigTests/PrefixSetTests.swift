import Testing
import WG6Protocol

@testable import WG6Config

@Suite struct `Sets of prefixes` {
  @Test func `a hole is left by the fewest prefixes`() throws {
    var set = PrefixSet([.all(isIPv6: false)])
    set.subtract(try #require(IPPrefix("192.168.0.0/16")))
    #expect(
      set.prefixes.map(\.description) == [
        "0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/9", "192.128.0.0/11", "192.160.0.0/13", "192.169.0.0/16",
        "192.170.0.0/15", "192.172.0.0/14", "192.176.0.0/12", "192.192.0.0/10", "193.0.0.0/8", "194.0.0.0/7",
        "196.0.0.0/6", "200.0.0.0/5", "208.0.0.0/4", "224.0.0.0/3",
      ])
    set.insert(try #require(IPPrefix("192.168.0.0/16")))
    #expect(set.prefixes.map(\.description) == ["0.0.0.0/0"])
    set.subtract(.all(isIPv6: false))
    #expect(set.isEmpty && set == PrefixSet())
  }

  @Test func `the ends of both families are nothing special`() throws {
    for text in ["255.255.255.255/32", "0.0.0.0/32", "::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "::/0"] {
      let prefix = try #require(IPPrefix(text))
      var set = PrefixSet([prefix])
      #expect(set.prefixes == [prefix])
      #expect(set.contains(prefix.address) && set.containsAll(of: prefix) && set.intersects(prefix))
      var rest = PrefixSet([.all(isIPv6: prefix.isIPv6)])
      rest.subtract(set)
      #expect(rest.prefixes.count == prefix.length)
      rest.formUnion(set)
      #expect(rest.prefixes == [.all(isIPv6: prefix.isIPv6)])
      set.subtract(prefix)
      #expect(set.isEmpty)
    }
  }

  /// In a universe of 256 addresses, the last bits of a family, against a set of numbers.
  @Test(arguments: [false, true]) func `every operation does what it does to a set of addresses`(isIPv6: Bool) {
    var random = SeededRandom()
    let base = isIPv6 ? IPAddress.v6(high: ~0, low: ~0 << 8) : .v4(~0 << 8)
    let width = base.bitWidth
    func address(_ number: UInt8) -> IPAddress { IPAddress(number: base.number | UInt128(number), isIPv6: isIPv6) }
    func prefix() -> (IPPrefix, Set<UInt8>) {
      let prefix = IPPrefix(
        address(UInt8.random(in: 0...255, using: &random)),
        length: Int.random(in: width - 8...width, using: &random))
      return (prefix, Set((0...255).filter { prefix.contains(address($0)) }))
    }
    func many() -> (PrefixSet, Set<UInt8>) {
      let parts = (0..<Int.random(in: 0...6, using: &random)).map { _ in prefix() }
      return (PrefixSet(parts.map(\.0)), parts.reduce(into: []) { $0.formUnion($1.1) })
    }
    for _ in 0..<400 {
      var (set, oracle) = many()
      for _ in 0..<4 {
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
          let (prefix, numbers) = prefix()
          set.insert(prefix)
          oracle.formUnion(numbers)
        case 1:
          let (prefix, numbers) = prefix()
          set.subtract(prefix)
          oracle.subtract(numbers)
        case 2:
          let (other, numbers) = many()
          set.formUnion(other)
          oracle.formUnion(numbers)
        default:
          let (other, numbers) = many()
          set.subtract(other)
          oracle.subtract(numbers)
        }
        let found = Set((0...255).filter { set.contains(address($0)) })
        let prefixes = set.prefixes
        guard found == oracle, set == PrefixSet(prefixes), isMinimal(prefixes) else {
          Issue.record("seed \(random.seed): \(prefixes) for \(oracle.sorted())")
          return
        }
        let (probe, numbers) = prefix()
        #expect(set.containsAll(of: probe) == numbers.isSubset(of: oracle), "seed \(random.seed)")
        #expect(set.intersects(probe) == !numbers.isDisjoint(with: oracle), "seed \(random.seed)")
      }
    }
  }
}

/// Whether no two of `prefixes` are halves of one, and none is inside another.
func isMinimal(_ prefixes: [IPPrefix]) -> Bool {
  let all = Set(prefixes)
  guard all.count == prefixes.count else { return false }
  return prefixes.allSatisfy { prefix in
    guard prefix.length > 0 else { return prefixes.count { $0.isIPv6 == prefix.isIPv6 } == 1 }
    let parent = IPPrefix(prefix.address, length: prefix.length - 1)
    let lower = IPPrefix(parent.address, length: prefix.length)
    let bit = UInt128(1) << UInt128(prefix.address.bitWidth - prefix.length)
    let sibling =
      prefix == lower ? IPAddress(number: prefix.address.number | bit, isIPv6: prefix.isIPv6) : lower.address
    guard !all.contains(IPPrefix(sibling, length: prefix.length)) else { return false }
    return (0..<prefix.length).allSatisfy { !all.contains(IPPrefix(prefix.address, length: $0)) }
  }
}
