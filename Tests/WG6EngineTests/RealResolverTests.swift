import Foundation
import Testing

@testable import WG6Linux

/// The resolver that really runs where the tests do; `scripts/test-resolvers` makes such places, one for each.
@Suite(
  "The resolver that runs here", .serialized,
  .enabled(if: RealResolver.expected != nil, "SKIPPED: changes name servers; scripts/test-resolvers runs it apart"))
struct RealResolverTests {
  private let request = ResolverRequest(servers: ["10.66.0.1", "fd66::1"], searchDomains: ["corp.example"])

  @Test func `is found, told, told otherwise, and told to forget`() throws {
    let service = try #require(ResolverService.find())
    #expect(service.rawValue == RealResolver.expected)
    let before = try RealResolver.state(of: service)
    try service.apply(request, to: "wg0")
    let told = try RealResolver.state(of: service)
    for word in request.servers + request.searchDomains { #expect(told.contains(word), "\(told)") }
    if service == .resolved { #expect(told.contains("~.")) }

    var other = ResolverRequest(servers: ["10.66.0.53"], searchDomains: ["lab.example"])
    if service.keepsRoutingDomains { other.routingDomains = ["example.org"] }
    try service.apply(other, to: "wg0")
    let toldOtherwise = try RealResolver.state(of: service)
    #expect(toldOtherwise.contains("10.66.0.53") && toldOtherwise.contains("lab.example"), "\(toldOtherwise)")
    #expect(!toldOtherwise.contains("10.66.0.1\n") && !toldOtherwise.contains("fd66::1"), "\(toldOtherwise)")
    if service.keepsRoutingDomains { #expect(toldOtherwise.contains("~example.org") && !toldOtherwise.contains("~.")) }

    try service.revert("wg0")
    try service.revert("wg0")
    #expect(try RealResolver.state(of: service) == before)
  }

  /// resolvconf takes anything.
  @Test(.enabled(if: RealResolver.expected == "resolved"))
  func `refuses what is no address, and is then as before`() throws {
    let service = try #require(ResolverService.find())
    let before = try RealResolver.state(of: service)
    #expect(throws: ResolverError.self) {
      try service.apply(ResolverRequest(servers: ["nonsense"], searchDomains: ["corp.example"]), to: "wg0")
    }
    #expect(try RealResolver.state(of: service) == before)
    try service.revert("never-there")
  }
}

enum RealResolver {
  /// Which one the surroundings promise.
  static let expected = ProcessInfo.processInfo.environment["WG6_RESOLVER"]

  /// What it says of name servers, as text.
  static func state(of service: ResolverService) throws -> String {
    switch service {
    case .resolved:
      let words = ["dns", "domain", "default-route"]
      return try words.map { try said(by: "resolvectl", [$0, "wg0"]) }.joined()
    case .resolvconf: return try String(contentsOfFile: "/etc/resolv.conf", encoding: .utf8)
    }
  }

  private static func said(by name: String, _ arguments: [String]) throws -> String {
    let (ending, output) = try Program.run(try #require(Program.locate(name)), arguments)
    #expect(ending == .exited(0), "\(output)")
    // One word a line, so that an address is not taken for the beginning of another.
    return output.replacing(" ", with: "\n")
  }
}
