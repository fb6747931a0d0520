import Testing
import WG6Crypto
import WG6Protocol
import WG6Simulation

/// Everything that a persistent keepalive needs.
private enum Step: CaseIterable {
  case up, peer, endpoint, keepalive, key

  static func orders(of steps: [Step] = Step.allCases) -> [[Step]] {
    steps.isEmpty ? [[]] : steps.flatMap { step in orders(of: steps.filter { $0 != step }).map { [step] + $0 } }
  }
}

@Suite struct `In whatever order a device is told what it needs` {
  private static let prefix = IPPrefix(.v6(high: 0xFD00 << 48, low: 1), length: 128)

  @Test(arguments: Step.orders().indices)
  func `the last of it starts a handshake at once, and before it nothing is sent`(order: Int) {
    let steps = Step.orders()[order]
    let (world, home, cafe) = pair(seed: UInt64(order))
    // A peer is there from its first setting on; its allowed IPs are nothing that a handshake needs.
    let last = steps.lastIndex { $0 != .peer }!
    for (place, step) in steps.enumerated() {
      take(step, at: cafe, towards: home)
      #expect(world.wire.count == (place < last ? 0 : 1), "\(steps), \(step)")
      // Long enough for every timer that might be armed, and for every try of a handshake that might be under way.
      if place < last { world.run(for: 200 * Limits.second) }
    }
    world.run(for: Limits.second)
    #expect(world.wire.map(\.type) == [1, 2, 4], "\(steps)")
    #expect(home.device.status().peers.first?.lastHandshake != nil)
    // And it goes on: nothing but keepalives, 25 s apart.
    let before = world.wire.count
    world.run(for: 100 * Limits.second)
    #expect(world.wire.count == before + 4, "\(steps)")
  }

  @Test(arguments: Step.orders().indices)
  func `a peer that does not answer is tried again with every interval`(order: Int) {
    let steps = Step.orders()[order]
    let (world, home, cafe) = pair(seed: UInt64(order))
    home.isConnected = false
    for step in steps { take(step, at: cafe, towards: home) }
    // All tries of one handshake are long over by then.
    world.run(for: 300 * Limits.second)
    let before = world.wire.count
    world.run(for: 60 * Limits.second)
    #expect(world.wire.count > before, "\(steps)")
    home.isConnected = true
    world.run(for: 30 * Limits.second)
    #expect(home.device.status().peers.first?.lastHandshake != nil, "\(steps)")
  }

  @Test func `an interface that goes down and up again is heard from at once`() {
    let (world, home, cafe) = pair(seed: 5)
    for step in Step.allCases { take(step, at: cafe, towards: home) }
    world.run(for: Limits.second)
    cafe.goDown()
    world.run(for: 60 * Limits.second)
    let before = world.wire.count
    cafe.comeUp()
    #expect(world.wire.count == before + 1)
  }

  @Test func `a handshake under way to a former endpoint is sent to the new one at once`() {
    let (world, home, cafe) = pair(seed: 6)
    for step in [Step.up, .key, .peer, .keepalive] { take(step, at: cafe, towards: home) }
    direct(cafe, at: home, to: Endpoint(address: .v4(0x0A00_0063), port: 51820))
    world.run(for: Limits.second)
    take(.endpoint, at: cafe, towards: home)
    world.run(for: 100 * Limits.millisecond)
    #expect(home.device.status().peers.first?.lastHandshake != nil)
    // Told the same once more, it sends nothing more.
    let before = world.wire.count
    take(.endpoint, at: cafe, towards: home)
    world.run(for: Limits.second)
    #expect(world.wire.count == before)
  }

  private func pair(seed: UInt64) -> (World, Host, Host) {
    let world = World(seed: seed)
    let home = world.addHost("home", at: .v4(0x0A00_0001))
    let cafe = world.addHost("cafe", at: .v4(0x0A00_0002), starts: false)
    home.add(cafe, allowedIPs: [Self.prefix], knowsEndpoint: false)
    return (world, home, cafe)
  }

  private func take(_ step: Step, at host: Host, towards home: Host) {
    var update = DeviceUpdate()
    var peer = PeerUpdate(home.publicKey)
    switch step {
    case .up: return host.comeUp()
    case .key: update.privateKey = .set(host.privateKey)
    case .peer: peer.allowedIPs = [.add(IPPrefix(.v6(high: 0, low: 0), length: 0))]
    case .endpoint: peer.endpoint = home.endpoint
    case .keepalive: peer.persistentKeepalive = 25
    }
    if step != .key { update.peers = [peer] }
    host.configure(update)
  }

  private func direct(_ host: Host, at peer: Host, to endpoint: Endpoint) {
    var update = DeviceUpdate()
    var change = PeerUpdate(peer.publicKey)
    change.endpoint = endpoint
    update.peers = [change]
    host.configure(update)
  }
}
