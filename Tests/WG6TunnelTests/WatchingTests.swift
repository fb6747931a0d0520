import Testing
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `What is restored, and what default routes leave out` {
  @Test func `it is restored at once a few times, then once a second at the slowest, and after a rest at once again`() {
    var pace = Pace()
    var now: UInt64 = 5_000_000_000
    var waits: [UInt64] = [], slowed = 0
    for _ in 0..<17 {
      let wait = pace.earliest > now ? pace.earliest - now : 0
      waits.append(wait / 1_000_000)
      now += wait
      if pace.restored(at: now) { slowed += 1 }
    }
    #expect(waits == Array(repeating: 0, count: 10) + [125, 250, 500, 1000, 1000, 1000, 1000])
    #expect(slowed == 1)
    now += 10_000_000_001
    #expect(pace.earliest < now && !pace.restored(at: now) && pace.earliest == now)
  }

  @Test func `local networks are followed once for each change, when they have settled`() {
    let home: Set = [prefix("192.168.1.0/24")], office: Set = [prefix("10.0.0.0/8")]
    var following = NetworkFollowing()
    func isDue(_ before: Set<IPPrefix>, _ now: Set<IPPrefix>, at time: UInt64) -> Bool {
      following.isDue((before, now), at: time)
    }
    let half = NetworkFollowing.settling / 2
    var now: UInt64 = 1_000_000_000
    #expect(!isDue(home, home, at: now) && following.due == nil)
    // Between two addresses there is none.
    #expect(!isDue(home, [], at: now))
    now += half
    #expect(!isDue(home, office, at: now) && following.due == now + 2 * half)
    now += half
    #expect(!isDue(home, office, at: now))
    now += half
    #expect(isDue(home, office, at: now))
    // Neither while it is done nor when it failed.
    for _ in 0..<3 {
      now += 3 * half
      #expect(!isDue(home, office, at: now) && following.due == nil)
    }
    #expect(!isDue(home, [], at: now))
    #expect(isDue(home, [], at: now + 2 * half))
    // When it is done, the next change counts, back again too.
    #expect(!isDue([], [], at: now) && !isDue([], office, at: now))
    // And not all the time.
    #expect(!isDue([], office, at: now + 2 * half))
    #expect(isDue([], office, at: now + 2 * half + NetworkFollowing.interval))
  }

  @Test func `what was restored is told with how often and when, and read as it was written`() throws {
    var noted = Restorations()
    #expect(noted.findings(now: 0).isEmpty)
    try withDirectory { directory in
      for count in 1...3 {
        noted.restored("the firewall table", at: 1000)
        noted.write("wg0", in: directory)
        #expect(Restorations.read("wg0", in: directory) == noted && noted.count == count)
      }
      noted.failure = "firewall: no\nreason"
      noted.write("wg0", in: directory)
      #expect(Restorations.read("wg0", in: directory)?.failure == "firewall: no reason")
      Restorations.remove("wg0", in: directory)
      #expect(Restorations.read("wg0", in: directory) == nil)
    }
    for (now, age) in [
      (1001, "1 second"), (999, "0 seconds"), (1119, "1 minute"), (8200, "2 hours"), (200_000, "2 days"),
    ] {
      let lines = noted.findings(now: now)
      #expect(lines.count == 2 && lines[0].contains("3 times since 'up', \(age) ago: the firewall table"), "\(lines)")
    }
  }

  private static func tunnel(_ mark: UInt32, _ priorities: (v4: UInt32?, v6: UInt32?)) -> [Journal.Entry] {
    [(false, priorities.v4), (true, priorities.v6)].reduce(into: [.exempt(mark)]) { entries, rule in
      guard let priority = rule.1 else { return }
      entries.append(
        .rule(PolicyRule(isIPv6: rule.0, mark: mark, isInverted: true, table: mark, priority: priority)))
      entries.append(
        .rule(PolicyRule(isIPv6: rule.0, table: 254, suppressedPrefixLength: 0, priority: priority - 1)))
    }
  }

  @Test func `each default route leaves out the marks of all other tunnels that have one, in every family`() {
    #expect(SharedRules.exemptions([]).isEmpty)
    #expect(SharedRules.exemptions([Self.tunnel(1, (90, 80)), [.mark(9), .daemon]]).isEmpty)
    // All of IPv4 over IPv6, and all of IPv6 over IPv4.
    let (four, six) = (Self.tunnel(4, (90, nil)), Self.tunnel(6, (nil, 80)))
    let expected: Set = [
      RuleExemption(isIPv6: false, mark: 6, passed: 90), RuleExemption(isIPv6: false, mark: nil, passed: 90),
      RuleExemption(isIPv6: true, mark: 4, passed: 80), RuleExemption(isIPv6: true, mark: nil, passed: 80),
    ]
    #expect(SharedRules.exemptions([four, six]) == expected)
    #expect(SharedRules.exemptions([six, four]) == expected)
    let three = SharedRules.exemptions([Self.tunnel(1, (90, 90)), Self.tunnel(2, (80, 80)), Self.tunnel(3, (70, 70))])
    #expect(three.count == 2 * (3 * 2 + 3))
    // The same mark twice needs none.
    #expect(SharedRules.exemptions([Self.tunnel(1, (90, 90)), Self.tunnel(1, (80, 80))]).isEmpty)
  }

  @Test func `other tunnels come and go without a change to what a table is known by`() {
    let alone = FirewallRules(
      interface: "wg0", mark: 1, killSwitch: KillSwitchRules(covered: [prefix("0.0.0.0/0")]))
    var together = alone
    together.others = [OtherTunnel(interface: "wg1", mark: 0xCA6D)]
    #expect(alone.digest == together.digest && alone.script != together.script)
    #expect(together.script.contains("oifname { \"lo\", \"wg0\", \"wg1\" } accept"))
    #expect(together.script.contains("meta l4proto udp meta mark 51821 accept"))
    #expect(FirewallRules.listed(0xCA6D) == "meta mark 0x0000ca6d accept")
  }
}
