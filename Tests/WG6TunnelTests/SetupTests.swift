import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `What a file asks of a machine` {
  private func setup(
    _ interface: String, _ peers: String..., endpoints: [String: String] = [:], machine: Machine = Machine()
  ) throws -> Setup {
    let sections = peers.enumerated().map { "[Peer]\nPublicKey = \(peerKey(UInt8($0 + 1)).base64)\n\($1)\n" }
    let file = try configuration("[Interface]\nPrivateKey = \(ownKey)\n\(interface)\n" + sections.joined())
    var resolved: [EndpointName: Endpoint] = [:]
    for peer in file.peers {
      guard let name = peer.endpoint, let text = endpoints[name.text] else { continue }
      resolved[name] = Endpoint(address: address(text), port: 1)
    }
    return try Setup(file, interface: "wg0", endpoints: resolved, machine: machine)
  }

  @Test func `a split tunnel has its routes in the main table, the longest first, and no rules`() throws {
    let setup = try setup("Address = 10.0.0.1/24", "AllowedIPs = 10.0.0.0/8, 2001:db8::/32, 10.1.0.0/16")
    #expect(setup.routes.map { "\($0.prefix)" } == ["2001:db8::/32", "10.1.0.0/16", "10.0.0.0/8"])
    #expect(setup.routes.allSatisfy { $0.table == 254 })
    #expect(setup.rules.isEmpty && setup.settings.isEmpty)
    #expect(setup.mark == nil && setup.device.firewallMark == 0)
  }

  @Test func `a default route has a table of its own, rules of its family, a mark and a guard`() throws {
    let machine = Machine(isTableEmpty: { $0 != 51820 })
    let setup = try setup("Address = 10.0.0.1/24, fd00::1/64", "AllowedIPs = ::/0, 10.0.0.0/8", machine: machine)
    #expect(setup.mark == 51821 && setup.device.firewallMark == 51821 && setup.isMarkChosen)
    #expect(
      setup.routes == [Route(prefix("10.0.0.0/8"), table: 254), Route(prefix("::/0"), table: 51821)])
    #expect(setup.rules.count == 2)
    #expect(setup.rules.allSatisfy { $0.isIPv6 })
    #expect(setup.rules[0].suppressedPrefixLength == 0 && setup.rules[0].table == 254)
    #expect(setup.rules[1].isInverted && setup.rules[1].mark == 51821 && setup.rules[1].table == 51821)
    #expect(setup.settings.isEmpty)
    #expect(setup.firewall.savesMarks)
  }

  @Test func `guards its addresses, and sources as far as no default route is meant, whatever its table`() throws {
    for table in ["auto", "off", "77"] {
      let both = try setup(
        "Table = \(table)\nAddress = 10.0.0.1/24, fd00::1/64", "AllowedIPs = ::/0, fd07::/32, 10.1.0.0/16")
      #expect(both.firewall.guardedAddresses == [address("10.0.0.1"), address("fd00::1")])
      #expect(both.firewall.guardedSources == [prefix("0.0.0.0/0"), prefix("fd07::/32"), prefix("fd00::/64")])
    }
    // A family that the tunnel has nothing of costs its packets nothing.
    let one = try setup("Address = 10.0.0.1/32", "AllowedIPs = 10.1.0.0/16")
    #expect(one.firewall.guardedSources == [prefix("0.0.0.0/0")])
    // What is excluded may come from anywhere.
    let cut = try setup("Address = 10.0.0.1/32\nExcludedIPs = 10.1.0.0/17", "AllowedIPs = 0.0.0.0/0, 10.1.0.0/16")
    #expect(cut.firewall.guardedSources == [prefix("10.1.128.0/17")])
    #expect(try setup("SpoofGuard = no\nAddress = 10.0.0.1/24", "AllowedIPs = 10.1.0.0/16").firewall.isEmpty)
  }

  /// A router of another link may well be fe80::1, too.
  @Test func `guards no link-local address, which every link has anew`() throws {
    for setting in ["Address = fe80::1/64", "LinkLocal = auto"] {
      let setup = try setup("\(setting)\nAddress = fd00::1/64", "AllowedIPs = ::/0")
      #expect(setup.firewall.guardedAddresses == [address("fd00::1")])
      #expect(setup.firewall.guardedSources.contains(prefix("fd00::/64")))
      #expect(!setup.firewall.guardedSources.contains(prefix("fe80::/64")))
    }
  }

  @Test func `addresses from keys are given, told to the daemon, and lead no route of their own on the link`() throws {
    let setup = try setup("LinkLocal = auto\nAddress = ula:home", "AllowedIPs = 10.1.0.0/16")
    #expect(setup.addresses.map(\.prefixLength) == [64, 64])
    #expect(setup.derivedNetworks == [0xFD58_F25B_E75D_0000, 0xFE80_0000_0000_0000])
    #expect(setup.device.peers[0].allowedIPs.count == 4)
    #expect(setup.routes.count == 2 && setup.routes.allSatisfy { !$0.prefix.address.isLinkLocal })
    #expect(try self.setup("", "AllowedIPs = 10.1.0.0/16").derivedNetworks == [])
  }

  @Test func `router advertisements are taken where the file says so, with default routes where it has none`() throws {
    func taken(_ interface: String, _ allowedIPs: String) throws -> RouterAdvertisements {
      try setup("LinkLocal = auto\n\(interface)", "AllowedIPs = \(allowedIPs)").routerAdvertisements
    }
    #expect(try taken("", "::/0") == .none && taken("AcceptRA = no", "::/0") == .none)
    #expect(try taken("AcceptRA = yes", "fd00::/8, 0.0.0.0/0") == .all)
    #expect(try taken("AcceptRA = yes", "::/0") == .withoutDefaultRoute)
    #expect(try taken("AcceptRA = yes\nTable = off", "::/0") == .all)
  }

  @Test func `the file's mark is taken, and names the table`() throws {
    let setup = try setup("FwMark = 0x1234", "AllowedIPs = 0.0.0.0/0")
    #expect(setup.mark == 0x1234 && !setup.isMarkChosen)
    #expect(setup.routes == [Route(prefix("0.0.0.0/0"), table: 0x1234)])
    #expect(setup.settings.map(\.name) == ["net.ipv4.conf.all.src_valid_mark"])
  }

  @Test func `halves of everything are no default route`() throws {
    let setup = try setup("", "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1")
    #expect(setup.rules.isEmpty && setup.routes.allSatisfy { $0.table == 254 })
  }

  @Test func `Table is off, or a number, and nothing else is touched`() throws {
    #expect(try setup("Table = off", "AllowedIPs = 0.0.0.0/0").routes.isEmpty)
    let numbered = try setup("Table = 77", "AllowedIPs = 0.0.0.0/0, ::/0")
    #expect(numbered.routes.allSatisfy { $0.table == 77 } && numbered.routes.count == 2)
    #expect(numbered.rules.isEmpty && numbered.mark == nil)
  }

  @Test(arguments: ["a.example:1", "192.0.2.1:1"])
  func `an endpoint among the allowed IPs stays inside, and a mark leads the tunnel's own datagrams past it`(
    endpoint: String
  ) throws {
    let peer = "Endpoint = \(endpoint)\nAllowedIPs = ", endpoints = [endpoint: "192.0.2.1"]
    let split = try setup("", peer + "192.0.2.0/24, 10.0.0.0/8, 192.0.2.1, 2001:db8::/32", endpoints: endpoints)
    let table = MarkedRouting.table(of: 51820)
    #expect(
      Set(split.routes) == [
        Route(prefix("192.0.2.0/24"), table: table), Route(prefix("192.0.2.1/32"), table: table),
        Route(prefix("10.0.0.0/8")), Route(prefix("2001:db8::/32")),
      ])
    #expect(
      split.rules.map(\.description) == [
        "not from all fwmark 0xca6c lookup \(table) suppress_prefixlength 31",
        "not from all fwmark 0xca6c lookup \(table) suppress_prefixlength 23",
      ])
    #expect(split.rules.allSatisfy { !$0.isIPv6 && !$0.isOfDefaultRoute })
    #expect(split.mark == 51820 && split.isMarkChosen && split.device.firewallMark == 51820)
    #expect(split.firewall.savesMarks && split.settings.map(\.name) == [Setup.markedAnswers])
    // Its datagrams go where the routes say but for these: through another tunnel with a default route too.
    #expect(!split.hasDefaultRoute)

    let whole = try setup("FwMark = 7", peer + "0.0.0.0/0, 192.0.2.0/24", endpoints: endpoints)
    #expect(
      whole.routes == [
        Route(prefix("192.0.2.0/24"), table: MarkedRouting.table(of: 7)), Route(prefix("0.0.0.0/0"), table: 7),
      ])
    #expect(whole.rules.map(\.suppressedPrefixLength) == [23, 0, nil] && whole.hasDefaultRoute)

    for (settings, address) in [("Table = 77", "192.0.2.1"), ("Table = off", "192.0.2.1"), ("", "192.0.3.1")] {
      let other = try setup(settings, peer + "192.0.2.0/24", endpoints: [endpoint: address])
      #expect(other.rules.isEmpty && other.mark == nil && !other.firewall.savesMarks)
      #expect(other.routes.map(\.prefix) == (settings == "Table = off" ? [] : [prefix("192.0.2.0/24")]))
    }
    let six = try setup(
      "", "Endpoint = a.example:1\nAllowedIPs = fd00::/8, 10.0.0.0/8", endpoints: ["a.example:1": "fd00::1"])
    #expect(six.rules.count == 1 && six.rules.allSatisfy(\.isIPv6) && six.settings.isEmpty && six.firewall.savesMarks)
  }

  @Test func `what rules lead past is read from them, and grows in order`() {
    var routing = MarkedRouting(
      defaultFamilies: [true], [prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("fd00::/8")],
      endpoints: [address("10.1.0.1"), address("192.0.2.1")])
    #expect(MarkedRouting(routing.rules(mark: 9)) == routing && routing.families == [false, true])
    let before = routing.rules(mark: 9)
    routing.add([prefix("10.0.0.0/12"), prefix("10.1.0.0/24")], [address("10.1.0.1")])
    let after = routing.rules(mark: 9).filter { !$0.isIPv6 }
    #expect(after.map(\.suppressedPrefixLength) == [23, 15, 11, 7])
    // What is in the block stays there.
    let changes = PolicyRule.changes(from: before, of: before, to: routing.rules(mark: 9))
    #expect(changes.added.map(\.suppressedPrefixLength) == [23, 11] && changes.removed.isEmpty)
    let six = before.filter { $0.isIPv6 && !$0.isOfMarkedTable }
    let taken = before.filter { $0 != six[0] }
    let restored = PolicyRule.changes(from: taken, of: before, to: before)
    #expect(restored.added == [six[0]] && restored.removed.isEmpty)
    let other = routing.rules(mark: 10)
    let anew = PolicyRule.changes(from: taken, of: before, to: other)
    #expect(anew.added == other && Set(anew.removed) == Set(taken))
  }

  @Test(arguments: [
    (["192.0.2.1": 1500], 1440), (["2001:db8::1": 1500], 1420), (["192.0.2.1": 1500, "2001:db8::1": 1400], 1320),
    ([:], 1412), (["192.0.2.1": 1340], 1280),
  ])
  func `the MTU is what the narrowest way leaves`(ways: [String: Int], mtu: Int) throws {
    let peers = ways.keys.enumerated().map { "AllowedIPs = 10.0.0.\($0.offset)/32\nEndpoint = \($0.offset).example:1" }
    var endpoints: [String: String] = [:]
    for (index, way) in ways.keys.enumerated() { endpoints["\(index).example:1"] = way }
    let machine = Machine(
      pathMTU: { wanted in ways.first { address($0.key) == wanted }?.value }, defaultPathMTU: { 1492 })
    let sections = peers + Array(repeating: "", count: 2 - peers.count)
    #expect(try setup("", sections[0], sections[1], endpoints: endpoints, machine: machine).mtu == mtu)
    #expect(try setup("MTU = 1300", sections[0], sections[1], endpoints: endpoints, machine: machine).mtu == 1300)
  }

  @Test func `where the way is too narrow for IPv6, IPv6 has what it needs all the same, and a warning says so`() throws
  {
    let machine = Machine(pathMTU: { _ in 1300 })
    let peer = "Endpoint = a.example:1\nAllowedIPs = "
    let endpoints = ["a.example:1": "192.0.2.1"]
    let both = try setup("", peer + "10.0.0.0/8, fd00::/8", endpoints: endpoints, machine: machine)
    #expect(both.mtu == 1280 && both.mtuWarning?.contains("leaves 1240 bytes") == true)
    let old = try setup("Address = 10.0.0.1/24", peer + "10.0.0.0/8", endpoints: endpoints, machine: machine)
    #expect(old.mtu == 1240 && old.mtuWarning?.contains("there is none on the interface") == true)
    let chosen = try setup("MTU = 1000", peer + "fd00::/8", endpoints: endpoints, machine: machine)
    #expect(chosen.mtu == 1000 && chosen.mtuWarning == nil)
  }

  @Test func `a kill switch covers what goes through the tunnel, and needs a mark even without a default route`() throws
  {
    let machine = Machine(connectedNetworks: [prefix("192.168.1.0/24")])
    let open = try setup("KillSwitch = yes", "AllowedIPs = 10.0.0.0/8, ::/0", machine: machine)
    #expect(open.firewall.killSwitch?.covered.map { "\($0)" } == ["10.0.0.0/8", "::/0"])
    #expect(open.firewall.killSwitch?.lan == .closed)
    #expect(open.firewall.killSwitch?.networks == [prefix("192.168.1.0/24")])
    let lan = try setup("KillSwitch = lan", "AllowedIPs = 10.0.0.0/8", machine: machine)
    #expect(lan.firewall.killSwitch?.lan == .networksAndGroups)
    #expect(lan.firewall.killSwitch?.networks == [prefix("192.168.1.0/24")])
    #expect(lan.mark == 51820 && lan.device.firewallMark == 51820 && lan.rules.isEmpty)
  }

  /// What a hostile network may tell its hosts by DHCP or router advertisements, and what an honest one does.
  private static var around: Machine {
    Machine(
      connectedNetworks: [
        prefix("0.0.0.0/1"), prefix("8.0.0.0/5"), prefix("128.0.0.0/1"), prefix("192.168.1.0/24"),
        prefix("203.0.113.0/24"),
        prefix("2000::/3"), prefix("2001:db8:1::/64"), prefix("fd01::/64"), prefix("fe80::/64"),
      ], routedNetworks: [prefix("10.9.0.0/16"), prefix("198.51.100.0/24"), prefix("2001:db8:2::/48")])
  }

  @Test(arguments: ["KillSwitch = lan", "KillSwitch = yes\nExcludedIPs = lan", "KillSwitch = lan\nExcludedIPs = lan"])
  func `a kill switch opens for local networks at hand, whatever else is on-link`(lines: String) throws {
    let setup = try setup(lines, "AllowedIPs = 0.0.0.0/0, ::/0", machine: Self.around)
    let killSwitch = try #require(setup.firewall.killSwitch)
    #expect(killSwitch.networks.map { "\($0)" } == ["192.168.1.0/24", "fd01::/64", "fe80::/64"])
    #expect(killSwitch.covered.map { "\($0)" } == ["0.0.0.0/0", "::/0"])
    #expect(killSwitch.lan == (lines.contains("KillSwitch = lan") ? .networksAndGroups : .networks))
    #expect(
      setup.foreign.connected.map { "\($0)" } == [
        "0.0.0.0/1", "8.0.0.0/5", "128.0.0.0/1", "203.0.113.0/24", "2000::/3", "2001:db8:1::/64",
      ])
    let routed = setup.foreign.routed.map { "\($0)" }
    #expect(routed == (lines.contains("ExcludedIPs") ? ["198.51.100.0/24", "2001:db8:2::/48"] : []))
  }

  @Test func `with lan excluded the main table is asked about local addresses alone, and no wider routes count`() throws
  {
    let setup = try setup("ExcludedIPs = lan", "AllowedIPs = 0.0.0.0/0, ::/0", machine: Self.around)
    #expect(
      setup.rules.map(\.description) == [
        "from all to 10.0.0.0/8 lookup main suppress_prefixlength 7",
        "from all to 100.64.0.0/10 lookup main suppress_prefixlength 9",
        "from all to 169.254.0.0/16 lookup main suppress_prefixlength 15",
        "from all to 172.16.0.0/12 lookup main suppress_prefixlength 11",
        "from all to 192.168.0.0/16 lookup main suppress_prefixlength 15",
        "not from all fwmark 0xca6c lookup 51820",
        "from all to fc00::/7 lookup main suppress_prefixlength 6",
        "from all to fe80::/10 lookup main suppress_prefixlength 9",
        "not from all fwmark 0xca6c lookup 51820",
      ])
    // Nothing is cut out of the routes: they hold when the machine is in another network.
    #expect(setup.routes.map { "\($0.prefix) \($0.table)" } == ["0.0.0.0/0 51820", "::/0 51820"])
    // The peer has no addresses of the local networks; and all that pretend to be one.
    let taken = PrefixSet(
      setup.device.peers.flatMap(\.allowedIPs).compactMap { if case .add(let p) = $0 { p } else { nil } })
    for text in ["8.8.8.8", "203.0.113.7", "1.1.1.1", "200.1.1.1", "2001:db8:1::1", "2600::1"] {
      #expect(taken.contains(address(text)), "\(text)")
    }
    for text in ["192.168.1.7", "fd01::7", "fe80::7"] { #expect(!taken.contains(address(text)), "\(text)") }
  }

  @Test func `the network of the tunnel's own addresses is none outside, whoever says so`() throws {
    let machine = Machine(
      connectedNetworks: ["10.66.0.0/25", "10.0.0.0/8", "192.168.1.0/24", "fd66::/65", "fe80::/64"].map { prefix($0) })
    let lines = "Address = 10.66.0.2/24, fd66::2/64, 10.7.0.1/32\nKillSwitch = lan"
    for excluded in ["", "\nExcludedIPs = lan"] {
      let setup = try setup(lines + excluded, "AllowedIPs = 0.0.0.0/0, ::/0", machine: machine)
      let networks = PrefixSet(try #require(setup.firewall.killSwitch).networks)
      for text in ["10.66.0.1", "10.66.0.200", "fd66::1"] { #expect(!networks.contains(address(text)), "\(text)") }
      for text in ["10.66.1.1", "10.65.255.255", "10.7.0.1", "192.168.1.7", "fe80::1"] {
        #expect(networks.contains(address(text)), "\(text)")
      }
      #expect(setup.inTheTunnel.map { "\($0)" } == ["10.66.0.0/25", "10.0.0.0/8", "fd66::/65"])
      if excluded.isEmpty { continue }
      // Asked before all rules to local networks.
      let first = [false, true].compactMap { isIPv6 in setup.rules.first { $0.isIPv6 == isIPv6 }?.description }
      #expect(first == ["from all to 10.66.0.0/24 lookup 51820", "from all to fd66::/64 lookup 51820"])
      let taken = PrefixSet(
        setup.device.peers.flatMap(\.allowedIPs).compactMap { if case .add(let prefix) = $0 { prefix } else { nil } })
      for text in ["10.66.0.1", "fd66::1"] { #expect(taken.contains(address(text)), "\(text)") }
      #expect(!taken.contains(address("10.66.1.1")))
    }
  }

  @Test func `with lan excluded a split tunnel has its routes in a table of its own as well`() throws {
    let peer = "AllowedIPs = 8.0.0.0/6, 192.168.0.0/16\nEndpoint = a.example:1"
    let setup = try setup("ExcludedIPs = lan", peer, endpoints: ["a.example:1": "8.8.8.8"], machine: Self.around)
    // Not the number of a default route's table, which is asked after it.
    let own = setup.routes.filter { $0.table == MarkedRouting.table(of: 51820) }.map { "\($0.prefix)" }
    #expect(own == ["192.168.0.0/16", "8.0.0.0/6"] && setup.rules.last?.isOfNarrowTable == true)
    let main = PrefixSet(setup.routes.filter { $0.table == 254 }.map(\.prefix))
    #expect(main.contains(address("192.168.2.1")) && !main.contains(address("192.168.1.1")))
    #expect(main.contains(address("8.8.8.9")) && !main.contains(address("8.8.8.8")))
    #expect(setup.rules.count == 6 && setup.rules.allSatisfy { !$0.isIPv6 })
    #expect(setup.mark == 51820 && setup.device.firewallMark == 51820)
    // Where the file writes a table down, rules are its own business.
    #expect(try self.setup("Table = 7\nExcludedIPs = lan", peer, machine: Self.around).rules.isEmpty)
  }

  @Test func `what is excluded has no route, and the default route's pieces stay in its table`() throws {
    let setup = try setup("ExcludedIPs = 128.0.0.0/1", "AllowedIPs = 0.0.0.0/0, 10.0.0.0/8")
    #expect(
      setup.routes == [Route(prefix("10.0.0.0/8"), table: 254), Route(prefix("0.0.0.0/1"), table: 51820)])
    #expect(setup.rules.count == 2)
  }
}
