import CLinux
import Glibc
import WG6Linux
import WG6Protocol

@testable import WG6Linux

/// Someone with `UDPSockets`, for tests: sends runs and tells what arrived.
final class Correspondent: @unchecked Sendable {
  let sockets: UDPSockets
  let port: UInt16
  /// What of the wanted the kernel has.
  let offloads: Offloads

  init(_ wanted: Offloads = []) throws {
    sockets = try UDPSockets()
    let opened = try sockets.open(port: 0, mark: 0, offloads: wanted)
    port = opened.port
    offloads = opened.offloads
  }

  func sendsWhole(isIPv6: Bool) -> Bool { sockets.sendsRunsWhole(isIPv6: isIPv6) }
  func sendsWhole(_ size: Int, along path: PackedPath) -> Bool { sockets.wholeSending.allows(size, along: path) }

  func send(_ runs: [Run], along path: PackedPath, patience: Int32 = 100) -> UDPSockets.Sent {
    var bytes = runs.flatMap(\.bytes)
    return bytes.withUnsafeMutableBytes { bytes in
      var start = bytes.baseAddress!
      var described: [DatagramRun] = []
      for run in runs {
        described.append(DatagramRun(base: start, byteCount: run.bytes.count, segmentSize: run.size))
        start += run.bytes.count
      }
      return described.withUnsafeMutableBufferPointer { sockets.send($0, along: path, patience: patience) }
    }
  }

  /// What arrives until there are `count` datagrams, and what is there then; what is there after two seconds if they are
  /// never as many.
  func receive(_ count: Int, isIPv6: Bool, capacity: Int = 65536) -> [Arrival] {
    var arrivals: [Arrival] = []
    var waiting = pollfd(fd: sockets.descriptor(isIPv6: isIPv6), events: Int16(POLLIN), revents: 0)
    while arrivals.count < count, poll(&waiting, 1, 2000) > 0 {
      let batch = receiveBatch(isIPv6: isIPv6, capacity: capacity)
      if batch.isEmpty { break }
      arrivals += batch
    }
    return arrivals + receiveBatch(isIPv6: isIPv6, capacity: capacity)
  }

  private func receiveBatch(isIPv6: Bool, capacity: Int) -> [Arrival] {
    withUnsafeTemporaryAllocation(byteCount: 8 * capacity, alignment: 16) { buffer in
      var messages: [linux_datagram] = (0..<8).map { index in
        var message = linux_datagram()
        message.buffer = buffer.baseAddress! + index * capacity
        message.capacity = UInt32(capacity)
        // What an earlier call has left there.
        message.segment_size = 4711
        message.is_truncated = 1
        return message
      }
      let count = linux_receive(sockets.descriptor(isIPv6: isIPv6), isIPv6 ? 1 : 0, &messages, 8)
      guard count > 0 else { return [] }
      return messages.prefix(Int(count)).flatMap { Arrival.all(of: $0, isIPv6: isIPv6) }
    }
  }
}

/// Datagrams to be sent together.
struct Run {
  let bytes: [UInt8]
  let size: Int

  init(bytes: [UInt8], size: Int) {
    self.bytes = bytes
    self.size = size
  }

  init(_ byteCount: Int, by size: Int, _ random: inout some RandomNumberGenerator) {
    bytes = Array(unsafeUninitializedCapacity: byteCount + 8) { buffer, count in
      for offset in stride(from: 0, to: byteCount, by: 8) {
        UnsafeMutableRawBufferPointer(buffer).storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
      }
      count = byteCount
    }
    self.size = size
  }

  var datagrams: [[UInt8]] {
    stride(from: 0, to: bytes.count, by: size).map { Array(bytes[$0..<min($0 + size, bytes.count)]) }
  }
}

/// A datagram that arrived.
struct Arrival {
  let bytes: [UInt8]
  let path: PackedPath
  let isTruncated: Bool
  /// Whether it came together with others.
  let isMerged: Bool

  static func all(of message: linux_datagram, isIPv6: Bool) -> [Arrival] {
    let bytes = Array(UnsafeRawBufferPointer(start: message.buffer, count: Int(message.length)))
    let size = message.segment_size == 0 ? max(bytes.count, 1) : Int(message.segment_size)
    return stride(from: 0, to: bytes.count, by: size).map {
      Arrival(
        bytes: Array(bytes[$0..<min($0 + size, bytes.count)]), path: message.path.packed(isIPv6: isIPv6),
        isTruncated: message.is_truncated != 0, isMerged: bytes.count > size)
    }
  }
}
