import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// What a device does with the networks in which peers have addresses from their keys.
@Suite struct `A device's addresses from keys` {
  private static let home: UInt64 = 0xFD58_F25B_E75D_0000
  private let device = Device(using: SeededRandom(seed: 1))
  private let now = Now(monotonic: 1, wall: 1)
  private let groups = DerivedAddress.groupsOfLink

  private func key(_ number: UInt8) -> PublicKey { PublicKey(InlineArray(repeating: number)) }

  private func derived(_ number: UInt8, _ network: UInt64 = DerivedAddress.linkLocalNetwork) -> IPPrefix {
    DerivedAddress.prefix(of: DerivedAddress.interfaceIdentifier(of: key(number)), in: network)
  }

  private func peer(_ number: UInt8, _ changes: AllowedIPChange..., replaces: Bool = false) -> PeerUpdate {
    var change = PeerUpdate(key(number))
    change.allowedIPs = changes
    change.replacesAllowedIPs = replaces
    return change
  }

  private func removal(_ number: UInt8) -> PeerUpdate {
    var change = PeerUpdate(key(number))
    change.removes = true
    return change
  }

  private func update(_ peers: PeerUpdate..., networks: [UInt64]? = nil, replacing: Bool = false) -> DeviceUpdate {
    var update = DeviceUpdate()
    update.peers = peers
    update.derivedNetworks = networks
    update.replacesPeers = replacing
    return update
  }

  private func apply(_ update: DeviceUpdate) { device.apply(update, now: now) }

  private func allowed(_ number: UInt8) -> Set<IPPrefix> {
    Set(device.status().peers.first { $0.publicKey == key(number) }?.allowedIPs ?? [])
  }

  private let prefix = IPPrefix(.v4(10 << 24), length: 8)

  @Test func `are given to the peers that are there, to later ones, and to none when they are turned off`() {
    apply(update(peer(1, .add(prefix)), peer(2)))
    apply(update(networks: [DerivedAddress.linkLocalNetwork, Self.home]))
    #expect(allowed(1) == [prefix, derived(1), derived(1, Self.home)])
    apply(update(peer(3)))
    #expect(allowed(3) == [derived(3), derived(3, Self.home)])
    apply(update(networks: [Self.home]))
    #expect(allowed(1) == [prefix, derived(1, Self.home)] && allowed(3) == [derived(3, Self.home)])
    apply(update(networks: []))
    #expect(allowed(1) == [prefix] && allowed(2) == [] && allowed(3) == [])
    apply(update(peer(4)))
    #expect(allowed(4) == [])
  }

  @Test func `stay when allowed IPs are replaced or taken away`() {
    apply(update(peer(1), peer(2), networks: [DerivedAddress.linkLocalNetwork]))
    apply(update(peer(1, .add(prefix), replaces: true)))
    #expect(allowed(1) == [prefix, derived(1)])
    apply(update(peer(1, .remove(derived(1)))))
    #expect(allowed(1) == [prefix, derived(1)])
    apply(update(peer(3), replacing: true))
    #expect(device.status().peers.count == 1 && allowed(3).contains(derived(3)))
  }

  @Test func `come with the groups of the link for the only peer`() {
    apply(update(peer(1), networks: [DerivedAddress.linkLocalNetwork]))
    #expect(allowed(1) == [derived(1), groups])
    apply(update(peer(1, .add(prefix), replaces: true)))
    #expect(allowed(1) == [prefix, derived(1), groups])
    apply(update(peer(2)))
    #expect(allowed(1) == [prefix, derived(1)] && allowed(2) == [derived(2)])
    apply(update(removal(1)))
    #expect(allowed(2) == [derived(2), groups])
    apply(update(peer(3, .add(groups))))
    #expect(allowed(2) == [derived(2)] && allowed(3) == [derived(3), groups])
    apply(update(networks: [Self.home]))
    #expect(allowed(3) == [derived(3, Self.home), groups], "what a peer was given is its own")
  }

  @Test func `contradict an update that gives one peer's to another, or to the device's own peer`() throws {
    let own = PrivateKey(bytes: [UInt8](repeating: 9, count: 32).span.bytes)!
    var first = update(peer(1), peer(2), networks: [DerivedAddress.linkLocalNetwork])
    first.privateKey = .set(own)
    #expect(!device.contradictsKeys(first))
    apply(first)
    #expect(device.contradictsKeys(update(peer(1, .add(derived(2))))))
    #expect(device.contradictsKeys(update(peer(5, .add(derived(1))))))
    #expect(device.contradictsKeys(update(peer(5, .add(derived(6))), peer(6))))
    let mine = DerivedAddress.prefix(
      of: DerivedAddress.interfaceIdentifier(of: own.publicKey), in: DerivedAddress.linkLocalNetwork)
    #expect(device.contradictsKeys(update(peer(1, .add(mine)))))
    #expect(device.contradictsKeys(update(peer(1, .add(derived(2, Self.home))), networks: [Self.home])))
    // One that is gone has none, a wider prefix is no address, and without networks there is nothing to contradict.
    for harmless in [
      update(removal(2), peer(1, .add(derived(2)))), update(peer(1, .add(derived(1)))),
      update(peer(1, .add(IPPrefix(derived(2).address, length: 127)))), update(peer(1, .add(derived(2, Self.home)))),
      update(peer(3, .add(derived(2))), replacing: true), update(peer(1, .add(derived(2))), networks: []),
    ] {
      #expect(!device.contradictsKeys(harmless), "\(harmless.peers)")
    }
  }

  @Test func `a handshake that is asked for starts once, and without traffic`() {
    var first = peer(1)
    first.endpoint = Endpoint(address: .v4(0x7f00_0001), port: 9)
    var change = update(first)
    change.privateKey = .set(PrivateKey(bytes: [UInt8](repeating: 9, count: 32).span.bytes)!)
    apply(change)
    device.comeUp(now: now)
    _ = device.takeActions()
    var asked = PeerUpdate(key(1))
    asked.startsHandshake = true
    func sent() -> Int {
      device.takeActions().count { if case .send = $0 { true } else { false } }
    }
    apply(update(asked))
    #expect(sent() == 1)
    apply(update(asked))
    #expect(sent() == 0)
  }
}
