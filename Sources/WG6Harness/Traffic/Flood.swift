import CHarness
import Foundation

/// An attacker's datagrams, sent from a host at a steady pace by a thread of its own, prebuilt so that the attacker costs
/// the machine as little as possible.
final class Flood: @unchecked Sendable {
  /// Where the datagrams say they come from.
  enum Sources: Sendable {
    /// From the attacker's own address and one port.
    case one
    /// From a socket that the attacker has spoken from before.
    case socket(DatagramSocket)
    /// From `count` addresses under a prefix of whole bytes, written as an address, and from 16 ports.
    case many(under: String, prefixBytes: Int, count: Int)
  }

  /// What was sent in the end.
  struct Report {
    let datagrams: Int
    let bytes: Int
    let seconds: Double
    var rate: Int { Int(Double(datagrams) / seconds) }
  }

  // Everything here is made in init, read by the flood's thread, and freed after that has ended.
  private let sockets: [Int32]
  private let plan: UnsafeMutablePointer<harness_flood>
  private var owned: [UnsafeMutableRawPointer] = []
  private let target: SocketAddress
  private let ended = DispatchSemaphore(value: 0)
  private let start = Clock.seconds

  /// Starts to send `datagrams`, over and over again, at `rate` a second; `limit` of them at most, where it is not 0.
  init(
    from host: Host, to target: SocketAddress, _ datagrams: [[UInt8]], sources: Sources = .one, rate: Int,
    limit: Int = 0, random: inout SeededGenerator
  ) throws {
    precondition(!datagrams.isEmpty)
    self.target = target
    let isIPv6 = target.isIPv6
    let make = { try host.socket { harness_spoofing_socket(isIPv6 ? 1 : 0) } }
    switch sources {
    case .one: sockets = [try make()]
    case .socket(let socket): sockets = [dup(socket.descriptor)]
    case .many: sockets = try (0..<16).map { _ in try make() }
    }
    plan = .allocate(capacity: 1)
    plan.initialize(to: harness_flood())
    plan.pointee.sockets = UnsafePointer(keep(sockets))
    plan.pointee.socket_count = Int32(sockets.count)
    plan.pointee.datagrams = UnsafePointer(keep(datagrams.map { iovec(iov_base: keep($0), iov_len: $0.count) }))
    plan.pointee.datagram_count = Int32(datagrams.count)
    if case .many(let prefix, let prefixBytes, let count) = sources {
      let fixed = try SocketAddress(prefix, 0).bytes
      let addresses = (0..<count).flatMap { _ -> [UInt8] in
        let address =
          fixed.prefix(prefixBytes)
          + (prefixBytes..<fixed.count).map { _ in UInt8.random(in: 1...254, using: &random) }
        return Array((address + [UInt8](repeating: 0, count: 16)).prefix(16))
      }
      plan.pointee.sources = UnsafeRawPointer(keep(addresses)).assumingMemoryBound(to: in6_addr.self)
      plan.pointee.source_count = Int32(count)
    }
    plan.pointee.rate = rate
    plan.pointee.limit = limit
    let thread = Thread { [self] in
      self.target.withPointer { address, length in
        plan.pointee.target = address
        plan.pointee.target_length = length
        harness_send_flood(plan)
      }
      ended.signal()
    }
    thread.start()
  }

  deinit {
    for socket in sockets { close(socket) }
    for memory in owned { memory.deallocate() }
    plan.deallocate()
  }

  /// Datagrams that the network took so far.
  var sent: Int { harness_sent(plan) }

  /// Ends it.
  func stop() -> Report {
    harness_stop(plan)
    return finish()
  }

  /// Waits until a flood with a limit has sent all.
  func finish() -> Report {
    ended.wait()
    defer { ended.signal() }
    return Report(datagrams: sent, bytes: harness_sent_bytes(plan), seconds: Clock.seconds - start)
  }

  /// A copy that lives as long as the flood.
  private func keep<Element>(_ array: [Element]) -> UnsafeMutablePointer<Element> {
    let copy = UnsafeMutablePointer<Element>.allocate(capacity: max(array.count, 1))
    copy.initialize(from: array, count: array.count)
    owned.append(UnsafeMutableRawPointer(copy))
    return copy
  }
}
