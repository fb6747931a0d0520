import Foundation

extension Scenario {
  /// Situation 2.
  static let roadWarrior = Scenario(
    "road-warrior",
    "a laptop behind two NAT boxes that reboot and change addresses, then on IPv6 and back; home knows no address of it",
    needs: Prerequisite.nat + [.commandLine]
  ) { lab in
    let road = try Road(in: lab)
    try road.play()
  }
}

/// A laptop, a café's NAT box, a provider's, and home; and a mobile network with IPv6 alone.
private struct Road {
  let lab: Lab
  let laptop: Host
  let cafe: Host
  let provider: Host
  let home: Host
  let situation: Situation

  private static let inside = "2001:db8:ebbd::1"
  private static let interval = 0.02

  init(in lab: Lab) throws {
    self.lab = lab
    lab.say(
      """
      laptop ────────── cafe ─────────── provider ══════ internet ═════ home
      192.168.1.2       NAT 100.64.0.2   NAT 203.0.113.1                203.0.113.2, 2001:db8:f00::2
      2001:db8:f00::9 ═════════ a mobile network, IPv6 alone ══╝
      """)
    laptop = try lab.host("laptop")
    cafe = try lab.host("cafe")
    provider = try lab.host("provider")
    home = try lab.host("home")
    try lab.cable(laptop.port("wlan0", "192.168.1.2/24"), cafe.port("lan", "192.168.1.1/24"))
    try lab.cable(cafe.port("wan", "100.64.0.2/24"), provider.port("lan", "100.64.0.1/24"))
    try lab.plug(
      [
        provider.port("wan", "203.0.113.1/24"), home.port("wan", "203.0.113.2/24", "2001:db8:f00::2/64"),
        laptop.port("cell", "2001:db8:f00::9/64"),
      ], into: "internet")
    for box in [cafe, provider] { try box.masquerade(out: "wan") }
    try cafe.route(via: "100.64.0.1")
    try laptop.route(via: "192.168.1.1")
    try laptop.reach("203.0.113.2")
    try laptop.reach("2001:db8:f00::2")
    try laptop.ip("link", "set", "cell", "down")
    situation = try Situation("road-warrior", of: [home, laptop], foreign: "home", in: lab)
  }

  func play() throws {
    try situation.up(home, laptop)
    try laptop.reach(Self.inside)
    let first = try endpoint()
    try lab.require(
      first.hasPrefix("203.0.113.1:"), "home's file has no endpoint, and it has learnt one behind both boxes: \(first)")

    let busy = try underTraffic(count: Scenario.isLong ? 50 : 12)
    lab.measured("without traffic after a NAT's change, pings flowing", busy.summary)
    try lab.require(busy.max()! < 5, "under traffic, pings are answered again after each of \(busy.count) changes")

    let idle = try (0..<(Scenario.isLong ? 50 : 2)).map { try whenIdle($0) }
    lab.measured("idle, keepalive 25", idle.summary)
    try lab.require(
      idle.allSatisfy { $0 < 27 }, "an idle laptop is found again after each of \(idle.count), by its next keepalive")

    let moved = try betweenFamilies()
    lab.measured("from IPv4 to IPv6 and back", moved.summary)
    try lab.require(moved.max()! < 5, "home follows from one family into the other, and back")
    let stored = Files.text(home.privateDirectory("/etc/wireguard") + "/wgnet.conf")
    try lab.require(!stored.contains("Endpoint"), "nothing was written into home's file for all that")
    try situation.down(laptop, home)
  }

  /// Where home sends to, by the stock tool.
  private func endpoint() throws -> String {
    try home.run("wg", "show", "wgnet", "endpoints").line.split(separator: "\t").last.map(String.init) ?? ""
  }

  /// One of the boxes is not the same as before: its mappings, its address, or both boxes' mappings.
  private func change(_ number: Int) throws {
    let ports = 20_000 + 500 * (number % 80)...20_499 + 500 * (number % 80)
    switch number % 3 {
    case 0: try provider.remap(out: "wan", to: ports)
    case 1:
      try provider.port("wan").replaceV4(by: "203.0.113.\(10 + number)/24")
      try provider.run("conntrack", "-F")
    default:
      try cafe.remap(out: "wan", to: ports)
      try provider.remap(out: "wan", to: ports)
    }
  }

  /// The longest time without an answer at each change, in seconds, while the laptop pings all the time.
  private func underTraffic(count: Int) throws -> [Double] {
    try gaps { moments in
      for number in 0..<count {
        let before = try endpoint()
        moments.append(Date().timeIntervalSince1970)
        try change(number)
        try waitUntil("home follows change \(number)", within: 20) { try endpoint() != before }
        try pass(seconds: 0.3)
      }
    }
  }

  /// Seconds from a change until home reaches the laptop, which has nothing to say.
  private func whenIdle(_ number: Int) throws -> Double {
    // Anywhere between two keepalives.
    try pass(seconds: Double(number * 7 % 23))
    let start = Date()
    try change(2 + 3 * number)
    try home.reach("2001:db8:ebbd:2::2", within: 30)
    return Date().timeIntervalSince(start)
  }

  private func betweenFamilies() throws -> [Double] {
    let key = try laptop.run("wg", "show", "wgnet", "peers").line
    let tool = try situation.frontend(of: laptop).tool()
    return try gaps { moments in
      for (off, on, endpoint) in [("wlan0", "cell", "[2001:db8:f00::2]:51820"), ("cell", "wlan0", "203.0.113.2:51820")]
      {
        moments.append(Date().timeIntervalSince1970)
        try laptop.ip("link", "set", off, "down")
        try laptop.ip("link", "set", on, "up")
        if on == "cell" {
          try laptop.ip("address", "replace", "2001:db8:f00::9/64", "dev", "cell", "nodad")
        } else {
          try laptop.route(via: "192.168.1.1")
        }
        try laptop.run(tool, "set", "wgnet", "peer", key, "endpoint", endpoint)
        let isV6 = on == "cell"
        try waitUntil("home follows to \(on)", within: 20) { try self.endpoint().hasPrefix("[") == isV6 }
        try pass(seconds: 0.5)
      }
    }
  }

  /// The longest time between two answers at each of the moments that `changes` notes.
  private func gaps(_ changes: (inout [Double]) throws -> Void) throws -> [Double] {
    let ping = try laptop.start(["ping", "-D", "-n", "-i", "\(Self.interval)", Self.inside])
    try waitUntil("pings are answered", within: 10) { ping.output.contains(" time=") }
    var moments: [Double] = []
    try changes(&moments)
    ping.send(SIGINT)
    let answers = try ping.wait(within: 20).answerTimes
    return try moments.enumerated().map { index, moment in
      let next = index + 1 < moments.count ? moments[index + 1] : .infinity
      let gaps = zip(answers, answers.dropFirst()).filter { $1 > moment && $0 < next }.map { $1 - $0 }
      guard let longest = gaps.max() else {
        throw Disproved(claim: "pings are answered again after change \(index)", detail: "\(answers.count) answers")
      }
      return longest
    }
  }
}

extension [Double] {
  /// The median and the worst, in seconds.
  fileprivate var summary: String {
    guard let worst = self.max() else { return "none" }
    return String(format: "%.2f s, %.2f s at worst, of %d", sorted()[count / 2], worst, count)
  }
}
