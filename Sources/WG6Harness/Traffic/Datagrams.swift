import CHarness
import Foundation

/// A UDP socket of this process inside a host of the lab.
final class DatagramSocket: Sendable {
  let descriptor: Int32

  /// Binds a socket in `host`'s namespace. Address and port may be left open as `0.0.0.0` and 0.
  init(on host: Host, address: String, port: Int) throws {
    descriptor = try host.socket(family: address.contains(":") ? AF_INET6 : AF_INET, type: SOCK_DGRAM)
    var space = 1 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &space, socklen_t(MemoryLayout<Int32>.size))
    let code = try SocketAddress(address, port).withPointer { bind(descriptor, $0, $1) }
    guard code == 0 else { throw SystemFailure("bind \(address) port \(port) on \(host.name)") }
  }

  deinit { close(descriptor) }

  /// Sends a datagram. A full buffer or an unreachable receiver is no error: that is the network's way.
  func send(_ bytes: [UInt8], to target: SocketAddress) {
    _ = target.withPointer { address, length in
      bytes.withUnsafeBytes { sendto(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT), address, length) }
    }
  }

  /// The next datagram and its sender; `nil` when none comes within `seconds`.
  func receive(within seconds: Double) -> (bytes: [UInt8], from: SocketAddress)? {
    var question = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&question, 1, Int32(seconds * 1000)) > 0 else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) { buffer in
      var sender = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let count = withUnsafeMutablePointer(to: &sender) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT), $0, &length)
        }
      }
      guard count >= 0 else { return nil }
      return (Array(buffer[..<count]), SocketAddress(storage: sender, length: length))
    }
  }
}

/// An IPv4 or IPv6 address and a port, as the socket calls want it.
struct SocketAddress: Sendable {
  private var storage = sockaddr_storage()
  private var length: socklen_t

  init(_ address: String, _ port: Int) throws {
    let code: Int32
    if address.contains(":") {
      var v6 = sockaddr_in6()
      v6.sin6_family = sa_family_t(AF_INET6)
      v6.sin6_port = UInt16(port).bigEndian
      code = inet_pton(AF_INET6, address, &v6.sin6_addr)
      length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: v6, as: sockaddr_in6.self) }
    } else {
      var v4 = sockaddr_in()
      v4.sin_family = sa_family_t(AF_INET)
      v4.sin_port = UInt16(port).bigEndian
      code = inet_pton(AF_INET, address, &v4.sin_addr)
      length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: v4, as: sockaddr_in.self) }
    }
    guard code == 1 else { throw SystemFailure("read the address \(address)") }
  }

  var isIPv6: Bool { storage.ss_family == sa_family_t(AF_INET6) }

  /// The address's 4 or 16 bytes.
  var bytes: [UInt8] {
    withUnsafeBytes(of: storage) { Array($0[isIPv6 ? 8..<24 : 4..<8]) }
  }

  init(storage: sockaddr_storage, length: socklen_t) {
    self.storage = storage
    self.length = length
  }

  func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafePointer(to: storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}
