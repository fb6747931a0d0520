import CLinux
import Glibc
import Testing
import WG6Protocol

@testable import WG6Linux

@Suite(
  "A forged ICMP error about a path's MTU", .enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence))
struct ForgedPathMTUTests {
  private let here = try! NetworkNamespace()
  private let there = try! NetworkNamespace()
  private let own = IPAddress.v4(0x0A07_0001), other = IPAddress.v4(0x0A07_0002)

  private func connect() throws {
    try here.ip("link add v0 type veth peer name v1 netns \(there.name)")
    for (namespace, link, address) in [(here, "v0", "10.7.0.1/24"), (there, "v1", "10.7.0.2/24")] {
      try namespace.ip("address add \(address) dev \(link)")
      try namespace.ip("link set \(link) up")
    }
  }

  /// Sends the error from the other end, about a packet of `transport` that begins with `head`.
  private func forge(_ transport: UInt8, _ head: [UInt8]) throws {
    let target = own
    try there.inside {
      let socket = socket(AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_ICMP))
      defer { close(socket) }
      let quote: [UInt8] =
        [0x45, 0, 5, 0xDC, 0, 1, 0, 0, 64, transport, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2] + head
      var message: [UInt8] = [3, 4, 0, 0, 0, 0, 2, 0x28] + quote
      var sum: UInt32 = 0
      for (index, byte) in message.enumerated() { sum += UInt32(byte) << (index.isMultiple(of: 2) ? 8 : 0) }
      while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
      message[2] = UInt8(~sum >> 8 & 0xFF)
      message[3] = UInt8(~sum & 0xFF)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(target.bits.high >> 32).bigEndian
      let sent = withUnsafePointer(to: address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(socket, message, message.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      #expect(sent == message.count)
    }
  }

  @Test func `makes no datagram of a tunnel go in fragments, nor a tunnel's MTU small`() throws {
    try connect()
    let sender = try here.inside { try Correspondent(.gso) }
    let receiver = try there.inside { try Correspondent(.gro) }
    let path = PackedPath(Path(to: Endpoint(address: other, port: receiver.port)))
    let netlink = try here.inside { Netlink(socket: try NetlinkSocket()) }
    var random = SystemRandomNumberGenerator()
    let run = Run(14_520, by: 1452, &random)
    let fragments = try here.fragmentsMade()

    // About the tunnel's own datagram: the kernel does not even learn it.
    let ports = [sender.port, receiver.port].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
    try forge(17, ports + [5, 0xC8, 0, 0])
    usleep(100_000)
    #expect(netlink.learnedMTU(along: path) == nil)
    #expect(sender.send([run], along: path).count == 10)
    #expect(receiver.receive(10, isIPv6: false).count == 10)

    // About an echo reply, which any program of the machine, or none, may have sent.
    try forge(1, [0, 0, 0, 0, 0, 1, 0, 1])
    usleep(100_000)
    #expect(netlink.learnedMTU(along: path) == 552, "the kernel believes it")
    #expect(sender.send([run], along: path).count == 10)
    #expect(receiver.receive(10, isIPv6: false).count == 10)
    #expect(try here.fragmentsMade() == fragments)
    #expect(sender.sendsWhole(1452, along: path))
    #expect(netlink.routeMTU(to: other) == 1500)
    try here.ip("route add 10.7.0.2 dev v0 mtu 1400")
    #expect(netlink.routeMTU(to: other) == 1400, "what stands in the table counts")
  }

  /// A netlink socket of another namespace that can be carried over.
  private final class Netlink: @unchecked Sendable {
    private let socket: NetlinkSocket

    init(socket: consuming NetlinkSocket) { self.socket = socket }

    func learnedMTU(along path: PackedPath) -> Int? { socket.route(along: path, mark: 0)?.mtu }
    func routeMTU(to address: IPAddress) -> Int? { socket.routeMTU(to: address, mark: 0) }
  }
}

extension NetworkNamespace {
  /// IPv4 fragments that were made here so far.
  fileprivate func fragmentsMade() throws -> Int {
    try inside {
      let descriptor = open("/proc/thread-self/net/snmp", O_RDONLY | O_CLOEXEC)
      defer { close(descriptor) }
      var bytes = [UInt8](repeating: 0, count: 16384)
      let count = read(descriptor, &bytes, bytes.count)
      let lines = String(decoding: bytes[..<max(0, count)], as: UTF8.self).split(separator: "\n")
      let rows = lines.filter { $0.hasPrefix("Ip:") }.map { $0.split(separator: " ") }
      let column = try #require(rows.first?.firstIndex(of: "FragCreates"))
      return try #require(Int(rows[1][column]))
    }
  }
}
