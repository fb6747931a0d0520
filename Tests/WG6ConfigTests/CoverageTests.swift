import Foundation
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Who gets what` {
  /// A thousand sets; every decision against a linear scan over what was written. `WG6_EXHAUSTIVE=1`, for an optimised
  /// build, asks for 10,000 addresses of each set instead of 500.
  @Test func `allowed IPs, decisions and routes are what a slow and obvious judge says`() throws {
    let exhaustive = ProcessInfo.processInfo.environment["WG6_EXHAUSTIVE"] == "1"
    let count = exhaustive ? 10_000 : 500
    let first = UInt64.random(in: 0...UInt64.max)
    var counts = (decisions: 0, holes: 0, inherited: 0)
    for seed in 0..<UInt64(1000) {
      var random = SeededRandom(seed: first &+ seed)
      let oracle = CoverageOracle(using: &random)
      let file = try configuration(oracle.text)
      let coverage = Coverage(file, connected: oracle.connected)
      let device = PlainMatch(
        coverage.allowedIPs.enumerated().flatMap { peer, prefixes in prefixes.map { ($0, peer) } })
      let routes = PlainMatch(coverage.routes().map { ($0, true) })
      for address in oracle.addresses(count, using: &random) {
        let expected = oracle.peer(for: address)
        let decision = coverage.decision(for: address)
        counts.decisions += 1
        if expected == nil, !decision.exclusions.isEmpty { counts.holes += 1 }
        if expected != nil, !decision.exclusions.isEmpty { counts.inherited += 1 }
        guard decision.peer == expected, device.value(for: address) == expected,
          coverage.covered.contains(address) == (expected != nil),
          (routes.value(for: address) ?? false) == oracle.isRouted(address)
        else {
          Issue.record("seed \(random.seed): \(address), expected \(expected as Any), got \(decision)\n\(oracle.text)")
          return
        }
      }
      check(coverage, file, oracle, random.seed)
    }
    print(
      "coverage: \(counts.decisions) decisions, \(counts.holes) excluded, \(counts.inherited) inherited, seed \(first)")
    #expect(counts.holes > counts.decisions / 100 && counts.inherited > counts.decisions / 1000)
  }

  /// What holds of every coverage besides.
  private func check(_ coverage: Coverage, _ file: ConfigurationFile, _ oracle: CoverageOracle, _ seed: UInt64) {
    for pieces in coverage.pieces.values { #expect(isMinimal(pieces), "seed \(seed): \(pieces)") }
    for isIPv6 in [false, true] {
      #expect(coverage.hasDefaultRoute(isIPv6: isIPv6) == oracle.hasDefaultRoute(isIPv6: isIPv6), "seed \(seed)")
      #expect(isMinimal(coverage.defaultRoutes(isIPv6: isIPv6)), "seed \(seed)")
    }
    let routes = coverage.routes()
    #expect(Set(routes).count == routes.count, "seed \(seed)")
    #expect(routes.map(\.length) == routes.map(\.length).sorted(by: >), "seed \(seed)")
    // A prefix that nothing is cut out of is there as it is written.
    for (place, peer) in file.peers.enumerated() {
      for case .add(let prefix) in peer.allowedIPs {
        let owner = oracle.peers.lastIndex { $0.allowed.contains(prefix) }
        let excluded = (oracle.peers[place].excluded + oracle.interface.excluded + oracle.connected)
          .contains { $0.contains(prefix.address) || prefix.contains($0.address) }
        if owner == place, !excluded {
          #expect(coverage.allowedIPs[place].contains(prefix), "seed \(seed): \(prefix)")
        }
      }
    }
    #expect(
      coverage.assignments.map(\.prefix).sorted(by: isBefore) == coverage.allowedIPs.joined().sorted(by: isBefore))
  }

  private func isBefore(_ left: IPPrefix, _ right: IPPrefix) -> Bool {
    (left.isIPv6 ? 1 : 0, left.address.number, left.length) < (right.isIPv6 ? 1 : 0, right.address.number, right.length)
  }

  @Test func `what is cut out goes to the next shorter prefix of somebody else`() throws {
    let coverage = try coverage(
      """
      [Interface]
      ExcludedIPs = 10.9.0.0/16
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 10.0.0.0/8
      [Peer]
      PublicKey = \(Self.other)
      AllowedIPs = 10.1.0.0/16, 10.1.2.0/24
      ExcludedIPs = 10.1.2.0/23
      """)
    #expect(decision(coverage, "10.1.0.1") == "1 10.1.0.0/16 8 []")
    #expect(decision(coverage, "10.1.2.1") == "0 10.0.0.0/8 5 [1 10.1.2.0/23 9]")
    #expect(decision(coverage, "10.9.0.1") == "nil [nil 10.9.0.0/16 2]")
    #expect(decision(coverage, "11.0.0.1") == "nil []")
    // The second peer's /24 is gone, its /16 goes round the hole; the first one's /8 goes round the other.
    #expect(coverage.allowedIPs[1].map(\.length).sorted() == [17, 18, 19, 20, 21, 22, 23])
    #expect(coverage.allowedIPs[0].map(\.length).sorted() == [9, 10, 11, 12, 13, 14, 15, 16])
    // For the routes the second peer's hole is none.
    #expect(
      coverage.routes().filter { $0.description.hasPrefix("10.1.") }.map(\.description) == [
        "10.1.2.0/24", "10.1.0.0/16",
      ])
  }

  @Test func `without exclusions everything is as it is written, but for what is taken over`() throws {
    let text = """
      [Interface]
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 10.2.0.0/16, 0.0.0.0/0, fd00::/8, 10.2.0.0/16
      [Peer]
      PublicKey = \(Self.other)
      AllowedIPs = 10.2.0.0/16
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 0.0.0.0/0, ::/0
      """
    let coverage = try coverage(text)
    #expect(coverage.allowedIPs.map { $0.map(\.description) } == [[], ["10.2.0.0/16"], ["0.0.0.0/0", "::/0"]])
    #expect(coverage.routes().map(\.description) == ["10.2.0.0/16", "0.0.0.0/0", "::/0"])
    #expect(coverage.excluded.isEmpty)
    let update = try configuration(text).update(replacing: true, endpoints: [:], coverage: coverage)
    #expect(update.peers.map(\.replacesAllowedIPs) == [true, true, true])
    #expect(update.peers[2].allowedIPs == coverage.allowedIPs[2].map { .add($0) })
  }

  @Test func `a default route with a hole is still one, and its pieces are told from the others`() throws {
    let coverage = try coverage(
      """
      [Interface]
      ExcludedIPs = lan, 0.0.0.0/2
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 0.0.0.0/0, 192.168.0.0/16
      """, connected: ["192.168.1.0/24", "fe80::/64", "128.0.0.0/1", "203.0.113.0/24"])
    #expect(coverage.hasDefaultRoute(isIPv6: false) && !coverage.hasDefaultRoute(isIPv6: true))
    #expect(coverage.defaultRoutes(isIPv6: true).isEmpty)
    #expect(coverage.defaultRoutes(isIPv6: false).first?.description == "64.0.0.0/2")
    #expect(coverage.specificRoutes().map(\.length) == [24, 23, 22, 21, 20, 19, 18, 17])
    #expect(decision(coverage, "192.168.1.7") == "nil [nil 192.168.1.0/24 2]")
    #expect(coverage.decision(for: try #require(IPAddress("192.168.1.7"))).exclusions[0].isLAN)
  }

  @Test func `peers and prefixes by the thousand, and a long list of exclusions`() throws {
    func peers(_ count: Int) -> String {
      (0..<count).map { index in
        let key = PublicKey(InlineArray<32, UInt8> { $0 < 2 ? UInt8(truncatingIfNeeded: index >> ($0 * 8)) : 7 })
        return
          "[Peer]\nPublicKey = \(key.base64)\nAllowedIPs = 10.\(index / 250).\(index % 250).0/24, fd00:\(String(index, radix: 16))::/32"
      }.joined(separator: "\n")
    }
    let plain = try configuration("[Interface]\n\(peers(10_000))\n")
    let start = ContinuousClock.now
    let coverage = Coverage(plain, connected: [])
    let duration = ContinuousClock.now - start
    #expect(coverage.routes().count == 20_000)
    let exclusions = (0..<10_000).map { "ExcludedIPs = \($0 / 200 + 20).\($0 % 200).0.0/17\n" }.joined()
    let cut = try configuration("[Interface]\n\(exclusions)\(peers(1000))\nAllowedIPs = 0.0.0.0/0\n")
    let startOfCut = ContinuousClock.now
    let holed = Coverage(cut, connected: [])
    print("coverage: 20,000 prefixes \(duration); 10,000 exclusions \(ContinuousClock.now - startOfCut)")
    #expect(holed.allowedIPs[999].count > 10_000)
    #expect(holed.decision(for: try #require(IPAddress("20.0.0.1"))).peer == nil)
    #expect(holed.decision(for: try #require(IPAddress("20.0.128.1"))).peer == 999)
  }

  private static let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

  private func coverage(_ text: String, connected: [String] = []) throws -> Coverage {
    Coverage(try configuration(text), connected: try connected.map { try #require(IPPrefix($0)) })
  }

  /// A decision in few words: peer, prefix, line, exclusions.
  private func decision(_ coverage: Coverage, _ address: String) -> String {
    let decision = coverage.decision(for: IPAddress(address)!)
    let reasons = decision.exclusions.map { "\($0.peer.map { "\($0)" } ?? "nil") \($0.prefix) \($0.line)" }
    let choice = decision.choice.map { "\($0.peer) \($0.prefix) \($0.line)" } ?? "nil"
    return "\(choice) [\(reasons.joined(separator: ", "))]"
  }
}
