import WG6Protocol

/// Tunnels that lead through each other.
extension Scenario {
  static let looped = Scenario(
    "looped",
    "an attacker with several keys makes each peer's endpoint an address behind another, in up to three tunnels",
    claims: { [LoopsEnd()] }, isObserved: false
  ) { world in
    let machine = Machine(in: world)
    let count = 1 + world.random.below(3)
    // Another program's tunnel may be among them, but no two in a row.
    let foreign = count > 1 && world.random.happens(0.3) ? 1 : nil
    for number in 0..<count {
      let address = IPAddress.v4(0xCB00_7101 + UInt32(number))
      let mtu = world.random.pick([1280, 1340, 1420, 1420, 4000, 9000])
      _ = machine.addTunnel(at: address, mtu: mtu, isForeign: number == foreign)
    }
    let insider = Insider(in: world, against: machine)
    // At least one key in each tunnel, and no fewer than two.
    let keys = max(2, count) + world.random.below(2)
    for key in 0..<keys { insider.join(key % count) }
    // Each one's endpoint becomes an address of the next.
    for key in 0..<keys {
      for _ in 0..<1 + world.random.below(2) {
        insider.write(
          from: key, as: (key + 1) % keys, world.random.pick(Insider.Way.allCases), isIPv6: world.random.happens(0.5))
      }
    }
    insider.fallSilent()
    let target = insider.members[0]
    let isIPv6 = world.random.happens(0.5)
    let address = target.address(isIPv6: isIPv6)
    let sizes = [1, 500, 1000, 1200, machine.tunnels[target.tunnel].mtu - 60]
    let packets = InnerDatagram.packets(
      [UInt8](repeating: 9, count: world.random.pick(sizes)),
      from: Endpoint(address: Machine.address(inside: target.tunnel, of: 1, isIPv6: isIPv6), port: 7),
      to: Endpoint(address: address, port: 7), mtu: machine.tunnels[target.tunnel].mtu, identification: 1)
    let begun = machine.byteCount
    world.observer?.with(LoopsEnd.self) { $0.begin(machine) }
    for packet in packets { machine.send(packet, to: address) }
    var last = machine.byteCount
    for second in 0..<200 {
      world.run(for: 5 * Limits.second)
      world.observer?.with(LoopsEnd.self) {
        $0.note(machine.byteCount - last, in: "within 5 s, \(5 * second) s after the packet")
        // Long after the last session, and the last try of a handshake.
        if second >= 160, machine.byteCount > last { $0.note(.max, in: "without an end") }
      }
      last = machine.byteCount
    }
    world.note("\(machine.byteCount - begun) bytes in \(machine.datagramCount) datagrams in all", of: "machine")
  }
}
