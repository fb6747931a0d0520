import CHarness
import Foundation

/// Echo requests, each timed: what `ping` does, with every sample and without its printing.
struct RoundTrips {
  /// Milliseconds, the shortest first.
  let milliseconds: [Double]
  let lost: Int

  /// Sends `count` requests, one every `interval` seconds; 0 sends each when the one before was answered.
  init(from host: Host, to target: String, count: Int, every interval: Double) throws {
    let isIPv6 = target.contains(":")
    // Who may open such a socket is for each namespace to say; nobody may by default.
    try host.sysctl(["net.ipv4.ping_group_range": "0 0"])
    let socket = try host.socket(
      family: isIPv6 ? AF_INET6 : AF_INET, type: SOCK_DGRAM,
      transport: Int32(isIPv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
    defer { close(socket) }
    guard try SocketAddress(target, 0).withPointer({ connect(socket, $0, $1) }) == 0 else {
      throw SystemFailure("connect to \(target)")
    }
    let samples = [Double](unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = Int(
        harness_round_trips(
          socket, isIPv6 ? 1 : 0, Int32(count), Int(interval * 1e9), 1_000_000_000, buffer.baseAddress))
    }
    milliseconds = samples.sorted()
    lost = count - samples.count
  }

  init(milliseconds: [Double], lost: Int = 0) {
    self.milliseconds = milliseconds.sorted()
    self.lost = lost
  }

  /// The time that this share of the answers was not slower than (nearest rank).
  func quantile(_ share: Double) -> Double {
    guard !milliseconds.isEmpty else { return .nan }
    let rank = Int((share * Double(milliseconds.count)).rounded(.up))
    return milliseconds[min(max(rank, 1), milliseconds.count) - 1]
  }
}
