import Testing

@testable import WG6Tunnel

@Suite struct `The reverse path filter` {
  @Test(
    arguments: [
      ([("all", 0), ("default", 1), ("lo", 1), ("eth0", 0)], nil), ([("all", 0), ("eth0", 0), ("eth1", 1)], "eth1"),
      ([("eth0", 0), ("all", 1)], "eth0"), ([("all", 1), ("eth0", 2)], nil), ([("all", 2), ("eth0", 1)], nil),
      ([("all", 1), ("lo", 0)], nil), ([], nil),
    ] as [([(String, Int)], String?)])
  func `is strict where the larger of two settings is 1`(settings: [(String, Int)], expected: String?) {
    #expect(ReversePathFilter.strict(settings.map { (interface: $0.0, value: $0.1) }) == expected)
  }
}
