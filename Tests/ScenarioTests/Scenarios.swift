import Foundation
import Testing
import WG6Harness

/// The scenarios of the harness, one after the other: each has the machine's network to itself.
@Suite("On real networks", .serialized)
struct Scenarios {
  @Test("A laptop with IPv4 only reaches an IPv6 host through the tunnel, and its IPv4 stays outside", .needs("demo"))
  func demo() throws { try play("demo") }

  @Test(
    "The daemon starts as wireguard-go does, says so when it is ready, and is quick about it", .needs("daemon-starts"))
  func daemonStarts() throws { try play("daemon-starts") }

  @Test(
    "SIGTERM, a deleted interface and kill -9 leave nothing that the next start does not clear", .needs("daemon-ends"))
  func daemonEnds() throws { try play("daemon-ends") }

  @Test(
    "Up and down leave the machine as it was, also around a killed daemon and a deleted interface", .needs("up-down"))
  func upDown() throws { try play("up-down") }

  @Test("An interface that was moved or renamed works on, and down ends it within a second", .needs("moved"))
  func moved() throws { try play("moved") }

  @Test("Traffic follows a peer to ten new addresses and ports within a round trip", .needs("roaming"))
  func roaming() throws { try play("roaming") }

  @Test("A keepalive holds open the door of a NAT box that forgets after two seconds", .needs("nat-keepalive"))
  func natKeepalive() throws { try play("nat-keepalive") }

  @Test("The server follows a NAT box that loses its mappings", .needs("nat-remap"))
  func natRemap() throws { try play("nat-remap") }

  @Test("Answers leave from the address that the peer wrote to, unless that has gone", .needs("sticky-source"))
  func stickySource() throws { try play("sticky-source") }

  @Test("A machine without one of the address families still has its tunnel", .needs("one-family"))
  func oneFamily() throws { try play("one-family") }

  @Test("Outer packets carry the firewall mark", .needs("fwmark"))
  func firewallMark() throws { try play("fwmark") }

  @Test("The listening port changes under a running tunnel", .needs("port-change"))
  func portChange() throws { try play("port-change") }

  @Test("A peer cannot speak with an address that is not its own", .needs("allowed-ips"))
  func allowedIPs() throws { try play("allowed-ips") }

  @Test("wg-quick brings up and takes down the daemon as its userspace implementation", .needs("wg-quick"))
  func wgQuick() throws { try play("wg-quick") }

  @Test("Mistreated and replayed datagrams neither crash a daemon nor arrive twice", .needs("wire-abuse"))
  func wireAbuse() throws { try play("wire-abuse") }

  @Test("Broken requests on the control socket are refused and change nothing", .needs("control-abuse"))
  func controlAbuse() throws { try play("control-abuse") }

  @Test(
    "Two tunnels with default routes and kill switches leave each other's datagrams alone, whichever comes first",
    .needs("two-default-routes"))
  func twoDefaultRoutes() throws { try play("two-default-routes") }

  @Test(
    "A flushed ruleset opens no kill switch, and rules that others delete are back within 100 ms",
    .needs("deleted-rules"))
  func deletedRules() throws { try play("deleted-rules") }

  @Test(
    "Under 50,000 datagrams a second of every kind, handshakes get through, nothing is amplified, memory is bounded",
    .needs("flood"), .timeLimit(.minutes(10)))
  func flood() throws { try play("flood") }

  @Test("A session keeps its throughput while strangers flood the server with handshakes", .needs("flood-throughput"))
  func floodThroughput() throws { try play("flood-throughput") }

  @Test("Who does not know the public key gets no byte back, whatever they send", .needs("scanner"))
  func scanner() throws { try play("scanner") }

  @Test(
    "Keys are in locked, undumpable memory alone, and gone from all of it once they are not needed", .needs("secrets"))
  func secrets() throws { try play("secrets") }

  @Test("A path that loses, doubles and reorders is survived, and nothing arrives twice", .needs("bad-weather"))
  func badWeather() throws { try play("bad-weather") }

  @Test("Ten thousand pings cost no call of malloc per packet", .needs("allocations"))
  func allocations() throws { try play("allocations") }

  @Test("Both sides' counters hold every byte on the wire and none more", .needs("counters"))
  func counters() throws { try play("counters") }

