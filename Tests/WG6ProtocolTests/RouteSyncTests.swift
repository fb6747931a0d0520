import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

@Suite struct `Allowed IPs that follow routes` {
  private let hub: Node
  private let peers: [Node]

  /// A hub with three peers, peer n at fd00::n+2 and fe80::n+2.
  init() {
    let bench = Bench(seed: 12)
    let hub = bench.addNode()
    self.hub = hub
    peers = (0..<3).map { _ in bench.addNode() }
    for peer in peers {
      hub.add(peer)
      peer.add(hub)
      add(linkLocal(peer), to: peer)
    }
    sync()
  }

  private func linkLocal(_ node: Node) -> IPPrefix { IPPrefix(gateway(node), length: 128) }
  private func gateway(_ node: Node) -> IPAddress { .v6(high: 0xFE80 << 48, low: UInt64(node.number)) }
  /// 2001:db8:`number`::/48.
  private func site(_ number: UInt64, length: Int = 48) -> IPPrefix {
    IPPrefix(.v6(high: 0x2001_0DB8 << 32 | number << 16, low: 0), length: length)
  }

  private func sync(_ isOn: Bool = true, filter: [IPPrefix] = []) {
    var update = DeviceUpdate()
    update.routeSync = RouteSyncSettings(isOn: isOn, filter: filter)
    hub.apply(update)
  }

  private func add(_ prefix: IPPrefix, to peer: Node, from origin: AllowedIPOrigin = .file) {
    change(.add(prefix), of: peer, from: origin)
  }

  private func change(_ change: AllowedIPChange, of peer: Node, from origin: AllowedIPOrigin = .file) {
    var peerUpdate = PeerUpdate(peer.key.publicKey)
    peerUpdate.allowedIPs = [change]
    var update = DeviceUpdate()
    update.origin = origin
    update.peers = [peerUpdate]
    hub.apply(update)
  }

  private func tell(_ routes: (IPPrefix, Node)...) {
    hub.device.routesTold(routes.map { GatewayRoute($0.0, via: gateway($0.1)) })
  }

  private func status(_ peer: Node) -> PeerStatus {
    hub.device.status().peers.first { $0.publicKey == peer.key.publicKey }!
  }

  /// Those of a peer that routes have given.
  private func synced(_ peer: Node) -> [IPPrefix] {
    let status = status(peer)
    return zip(status.allowedIPs, status.origins).filter { $0.1 == .route }.map(\.0)
  }

  /// Who a packet to `prefix` goes to.
  private func receiver(of prefix: IPPrefix) -> Node? {
    let peer = hub.device.plane.allowedIPs.peer(for: prefix.address.bits, isIPv6: prefix.address.isIPv6)
    return peers.first { peer != nil && hub.device.peersByKey[$0.key.publicKey]?.reference == peer }
  }

  @Test func `a route to a gateway gives its prefix to the peer with that address, and takes it away with the route`() {
    tell((site(1), peers[0]), (site(2), peers[1]))
    #expect(synced(peers[0]) == [site(1)] && synced(peers[1]) == [site(2)])
    #expect(receiver(of: site(1)) === peers[0] && receiver(of: site(2)) === peers[1])
    tell((site(1), peers[2]))
    #expect(receiver(of: site(1)) === peers[2] && receiver(of: site(2)) == nil)
    #expect(synced(peers[0]).isEmpty && synced(peers[1]).isEmpty)
    tell()
    #expect(receiver(of: site(1)) == nil)
    #expect(peers.allSatisfy { status($0).allowedIPs == [$0.prefix, linkLocal($0)] })
  }

  @Test func `gateways of either family will do, also one in a longer prefix of a peer`() {
    add(IPPrefix(.v4(0x0A01_0000), length: 24), to: peers[1])
    let ours = IPPrefix(.v4(0xC0A8_0000), length: 16)
    hub.device.routesTold([
      GatewayRoute(ours, via: .v4(0x0A01_0007)), GatewayRoute(site(1), via: .v4(0x0A01_0007)),
      GatewayRoute(site(2), via: .v6(high: 0xFD00 << 48, low: UInt64(peers[2].number))),
      GatewayRoute(site(3), via: .v6(high: 0xFD00 << 48, low: 99)),
    ])
    #expect(synced(peers[1]) == [ours, site(1)])
    #expect(synced(peers[2]) == [site(2)])
    #expect(receiver(of: site(3)) == nil)
  }

  @Test func `no route decides which peer another route's gateway is`() {
    let everything = IPPrefix(.v6(high: 0, low: 0), length: 0)
    let unknown = GatewayRoute(site(1), via: .v6(high: 0xFE80 << 48, low: 99))
    hub.device.routesTold([GatewayRoute(everything, via: gateway(peers[0])), unknown])
    #expect(synced(peers[0]) == [everything])
    #expect(hub.device.routeSyncOutcome.prefixes == 1)
  }

  @Test func `a prefix of the configuration is never taken, whole or in part, but a default route's parts are`() {
    add(site(1), to: peers[0])
    add(site(2), to: peers[0], from: .set)
    add(IPPrefix(.v6(high: 0, low: 0), length: 0), to: peers[0])
    tell((site(1), peers[1]), (site(1, length: 64), peers[1]), (site(2), peers[1]), (site(3), peers[1]))
    #expect(synced(peers[1]) == [site(3)])
    #expect(receiver(of: site(1)) === peers[0] && receiver(of: site(2)) === peers[0])
    #expect(hub.device.routeSyncOutcome.refused == GatewayRoute(site(1), via: gateway(peers[1])))
    // The same peer's own is its already; a part of it may have to go before another peer's.
    tell((site(1), peers[0]), (site(1, length: 64), peers[0]))
    #expect(synced(peers[0]) == [site(1, length: 64)])
    #expect(status(peers[0]).origins.filter { $0 == .file }.count == 3)
  }

