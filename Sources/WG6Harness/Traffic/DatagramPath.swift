import CHarness
import Foundation
import Synchronization

/// Datagrams of one size from one host to another at a steady pace, counted where they arrive: how much a path carries.
///
/// The sender is a thread that hands the kernel up to 64 datagrams a call, as many as its pace says. On a bare veth pair
/// it outruns iperf3 by far. A sender that got no processor for a while goes on from where it is, without a burst.
final class DatagramPath {
  private let sender: Int32
  private let receiver: Int32
  private let flows: Int
  private static let trials = Atomic(UInt(0))

  /// What one trial showed.
  struct Trial: Sendable {
    let sent: Int
    let received: Int
    let seconds: Double
    /// Milliseconds that the flows' datagrams were under way.
    var delays: [Double] = []
    /// Datagrams a second that arrived.
    var rate: Double { Double(received) / seconds }
    /// The share that did not arrive.
    var loss: Double { sent > 0 ? max(0, 1 - Double(received) / Double(sent)) : 1 }
  }

  /// Opens a socket at each end; `target` is an address of `receiver`'s. With `flows`, which are of IPv4, the datagrams
  /// come from so many ports in turn, so that no two neighbours belong together.
  init(from sender: Host, to receiver: Host, target: String, port: Int = 9000, flows: Int = 0) throws {
    let family = target.contains(":") ? AF_INET6 : AF_INET
    self.flows = flows
    self.receiver = try receiver.socket(family: family, type: SOCK_DGRAM)
    self.sender = try sender.socket(
      family: family, type: flows > 0 ? SOCK_RAW : SOCK_DGRAM, transport: Int32(IPPROTO_UDP))
    // What waits here when the receiver's thread has no processor for a moment was carried.
    var room: Int32 = 64 << 20
    setsockopt(self.receiver, SOL_SOCKET, SO_RCVBUFFORCE, &room, socklen_t(MemoryLayout<Int32>.size))
    let address = try SocketAddress(target, port)
    guard address.withPointer({ bind(self.receiver, $0, $1) }) == 0 else { throw SystemFailure("bind \(target)") }
    guard address.withPointer({ connect(self.sender, $0, $1) }) == 0 else { throw SystemFailure("connect \(target)") }
  }

  deinit {
    close(sender)
    close(receiver)
  }

  /// Sends datagrams of `size` bytes, `rate` a second, for so many seconds, and waits until no more arrive.
  ///
  /// With `run` the kernel is handed so many at once and cuts them itself, as from a program that uses UDP_SEGMENT.
  func trial(size: Int, run: Int = 1, rate: Double, seconds: Double) throws -> Trial {
    var segment = Int32(run > 1 ? size : 0)
    guard
      setsockopt(sender, Int32(IPPROTO_UDP), Int32(HARNESS_UDP_SEGMENT), &segment, socklen_t(MemoryLayout<Int32>.size))
        == 0
    else { throw SystemFailure("have the kernel cut datagrams") }
    return trial(sizes: [size], run: run, rate: rate, seconds: seconds)
  }

  /// The same of several sizes in turn, and with the times that the first `delays` datagrams were under way. Both are for
  /// a path of flows.
  func trial(sizes: [Int], run: Int = 1, rate: Double, seconds: Double, delays: Int = 0) -> Trial {
    let number = Self.trials.wrappingAdd(1, ordering: .relaxed).newValue
    let table = UnsafeMutableBufferPointer<Int>.allocate(capacity: sizes.count)
    _ = table.initialize(from: sizes)
    let times = UnsafeMutableBufferPointer<Double>.allocate(capacity: delays)
    defer {
      table.deallocate()
      times.deallocate()
    }
    let load = Shared(
      harness_load(
        socket: sender, trial: number, sizes: table.baseAddress, size_count: Int32(sizes.count), flows: Int32(flows),
        run: Int32(run), rate: rate, duration: Int(seconds * 1e9), sent: 0, elapsed: 0))
    let count = Shared(
      harness_count(
        socket: receiver, trial: number, size: sizes.count > 1 ? 0 : sizes[0], delays: times.baseAddress,
        delay_count: delays, stops: 0, received: 0))
    let counting = Background { harness_count_load(count.memory) }
    Background { harness_send_load(load.memory) }.join()
    // 50 ms of silence; what is still under way then waits in no queue.
    var before = -1
    for _ in 0..<40 where harness_received(count.memory) != before {
      before = harness_received(count.memory)
      usleep(50_000)
    }
    harness_stop_counting(count.memory)
    counting.join()
    let received = harness_received(count.memory)
    return Trial(
      sent: load.memory.pointee.sent, received: received, seconds: Double(load.memory.pointee.elapsed) / 1e9,
      delays: Array(times.prefix(received)))
  }
}
