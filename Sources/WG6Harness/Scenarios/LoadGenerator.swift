import Foundation

extension Scenario {
  /// What the benchmark's own traffic can be trusted with, on a cable whose losses are known.
  static let loadGenerator = Scenario(
    "load-generator", "the benchmark's datagrams and pings: their pace, and what they count as lost",
    needs: [.program("nft", package: "nftables")]
  ) { lab in
    let (near, far) = (try lab.host("near"), try lab.host("far"))
    let target = (v4: "10.0.0.2", v6: "fd00::2")
    try lab.cable(near.port("wan", "10.0.0.1/24", "fd00::1/64"), far.port("wan", target.v4 + "/24", target.v6 + "/64"))
    for address in [target.v4, target.v6] {
      try near.reach(address)
      let trips = try RoundTrips(from: near, to: address, count: 200, every: 0.001)
      try lab.require(trips.lost == 0, "200 pings to \(address), each answered: \(trips.quantile(0.5)) ms")
    }

    let path = try DatagramPath(from: near, to: far, target: target.v6)
    let trial = try path.trial(size: 1360, rate: 4000, seconds: 0.5)
    // Whoever had no processor in between sends less, never more.
    try lab.require(
      (100...2001).contains(trial.sent), "4,000 a second for half a second: \(trial.sent) sent", "\(trial)")
    try lab.require(trial.loss == 0, "and \(trial.received) received")
    let runs = try path.trial(size: 64, run: 32, rate: 4000, seconds: 0.5)
    try lab.require(
      runs.sent % 32 == 0 && runs.sent > 0 && runs.loss == 0, "and as many where 32 are sent at once: \(runs.sent)",
      "\(runs)")

    let flows = try DatagramPath(from: near, to: far, target: target.v4, flows: 100)
    let capture = try far.capture(on: "wan", "udp dst port 9000")
    let mixed = flows.trial(sizes: [36, 548, 101], rate: 4000, seconds: 0.5, delays: 2001)
    capture.stop()
    let packets = try capture.packets()
    // The receiving kernel verifies their checksums: what comes from a raw socket is not marked as right.
    try lab.require(
      mixed.sent >= 100 && mixed.loss == 0 && Set(packets.map(\.sourcePort)).count == 100
        && Set(packets.map(\.length)) == [78, 590, 143],
      "\(mixed.sent) of three sizes and 100 flows, and all received", "\(mixed), \(packets.count) captured")
    try lab.require(
      mixed.delays.count == mixed.received && mixed.delays.allSatisfy { (0.0001..<5000).contains($0) },
      "each timed on its way: \(RoundTrips(milliseconds: mixed.delays).quantile(0.5)) ms", "\(mixed.delays)")

    try far.nft(
      """
      table netdev weather {
        chain ingress {
          type filter hook ingress device wan priority 0;
          udp dport 9000 numgen inc mod 10 == 0 drop
          icmp type echo-request numgen inc mod 10 == 0 drop
        }
      }
      """)
    let lossy = try path.trial(size: 64, rate: 4000, seconds: 0.5)
    try lab.require(
      abs(lossy.loss - 0.1) < 0.01, "of \(lossy.sent), every tenth of which is dropped, \(lossy.received) are counted",
      "\(lossy)")
    let trips = try RoundTrips(from: near, to: target.v4, count: 20, every: 0)
    try lab.require(trips.lost == 2, "of 20 pings, every tenth of which is dropped, 18 are answered", "\(trips.lost)")
    try lab.require(
      try RateSearch.highest { try path.trial(size: 64, rate: $0, seconds: $1 / 10) } == 0,
      "and no rate loses less than 1%")
  }
}
