import Foundation

extension Scenario {
  /// A path that loses, doubles and reorders.
  static let badWeather = Scenario(
    "bad-weather", "datagrams lost, doubled and overtaken on the way: the handshake succeeds, nothing arrives twice",
    needs: [.program("iperf3", package: "iperf3")]
  ) { lab in
    let random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it); 5% lost, 10% doubled, 10% overtaken")
    let weather = Relay.Weather(loss: 0.05, doubling: 0.1, reordering: 0.1)
    let (tunnel, _, relay) = try Tunnel.relayed(in: lab, weather: weather, random: random)
    defer { relay.stop() }
    try tunnel.client.reach(Tunnel.serverInner.v4, within: 60)
    try tunnel.client.reach(Tunnel.serverInner.v6, within: 60)
    try lab.require(true, "the handshake succeeds")

    let inside = try Delivery(tunnel)
    try inside.exchange(count: 300, patience: 0.05)
    try lab.require(inside.duplicates == 0, "600 numbered datagrams arrived, none twice", "\(inside.duplicates) twice")

    // Held back until the next one comes, a packet's answer may count as lost: ping with company.
    let ping = try tunnel.client.startPing(Tunnel.serverInner.v6, count: 500, every: 0.01)
    let result = try ping.result(within: 60)
    let expected = 0.95 * 0.95
    let share = Double(result.received) / Double(result.sent)
    try lab.require(
      share > expected - 0.1, String(format: "%.1f%% of the pings are answered, as the loss has it", share * 100))

    try Throughput.serve(on: tunnel.server)
    let speed = try Throughput.measure(from: tunnel.client, to: Tunnel.serverInner.v4, seconds: 3)
    try lab.require(speed > 0, String(format: "TCP gets through: %.3f Gbit/s", speed))
  }
}
