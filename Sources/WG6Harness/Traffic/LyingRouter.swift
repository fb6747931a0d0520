import CHarness
import Foundation

/// A host that sends what a router may say about a link: advertisements, and redirects of both families.
struct LyingRouter {
  let host: Host
  let interface: String

  /// Its address on the link.
  static let address = "fe80::1"

  init(on host: Host, _ interface: String) throws {
    (self.host, self.interface) = (host, interface)
    try host.ip("address", "add", "\(Self.address)/64", "dev", interface, "nodad")
  }

  /// A default route for 1,800 s, hop limit 9, MTU 1,300, the prefix 2001:db8:9::/64 that is on-link and for addresses, and
  /// a route to 2001:db8:7::/48 (RFC 4861 §4.2, RFC 4191 §2.3).
  func advertise(to target: String) throws {
    let hour: [UInt8] = [0, 0, 0x0e, 0x10]
    let zeros = [UInt8](repeating: 0, count: 8)
    let prefix: [UInt8] = [3, 4, 64, 0xc0] + hour + hour + [0, 0, 0, 0] + [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0] + zeros
    let route: [UInt8] = [24, 2, 48, 0] + hour + [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0]
    try sendICMPv6([134, 0, 0, 0, 9, 0, 7, 8] + zeros + [5, 1, 0, 0, 0, 0, 5, 0x14] + prefix + route, to: target)
  }

  /// Says that `destination` is on this very link (RFC 4861 §4.5).
  func redirect(_ destination: String, to target: String) throws {
    let bytes = try SocketAddress(destination, 0).bytes
    try sendICMPv6([137, 0, 0, 0, 0, 0, 0, 0] + bytes + bytes, to: target)
  }

  /// In the name of `gateway`, says that `destination` is reached by another router, about a datagram between the ports
  /// 51820 of `outer` and `destination` (RFC 792).
  func redirect(_ destination: String, by router: String, from gateway: String, outer: String, to target: String) throws
  {
    func bytes(_ address: String) throws -> [UInt8] { try SocketAddress(address, 0).bytes }
    func header(_ transport: UInt8, _ length: UInt8, _ from: String, _ to: String) throws -> [UInt8] {
      [0x45, 0, 0, length, 0, 9, 0, 0, 64, transport, 0, 0] + (try bytes(from)) + (try bytes(to))
    }
    let port: [UInt8] = [0xca, 0x6c]
    let about = try header(17, 36, outer, destination) + port + port + [0, 16, 0, 0]
    let message = [5, 1, 0, 0] + (try bytes(router)) + about
    try send(
      try header(1, UInt8(20 + message.count), gateway, target) + InternetSum.filled(message, at: 2), to: target,
      family: AF_INET, transport: Int32(IPPROTO_RAW))
  }

  /// The kernel fills in the checksum.
  private func sendICMPv6(_ message: [UInt8], to target: String) throws {
    try send(message, to: target, family: AF_INET6, transport: Int32(IPPROTO_ICMPV6))
  }

  private func send(_ bytes: [UInt8], to target: String, family: Int32, transport: Int32) throws {
    let descriptor = try host.socket(family: family, type: SOCK_RAW, transport: transport)
    defer { close(descriptor) }
    var hops: Int32 = 255
    if family == AF_INET6 {
      setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_UNICAST_HOPS, &hops, socklen_t(MemoryLayout<Int32>.size))
    }
    // A link-local address is only one together with its link.
    setsockopt(descriptor, SOL_SOCKET, SO_BINDTODEVICE, interface, socklen_t(interface.utf8.count))
    if family == AF_INET6 {
      let code = try SocketAddress(Self.address, 0).withPointer { bind(descriptor, $0, $1) }
      guard code == 0 else { throw SystemFailure("bind \(Self.address) on \(host.name)") }
    }
    let count = try SocketAddress(target, 0).withPointer { sendto(descriptor, bytes, bytes.count, 0, $0, $1) }
    guard count == bytes.count else { throw SystemFailure("send to \(target) from \(host.name)") }
  }
}

/// The checksum of the Internet protocols (RFC 1071).
enum InternetSum {
  static func of(_ bytes: [UInt8]) -> UInt16 {
    var sum = stride(from: 0, to: bytes.count, by: 2).reduce(UInt32(0)) {
      $0 + UInt32(bytes[$1]) << 8 + UInt32($1 + 1 < bytes.count ? bytes[$1 + 1] : 0)
    }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return ~UInt16(sum)
  }

  /// `bytes` with their checksum at `offset`, where they have zeros.
  static func filled(_ bytes: [UInt8], at offset: Int) -> [UInt8] {
    var bytes = bytes
    let sum = of(bytes)
    (bytes[offset], bytes[offset + 1]) = (UInt8(sum >> 8), UInt8(sum & 255))
    return bytes
  }
}