  @Test(
    "Frames of 1,420 and of 34,736 bytes pass over both families, and padding stays within an MTU",
    .needs("packet-sizes"))
  func packetSizes() throws { try play("packet-sizes") }

  @Test(
    "With each offload off, on both sides or one, with each cipher and any number of threads, every byte is right",
    .needs("offloads"), .timeLimit(.minutes(5)))
  func offloads() throws { try play("offloads") }

  @Test(
    "A gigabyte in mixed flows, both ways and through a tunnel inside, arrives without a wrong byte",
    .needs("transfer"), .timeLimit(.minutes(5)))
  func transfer() throws { try play("transfer") }

  @Test("A changed key takes effect at once, and low-order keys cause no packet", .needs("keys"))
  func keys() throws { try play("keys") }

  @Test(
    "What a restarted peer asks first is answered in its new session", .needs("first-answers"),
    .timeLimit(.minutes(15)))
  func firstAnswers() throws { try play("first-answers") }

  @Test("Whatever is set last, at either end, the tunnel works at once", .needs("late-settings"))
  func lateSettings() throws { try play("late-settings") }

  @Test("Forged errors about the path's MTU make no outer IPv4 datagram go in fragments", .needs("forged-path-mtu"))
  func forgedPathMTU() throws { try play("forged-path-mtu") }

  @Test("Tunnels pass through tunnels, and loops of them die out", .needs("nesting"))
  func nesting() throws { try play("nesting") }

  @Test("An attacker with two keys starts no packet storm", .needs("packet-storm"))
  func packetStorm() throws { try play("packet-storm") }

  @Test(
    "Default routes lead through the tunnel by rule and mark, and its own packets around it", .needs("policy-routing"))
  func policyRouting() throws { try play("policy-routing") }

  @Test("Outer sources follow addresses and routes, and answers go back the way they came", .needs("source-addresses"))
  func sourceAddresses() throws { try play("source-addresses") }

  @Test("A better route is taken by the next packet", .needs("better-route"))
  func betterRoute() throws { try play("better-route") }

  @Test("An address of the tunnel is never the outer source", .needs("own-address"))
  func ownAddress() throws { try play("own-address") }

  @Test(
    "A peer's router advertisements and redirects change no route, address or MTU of the other end",
    .needs("lying-peer"))
  func lyingPeer() throws { try play("lying-peer") }

  @Test(
    "Ends that know each other's keys reach each other by link-local addresses, and take a router's word only if they want to",
    .needs("derived-addresses"))
  func derivedAddresses() throws { try play("derived-addresses") }

  @Test(
    "What only the tunnel may bring reaches no program by another interface, and what is genuine all arrives",
    .needs("forged-packets"))
  func forgedPackets() throws { try play("forged-packets") }

  @Test("What cannot go into the tunnel is answered at once, behind NAT as well", .needs("unreachable"))
  func unreachable() throws { try play("unreachable") }

  @Test("An ICMP error comes from the machine that refused, by its address on the way back", .needs("error-sources"))
  func errorSources() throws { try play("error-sources") }

  @Test(
    "Past a kill switch nothing leaves, whatever happens to the tunnel and whoever tries", .needs("leaks"),
    .timeLimit(.minutes(5)))
  func leaks() throws { try play("leaks") }

  @Test("An endpoint's name that leads inside takes no packet out of the tunnel", .needs("hostile-names"))
  func hostileNames() throws { try play("hostile-names") }

  @Test(
    "A capture has what tcpdump has, tshark opens the outside with its keys, and no reader slows the tunnel",
    .needs("capture"), .timeLimit(.minutes(5)))
  func packetCapture() throws { try play("capture") }

  @Test("Tens of thousands of allowed IPs change under traffic that loses nothing", .needs("many-prefixes"))
  func manyPrefixes() throws { try play("many-prefixes") }

  @Test(
    "Routing daemons run over one interface with three peers, and a peer that falls silent is reported to the kernel",
    .needs("many-peers"), .timeLimit(.minutes(5)))
  func manyPeers() throws { try play("many-peers") }

  @Test("Interfaces come and go fifty times, and the one beside them loses nothing", .needs("turnover"))
  func turnover() throws { try play("turnover") }

