import Testing

@testable import WG6Protocol

@Suite struct `Merging two packets` {
  @Test func `makes one of two that differ in nothing that matters`() {
    for (isIPv6, isTCP) in CraftedPacket.families {
      for second in [50, 49, 1] {
        let groups = merged(CraftedPacket.mergeable(isIPv6, isTCP, payload: 50 + second).split(50).map { $0.bytes() })
        #expect(groups.count == 1 && groups.first?.pieces == 2)
      }
    }
  }

  /// What keeps the second packet from being merged with the first: to which kinds it applies, and what is changed.
  struct Rule: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let kinds: [Bool?]
    let change: @Sendable (inout [CraftedPacket]) -> Void

    /// - Parameters: `isIPv6` and `isTCP` where it matters.
    init(
      _ name: String, isIPv6: Bool? = nil, isTCP: Bool? = nil,
      _ change: @escaping @Sendable (inout [CraftedPacket]) -> Void
    ) {
      testDescription = name
      kinds = [isIPv6, isTCP]
      self.change = change
    }
  }

  static let rules: [Rule] = [
    Rule("another source") { $0[1].source = 9 },
    Rule("another destination") { $0[1].destination = 9 },
    Rule("another source port") { $0[1].sourcePort = 9 },
    Rule("another destination port") { $0[1].destinationPort = 9 },
    Rule("another protocol") { $0[1].isTCP.toggle() },
    Rule("another traffic class") { $0[1].trafficClass = 4 },
    Rule("another ECN mark") { $0[1].trafficClass = 3 },
    Rule("another hop limit") { $0[1].hopLimit -= 1 },
    Rule("another flow label", isIPv6: true) { $0[1].flowLabel = 1 },
    Rule("no DF", isIPv6: false) { $0[1].fragment = 0 },
    Rule("DF on the second only", isIPv6: false) {
      $0[0].fragment = 0; $0[1].fragment = 0x4000
    },
    Rule("the reserved bit", isIPv6: false) { $0[1].fragment = 0xC000 },
    Rule("the first is a fragment", isIPv6: false) { $0[0].fragment = 0x2000 },
    Rule("the second is a fragment", isIPv6: false) { $0[1].fragment = 0x2000 },
    Rule("both are fragments", isIPv6: false) {
      $0[0].fragment = 0x2000; $0[1].fragment = 0x2000
    },
    Rule("both are later fragments", isIPv6: false) {
      $0[0].fragment = 0x0100; $0[1].fragment = 0x0100
    },
    Rule("IPv4 options on both", isIPv6: false) {
      $0[0].networkOptions = [1, 1, 1, 1]; $0[1].networkOptions = [1, 1, 1, 1]
    },
    Rule("an identification left out", isIPv6: false) { $0[1].identification += 1 },
    Rule("an identification that goes back", isIPv6: false) { $0[1].identification -= 2 },
    Rule("the same identification without DF", isIPv6: false) {
      $0[0].fragment = 0
      $0[1].fragment = 0
      $0[1].identification -= 1
    },
    Rule("extension headers on both", isIPv6: true) {
      $0[0].extensions = [(60, [0, 1, 4, 0, 0, 0, 0])]
      $0[1].extensions = [(60, [0, 1, 4, 0, 0, 0, 0])]
    },
    Rule("fragment headers on both", isIPv6: true) {
      $0[0].extensions = [(44, [0, 0, 0, 0, 0, 0, 1])]
      $0[1].extensions = [(44, [0, 0, 0, 0, 0, 0, 1])]
    },
    Rule("nothing in the first") { $0[0].payload = [] },
    Rule("nothing in the second") { $0[1].payload = [] },
    Rule("more in the second") { $0[1].payload.append(1) },
    Rule("a gap", isTCP: true) { $0[1].sequence &+= 1 },
    Rule("an overlap", isTCP: true) { $0[1].sequence &-= 1 },
    Rule("a repetition", isTCP: true) { $0[1].sequence = $0[0].sequence },
    Rule("another acknowledgement", isTCP: true) { $0[1].acknowledgement += 1 },
    Rule("another window", isTCP: true) { $0[1].window += 1 },
    Rule("another timestamp", isTCP: true) { $0[1].options[7] += 1 },
    Rule("fewer options", isTCP: true) { $0[1].options = [] },
    Rule("another urgent pointer", isTCP: true) { $0[1].urgentPointer = 1 },
    Rule("reserved bits", isTCP: true) { $0[1].reserved = 1 },
    Rule("PSH on the first", isTCP: true) { $0[0].flags |= 0x08 },
    Rule("no ACK", isTCP: true) { $0[1].flags = 0 },
    Rule("no ACK on both", isTCP: true) {
      $0[0].flags = 0; $0[1].flags = 0
    },
    Rule("ECE on the second", isTCP: true) { $0[1].flags |= 0x40 },
    Rule("ECE on the first", isTCP: true) { $0[0].flags |= 0x40 },
    Rule("CWR on the second", isTCP: true) { $0[1].flags |= 0x80 },
    Rule("CWR on both", isTCP: true) {
      $0[0].flags |= 0x80; $0[1].flags |= 0x80
    },
    Rule("FIN on the first", isTCP: true) { $0[0].flags |= 1 },
    Rule("FIN on the second", isTCP: true) { $0[1].flags |= 1 },
    Rule("FIN on both", isTCP: true) {
      $0[0].flags |= 1; $0[1].flags |= 1
    },
    Rule("SYN on the first", isTCP: true) { $0[0].flags |= 2 },
    Rule("SYN on both", isTCP: true) {
      $0[0].flags |= 2; $0[1].flags |= 2
    },
    Rule("RST on the second", isTCP: true) { $0[1].flags |= 4 },
    Rule("RST on both", isTCP: true) {
      $0[0].flags |= 4; $0[1].flags |= 4
    },
    Rule("URG on the second", isTCP: true) { $0[1].flags |= 0x20 },
    Rule("URG on both", isTCP: true) {
      $0[0].flags |= 0x20; $0[1].flags |= 0x20
    },
  ]

  @Test(arguments: rules) func `leaves apart`(rule: Rule) {
    for (isIPv6, isTCP) in CraftedPacket.families
    where rule.kinds[0] ?? isIPv6 == isIPv6 && rule.kinds[1] ?? isTCP == isTCP {
      let pair = CraftedPacket.mergeable(isIPv6, isTCP, payload: 100).split(50)
      #expect(merged(pair.map { $0.bytes() }).count == 1)
      var changed = pair
      rule.change(&changed)
      let packets = changed.map { $0.bytes() }
      let groups = merged(packets)
      #expect(groups.map { $0.packet } == packets, "untouched")
      #expect(groups.allSatisfy { $0.header == VirtioFields().bytes }, "nothing left to do")
    }
  }
}