  @Test func `the configuration takes a prefix from a route, which gets it back afterwards`() {
    tell((site(1), peers[0]))
    add(site(1), to: peers[1], from: .set)
    #expect(receiver(of: site(1)) === peers[1] && synced(peers[0]).isEmpty)
    change(.remove(site(1)), of: peers[1])
    #expect(receiver(of: site(1)) === peers[0] && synced(peers[0]) == [site(1)])
  }

  @Test func `a peer's new allowed IPs take the place of those configured, and of no others`() {
    tell((site(1), peers[0]))
    var change = PeerUpdate(peers[0].key.publicKey)
    change.replacesAllowedIPs = true
    change.allowedIPs = [.add(linkLocal(peers[0])), .add(site(7))]
    hub.apply(change)
    #expect(Set(status(peers[0]).allowedIPs) == [linkLocal(peers[0]), site(7), site(1)])
    #expect(status(peers[0]).configuredIPs == [linkLocal(peers[0]), site(7)])
    // Without the gateway's address the route leads to no peer.
    change.allowedIPs = []
    hub.apply(change)
    #expect(status(peers[0]).allowedIPs.isEmpty)
    change.allowedIPs = [.add(linkLocal(peers[0]))]
    hub.apply(change)
    #expect(synced(peers[0]) == [site(1)])
  }

  @Test func `a peer that goes loses them, and one that comes gets them`() {
    tell((site(1), peers[0]), (site(2), peers[0]))
    var removal = PeerUpdate(peers[0].key.publicKey)
    removal.removes = true
    hub.apply(removal)
    #expect(receiver(of: site(1)) == nil && hub.device.routeSyncOutcome.prefixes == 0)
    hub.add(peers[0])
    #expect(synced(peers[0]).isEmpty)
    add(linkLocal(peers[0]), to: peers[0])
    #expect(synced(peers[0]) == [site(1), site(2)])
  }

  @Test func `a filter lets through what lies inside it, and off takes all away`() {
    sync(filter: [site(0, length: 40), IPPrefix(.v4(10 << 24), length: 8)])
    let inside = IPPrefix(.v4(0x0A09_0000), length: 16)
    let wider = IPPrefix(.v6(high: 0x2001_0DB8 << 32, low: 0), length: 32)
    tell((site(1), peers[0]), (site(0x100), peers[0]), (wider, peers[0]), (inside, peers[1]))
    #expect(synced(peers[0]) == [site(1)] && synced(peers[1]) == [inside])
    sync()
    #expect(synced(peers[0]) == [site(1), site(0x100), wider])
    sync(false)
    #expect(peers.allSatisfy { status($0).origins.isEmpty && status($0).allowedIPs.count == 2 })
  }

  @Test func `addresses of a link, of the machine and of groups are no peer's by a route`() {
    let never = [
      IPPrefix(.v6(high: 0xFE80 << 48, low: 0), length: 64), IPPrefix(.v6(high: 0xFF02 << 48, low: 0), length: 16),
      IPPrefix(.v6(high: 0, low: 1), length: 128), IPPrefix(.v4(0x7F00_0000), length: 8),
      IPPrefix(.v4(0xA9FE_0100), length: 24), IPPrefix(.v4(0xE000_0000), length: 4),
    ]
    hub.device.routesTold(never.map { GatewayRoute($0, via: gateway(peers[0])) })
    #expect(synced(peers[0]).isEmpty)
  }

  @Test func `there are 10,000 at most, the first ones told`() {
    let routes = (0..<10_100).map {
      GatewayRoute(IPPrefix(.v6(high: 0x2002 << 48 | UInt64($0), low: 0), length: 64), via: gateway(peers[$0 % 3]))
    }
    hub.device.routesTold(routes)
    #expect(hub.device.routeSyncOutcome.prefixes == 10_000 && hub.device.routeSyncOutcome.excess == 100)
    #expect(receiver(of: routes[9_999].prefix) != nil && receiver(of: routes[10_000].prefix) == nil)
    hub.device.routesTold(Array(routes[5_000...]))
    #expect(hub.device.routeSyncOutcome.prefixes == 5_100 && hub.device.routeSyncOutcome.excess == 0)
    hub.device.routesTold([])
    #expect(hub.device.allowedIPs.nodeCount < 20)
  }

  @Test(arguments: seeds)
  func `whatever changes in whatever order, the outcome is that of a device told at once`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var routes: [GatewayRoute] = []
    for _ in 0..<300 {
      let peer = peers[random.below(3)]
      let prefix = site(UInt64(random.below(6)), length: [48, 56, 64][random.below(3)])
      switch random.below(4) {
      case 0: add(prefix, to: peer, from: [.set, .file][random.below(2)])
      case 1: change(.remove(prefix), of: peer)
      default:
        routes = (0..<random.below(8)).map { _ in
          let prefix = site(UInt64(random.below(6)), length: [48, 56, 64][random.below(3)])
          return GatewayRoute(prefix, via: gateway(peers[random.below(3)]))
        }
        hub.device.routesTold(routes)
      }
      let before = hub.device.status().peers.map { Set($0.allowedIPs) }
      // All routes away and back again is what a device has that was told them first now.
      hub.device.routesTold([])
      hub.device.routesTold(routes)
      #expect(hub.device.status().peers.map { Set($0.allowedIPs) } == before, "seed \(seed)")
    }
  }
}