  @Test(
    "On a path that loses, delays and reorders, no byte is altered and nothing arrives twice", .needs("stress"),
    .timeLimit(.minutes(5)))
  func stress() throws { try play("stress") }

  @Test(
    "Nobody can tell us from wireguard-go and the kernel: pings, rekeys, throughput", .needs("interop"),
    .timeLimit(.minutes(15)))
  func interop() throws { try play("interop") }

  @Test(
    "The load generator keeps its pace and counts what is lost, and the search finds the limit",
    .needs("load-generator"))
  func loadGenerator() throws { try play("load-generator") }

  @Test(
    "wg6 exec keeps a program inside the tunnel, or outside of it, for IPv4, IPv6 and DNS", .needs("exec"),
    .timeLimit(.minutes(10)))
  func execution() throws { try play("exec") }

  @Test(
    "Every wg-quick file ends in the same machine with wg6, and after down in the one before", .needs("side-by-side"),
    .timeLimit(.minutes(10)))
  func sideBySide() throws { try play("side-by-side") }

  @Test(
    "A hundred reloads around a peer cost it no ping and no handshake", .needs("reload-under-load"),
    .timeLimit(.minutes(5)))
  func reloadUnderLoad() throws { try play("reload-under-load") }

  @Test("A reload ends where an up of the same file would", .needs("reload-pairs"), .timeLimit(.minutes(5)))
  func reloadPairs() throws { try play("reload-pairs") }

  @Test(
    "Killed after any of its steps, a command leaves what the next one puts in order", .needs("crash-matrix"),
    .timeLimit(.minutes(15)))
  func crashMatrix() throws { try play("crash-matrix") }

  @Test("A default route through the tunnel takes all but the LAN, and nothing forged", .needs("default-route"))
  func defaultRoute() throws { try play("default-route") }

  @Test(
    "A network that claims public addresses gets nothing in the clear from a tunnel that leaves the LAN outside",
    .needs("hostile-lan"), .timeLimit(.minutes(10)))
  func hostileLAN() throws { try play("hostile-lan") }

  @Test("An exported file leads every address where its exclusions do", .needs("exported-exclusions"))
  func exportedExclusions() throws { try play("exported-exclusions") }

  @Test("Up and down of one peer and of a thousand are timed beside wg-quick's", .needs("up-speed"))
  func upSpeed() throws { try play("up-speed") }

  // MARK: Situations

  @Test(
    "A laptop is found behind NAT boxes that change, and in another family, by no line of a file",
    .needs("road-warrior"), .timeLimit(Scenario.isLong ? .minutes(40) : .minutes(5)))
  func roadWarrior() throws { try play("road-warrior") }

  @Test("Keys have addresses of their own, wherever they are", .needs("broker"))
  func broker() throws { try play("broker") }

  @Test("Two IPv6 networks meet over IPv4, three hops apart, and a packet has six headers", .needs("two-routers"))
  func twoRouters() throws { try play("two-routers") }

  @Test("What no peer owns is seen by a capture, and refused to its sender", .needs("looking-glass"))
  func lookingGlass() throws { try play("looking-glass") }

  @Test("IPv6 alone is enough to reach an IPv4-only server", .needs("translator"))
  func translator() throws { try play("translator") }

  @Test("Ten containers behind NAT have ten global addresses that stay theirs", .needs("containers"))
  func containers() throws { try play("containers") }

  @Test("Link-local addresses are enough, outside and inside", .needs("link-local"))
  func linkLocal() throws { try play("link-local") }

  /// Plays a scenario and narrates into the log.
  private func play(_ name: String) throws {
    try #require(Scenario.named(name)).run { text in
      FileHandle.standardOutput.write(Data("\(name): \(text)\n".utf8))
    }
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips a test aloud where something that the scenario needs is missing. With WG6_REQUIRE_ALL=1 nothing is skipped:
  /// then the scenario itself fails and says what is missing.
  fileprivate static func needs(_ scenario: String) -> Self {
    let missing = Scenario.named(scenario)?.missing(for: .chosen) ?? []
    let reason = "missing: " + missing.map(\.description).joined(separator: ", ")
    return .enabled(if: missing.isEmpty || Prerequisite.allRequired, "\(reason)")
  }
}
