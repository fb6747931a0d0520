import CLinux
import Glibc
import Testing
import WG6Linux
import WG6Protocol

@Suite struct `The kernel's answer to where a datagram would go` {
  private let loopback = if_nametoindex("lo")

  private func path(_ remote: IPAddress, from source: IPAddress? = nil, zone: UInt32 = 0) -> PackedPath {
    PackedPath(Path(to: Endpoint(address: remote, port: 51820, zone: zone), from: source, sourceInterface: 1))
  }

  @Test func `names the loopback interface for this machine's own addresses, time and again`() throws {
    let netlink = try NetlinkSocket()
    for mark in [0, 1] as [UInt32] {
      for _ in 0..<20 {
        #expect(netlink.interfaceLeft(along: path(.v4(0x7F00_0001)), mark: mark) == loopback)
        #expect(netlink.interfaceLeft(along: path(.v4(0x7F00_0001), from: .v4(0x7F00_0002)), mark: mark) == loopback)
        #expect(netlink.interfaceLeft(along: path(.v6(high: 0, low: 1)), mark: mark) == loopback)
      }
    }
  }

  @Test func `is none for a source that is not this machine's, and is right again after that`() throws {
    let netlink = try NetlinkSocket()
    #expect(netlink.interfaceLeft(along: path(.v4(0x7F00_0001), from: .v4(0xC633_6401)), mark: 0) == nil)
    #expect(netlink.interfaceLeft(along: path(.v4(0x7F00_0001)), mark: 0) == loopback)
  }
}
