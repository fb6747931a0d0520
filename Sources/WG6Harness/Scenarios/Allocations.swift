import Foundation

extension Scenario {
  /// The data path allocates nothing: counted by a library that stands before malloc in both daemons.
  static let allocations = Scenario(
    "allocations", "how often the daemons call malloc during ten thousand pings and gigabits of TCP",
    needs: [.allocationCounter]
  ) { lab in
    let counter = "\(lab.directory)/mallocs"
    let library = try Binaries.path(of: "libmalloc-counter.so")
    let tunnel = try Tunnel(in: lab, environment: ["LD_PRELOAD": library, "WG6_MALLOC_COUNT": counter])
    try tunnel.establish()
    // What warms up once (caches, the first train, the neighbour table) is not the steady state.
    for address in [Tunnel.serverInner.v4, Tunnel.serverInner.v6] {
      _ = try tunnel.client.floodPing(address, count: 1000)
    }
    // Routes and addresses go on changing for seconds after an interface came up (an IPv6 address is ours once nobody has
    // objected), and the control thread looks at them, which allocates.
    var before = 0, quietSince = Clock.seconds
    try waitUntil("the daemons have settled", within: 30, every: 0.1) {
      let now = count(in: counter)
      if now != before { quietSince = Clock.seconds }
      before = now
      return Clock.seconds - quietSince > 4
    }
    try lab.require(before > 0, "the counter counts: \(before) calls until now")
    // A control-plane timer may allocate, and a route that changes even now has routes looked at; a packet may not. What
    // packets do, they do every time.
    var lost = 0, calls = Int.max
    for _ in 0..<3 where calls >= 100 {
      let before = count(in: counter)
      for address in [Tunnel.serverInner.v4, Tunnel.serverInner.v6] {
        lost += try tunnel.client.floodPing(address, count: 5000).lost
      }
      calls = count(in: counter) - before
    }
    try lab.require(lost == 0, "10,000 pings, 40,000 packets through the two daemons, none lost")
    try lab.require(calls < 100, "\(calls) calls of malloc meanwhile, none of them per packet", "\(calls) calls")

    // Super-packets, trains and merging, both ways; the first second warms up.
    try Throughput.serve(on: tunnel.server)
    var gigabits = 0.0, most = 0
    for address in [Tunnel.serverInner.v4, Tunnel.serverInner.v6] {
      for back in [false, true] {
        _ = try Throughput.result(from: tunnel.client, to: address, seconds: 1, back: back)
        let before = count(in: counter)
        gigabits += try Throughput.result(from: tunnel.client, to: address, seconds: 1, streams: 4, back: back).amount
        most = max(most, count(in: counter) - before)
      }
    }
    let segments = Int(gigabits * 1e9 / 8 / 1380)
    try lab.require(
      most < 100 && segments > 10_000,
      "about \(segments) segments of TCP both ways, and \(most) calls of malloc in a second at the most",
      "\(most) calls, \(segments) segments")
  }

  /// The counter is eight bytes that the daemons share.
  private static func count(in path: String) -> Int {
    (FileManager.default.contents(atPath: path) ?? Data()).prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
  }
}
