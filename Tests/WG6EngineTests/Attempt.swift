import Foundation
import Testing
import WG6Linux

/// A program's try to send a datagram, or to connect.
struct Attempt: Sendable {
  var to: String
  var port: UInt16 = 9
  var from: UInt16 = 0
  var mark: UInt32 = 0
  /// An interface to leave by, whatever the routes say.
  var through: String?
  var isStream = false

  /// The error number that the program sees: 0 where all is well, `EINPROGRESS` for a connection that gets no answer.
  func carriedOut(in namespace: NetworkNamespace) throws -> Int32 {
    try namespace.inside {
      let isIPv6 = to.contains(":")
      let kind = Int32((isStream ? SOCK_STREAM : SOCK_DGRAM).rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      let socket = socket(isIPv6 ? AF_INET6 : AF_INET, kind, 0)
      defer { close(socket) }
      func set(_ option: Int32, _ value: some Any) throws {
        let result = withUnsafeBytes(of: value) {
          setsockopt(socket, SOL_SOCKET, option, $0.baseAddress, socklen_t($0.count))
        }
        try #require(result == 0, "option \(option): \(errno)")
      }
      // A program that another test starts has an earlier socket too, for a moment, and with it the port.
      try set(SO_REUSEADDR, UInt32(1))
      try set(SO_BROADCAST, UInt32(1))
      try set(SO_SNDTIMEO, timeval(tv_sec: 2, tv_usec: 0))
      if mark != 0 { try set(SO_MARK, mark) }
      if let through {
        let result = setsockopt(socket, SOL_SOCKET, SO_BINDTODEVICE, through, socklen_t(through.utf8.count))
        try #require(result == 0)
      }
      if from != 0 {
        try #require(withAddress(isIPv6 ? "::" : "0.0.0.0", from) { bind(socket, $0, $1) } == 0)
      }
      let result = try withAddress(to, port) { address, length in
        isStream ? connect(socket, address, length) : Int32(sendto(socket, "x", 1, 0, address, length))
      }
      return result < 0 ? errno : 0
    }
  }
}

/// A program's try to send an ICMPv6 message of 24 zero bytes behind its header, by a raw socket.
struct ICMPv6Attempt: Sendable {
  var type: UInt8
  var to: String
  var hopLimit: Int32
  /// The interface to leave by.
  var through: String

  /// The error number that the program sees: 0 where all is well.
  func carriedOut(in namespace: NetworkNamespace) throws -> Int32 {
    try namespace.inside {
      let socket = socket(AF_INET6, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), Int32(IPPROTO_ICMPV6))
      try #require(socket >= 0)
      defer { close(socket) }
      let bound = setsockopt(socket, SOL_SOCKET, SO_BINDTODEVICE, through, socklen_t(through.utf8.count))
      try #require(bound == 0)
      for option in [IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS] {
        var value = hopLimit
        try #require(setsockopt(socket, Int32(IPPROTO_IPV6), Int32(option), &value, 4) == 0)
      }
      let message = [type] + [UInt8](repeating: 0, count: 23)
      let result = try withAddress(to, 0) { sendto(socket, message, message.count, 0, $0, $1) }
      return result < 0 ? errno : 0
    }
  }
}

/// Somebody to whom datagrams are sent.
final class Receiver: Sendable {
  let port: UInt16
  private let descriptor: OwnedDescriptor

  init(on address: String, port wanted: UInt16 = 0, in namespace: NetworkNamespace) throws {
    let isIPv6 = address.contains(":")
    let (socket, port) = try namespace.inside { () -> (Int32, UInt16) in
      let socket = Glibc.socket(
        isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      var one: Int32 = 1
      try #require(setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, 4) == 0)
      try #require(withAddress(address, wanted) { bind(socket, $0, $1) } == 0)
      var name = sockaddr_in6()
      var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      let result = withUnsafeMutablePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &length) }
      }
      try #require(result == 0)
      // The port is at the same place in both families' names.
      return (socket, UInt16(bigEndian: name.sin6_port))
    }
    descriptor = OwnedDescriptor(socket)
    self.port = port
  }

  /// Whether a datagram is there, or comes within `seconds`.
  func hasReceived(within seconds: Double) -> Bool {
    var question = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    return poll(&question, 1, Int32(seconds * 1000)) > 0
  }

  /// Takes what is there, and says how many datagrams that were.
  func takeAll() -> Int {
    var byte: UInt8 = 0
    var count = 0
    while recv(descriptor.rawValue, &byte, 1, Int32(MSG_DONTWAIT)) >= 0 { count += 1 }
    return count
  }
}

/// Lends `text` and `port` as a socket's name.
private func withAddress<Result>(
  _ text: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) throws -> Result {
  func lend<Name>(_ name: Name) -> Result {
    withUnsafePointer(to: name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Name>.size)) }
    }
  }
  if text.contains(":") {
    var name = sockaddr_in6()
    name.sin6_family = sa_family_t(AF_INET6)
    name.sin6_port = port.bigEndian
    try #require(inet_pton(AF_INET6, text, &name.sin6_addr) == 1)
    return lend(name)
  }
  var name = sockaddr_in()
  name.sin_family = sa_family_t(AF_INET)
  name.sin_port = port.bigEndian
  try #require(inet_pton(AF_INET, text, &name.sin_addr) == 1)
  return lend(name)
}
