import Testing
import WG6Protocol

@testable import WG6Linux

/// What an ICMP error quotes is looked up among the kernel's connections by these.
@Suite struct `A packet's flow` {
  private let v4: [UInt8] = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 66, 0, 2, 10, 77, 0, 9]
  private let v6: [UInt8] =
    [0x60, 0, 0, 0, 0, 8, 17, 64] + [0xFD, 0x66] + Array(repeating: 0, count: 13) + [2] + [0xFD, 0x77]
    + Array(repeating: 0, count: 13) + [9]

  private func flow(_ packet: [UInt8]) -> Flow? { packet.withUnsafeBytes { Flow($0) } }

  private func withTransport(_ number: UInt8, _ packet: [UInt8], _ rest: [UInt8]) -> [UInt8] {
    var packet = packet
    packet[packet.count == 20 ? 9 : 6] = number
    return packet + rest
  }

  @Test(arguments: [6, 17, 132] as [UInt8])
  func `has the ports of both ends`(transport: UInt8) {
    let ports: [UInt8] = [0x12, 0x34, 0, 80, 0, 0, 0, 0]
    let found = flow(withTransport(transport, v4, ports))
    #expect(found?.source == .v4(0x0A42_0002) && found?.destination == .v4(0x0A4D_0009))
    #expect(found?.transport == transport && found?.ends == .ports(source: 0x1234, destination: 80))
    let other = flow(withTransport(transport, v6, ports))
    #expect(other?.source == .v6(high: 0xFD66 << 48, low: 2) && other?.destination == .v6(high: 0xFD77 << 48, low: 9))
    #expect(other?.ends == .ports(source: 0x1234, destination: 80))
  }

  @Test func `has the identifier of an echo request, and of nothing else of ICMP`() {
    #expect(flow(withTransport(1, v4, [8, 0, 0, 0, 7, 8, 0, 1]))?.ends == .echo(identifier: 0x0708))
    #expect(flow(withTransport(58, v6, [128, 0, 0, 0, 7, 8, 0, 1]))?.ends == .echo(identifier: 0x0708))
    #expect(flow(withTransport(1, v4, [0, 0, 0, 0, 7, 8, 0, 1])) == nil)
    #expect(flow(withTransport(58, v6, [135, 0, 0, 0, 7, 8, 0, 1])) == nil)
    #expect(flow(withTransport(47, v4, []))?.ends == Flow.Ends.none)
  }

  @Test func `stands behind options`() {
    var packet = v4
    packet[0] = 0x46
    #expect(flow(packet + [1, 1, 1, 1] + [0, 9, 0, 10])?.ends == .ports(source: 9, destination: 10))
  }

  @Test func `is none where the packet is cut short, or no packet`() {
    #expect(flow(v4 + [0x12, 0x34, 0]) == nil)
    #expect(flow(Array(v4.dropLast())) == nil && flow(Array(v6.dropLast())) == nil)
    #expect(flow([]) == nil && flow([0x45]) == nil && flow(Array(repeating: 0xFF, count: 60)) == nil)
    var long = v4
    long[0] = 0x4F
    #expect(flow(long + [0, 1, 0, 2]) == nil)
  }
}
