import Glibc
import Testing
import WG6Protocol

@testable import WG6Linux

@Suite struct `The source of outer datagrams` {
  private let uplink: UInt32 = 2, other: UInt32 = 3, tunnel: UInt32 = 9
  private let global = IPAddress.v6(high: 0x2001_0DB8_0100_0000, low: 2)
  private let spare = IPAddress.v6(high: 0x2001_0DB8_0200_0000, low: 2)
  private let linkLocal = IPAddress.v6(high: 0xFE80_0000_0000_0000, low: 2)
  private let unique = IPAddress.v6(high: 0xFD10_0000_0000_0000, low: 2)
  private let remote = IPAddress.v6(high: 0x2001_0DB8_0100_0000, low: 1)

  /// Sources that can stand in an expectation.
  private final class Machine {
    private let sources = OuterSources()

    func isChecked(_ path: PackedPath) -> Bool { sources.isChecked(path) }
    func check(_ path: PackedPath) -> PackedPath? { sources.check(path) }
    func change() { sources.machineChanged() }
    func set(_ addresses: [LocalAddress], tunnel: UInt32) { sources.setAddresses(addresses, tunnel: tunnel) }
  }

  private func best(_ addresses: LocalAddress..., for remote: IPAddress? = nil) -> IPAddress? {
    OuterSources.best(of: addresses, for: remote ?? self.remote, leavingBy: uplink)?.address
  }

  @Test func `is chosen as RFC 6724 says`() {
    let onUplink = LocalAddress(global, interface: uplink), elsewhere = LocalAddress(spare, interface: other)
    let old = LocalAddress(global, interface: uplink, isDeprecated: true)
    let link = LocalAddress(linkLocal, interface: uplink)
    #expect(best(elsewhere, onUplink, link) == global, "the interface's own")
    #expect(best(old, elsewhere) == spare, "none that is deprecated, if there is another")
    #expect(best(old, link) == global, "a deprecated one rather than one of a smaller scope")
    #expect(best(link) == linkLocal, "what there is")
    #expect(best(LocalAddress(linkLocal, interface: other)) == nil, "no other link's")
    #expect(best(LocalAddress(unique, interface: uplink), onUplink) == global)
    let neighbour = IPAddress.v6(high: 0xFE80_0000_0000_0000, low: 9)
    #expect(best(onUplink, link, for: neighbour) == linkLocal)
    #expect(best(LocalAddress(.v6(high: 0, low: 1), interface: 1)) == nil, "no loopback address")
    #expect(best(LocalAddress(.v4(0x0A01_0001), interface: uplink)) == nil, "of the same family")
    let v4 = IPAddress.v4(0xC633_6401)
    #expect(
      best(LocalAddress(.v4(0x7F00_0001), interface: 1), LocalAddress(.v4(0x0A01_0001), interface: other), for: v4)
        == .v4(0x0A01_0001))
  }

  @Test func `is checked once, and again after a change of addresses or routes`() throws {
    let machine = Machine()
    let path = PackedPath(
      Path(to: Endpoint(address: remote, port: 51820), from: global, sourceInterface: uplink))
    #expect(!machine.isChecked(path))
    let checked = try #require(machine.check(path))
    #expect(machine.isChecked(checked) && checked == path && checked.source == path.source)
    machine.change()
    #expect(!machine.isChecked(checked))
    #expect(!machine.isChecked(checked.withoutSource))
  }

  @Test func `is no address that the tunnel alone has`() throws {
    let machine = Machine()
    let here = IPAddress.v4(0x7F00_0001)
    let path = { (source: IPAddress) in
      PackedPath(Path(to: Endpoint(address: here, port: 51820), from: source, sourceInterface: 1))
    }
    let inner = IPAddress.v4(0x0A42_0001)
    machine.set(
      [LocalAddress(inner, interface: tunnel), LocalAddress(here, interface: 1)], tunnel: tunnel)
    // The kernel's own choice, loopback's address, will do.
    #expect(try !#require(machine.check(path(inner))).hasSource)
    #expect(try #require(machine.check(path(here))).source == here.bits)
    machine.set(
      [LocalAddress(inner, interface: tunnel), LocalAddress(inner, interface: uplink)], tunnel: tunnel)
    #expect(try #require(machine.check(path(inner))).source == inner.bits, "another interface has it as well")
    // All that the kernel could choose is the tunnel's.
    machine.set([LocalAddress(here, interface: tunnel)], tunnel: tunnel)
    #expect(machine.check(path(here)) == nil)
    machine.set(
      [LocalAddress(here, interface: tunnel), LocalAddress(.v4(0x7F00_0002), interface: 1)], tunnel: tunnel)
    let chosen = try #require(machine.check(path(here)))
    #expect(chosen.source == IPAddress.v4(0x7F00_0002).bits && chosen.isChosen && machine.isChecked(chosen))
    // A way through the tunnel itself. Loopback stands for it here.
    machine.set([LocalAddress(here, interface: 1)], tunnel: 1)
    #expect(try #require(machine.check(path(here))).source == here.bits)
    // Its choice can be used again, and the one in its place is forgotten.
    machine.set([LocalAddress(inner, interface: tunnel)], tunnel: tunnel)
    #expect(try !#require(machine.check(chosen)).hasSource)
  }
}
