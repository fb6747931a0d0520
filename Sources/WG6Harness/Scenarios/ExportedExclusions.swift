import Foundation

extension Scenario {
  /// What `wg6 export` writes, brought up by others, leads every address where wg6 leads it.
  static let exportedExclusions = Scenario(
    "exported-exclusions",
    "a file with exclusions by wg6, its export by wg-quick and wireguard-go: the same for every address",
    needs: [
      .commandLine, .program("wg-quick", package: "wireguard-tools"), .program("nft", package: "nftables"),
      .program("wireguard-go", package: "wireguard-go"),
    ]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 knows exclusions") }
    var random = SeededGenerator.chosen()
    lab.say("seed \(random.seed)")
    let files = ExclusionFile.written + (0..<8).map { _ in ExclusionFile(&random) }
    let probes = files.map { $0.probes(&random) }
    try lab.play(Array(files.indices), atOnce: 3) { number in
      try ["wg6", "wg-quick"].map { try files[number].trial("\($0)-\(number)", $0 == "wg6", probes[number], in: lab) }
    } finish: { number, trials in
      let file = files[number]
      let ways = try trials.map { try Ways($0) }
      var wrong: [String] = []
      var inside = 0
      for probe in probes[number] {
        let owner = file.owner(of: probe)
        if owner != nil { inside += 1 }
        let wanted = owner.map { "peer \($0) on \(QuickCase.interface)" }
        for (name, way) in zip(["wg6", "wg-quick"], ways) {
          let found = way.leads(probe)
          let isRight = wanted.map { found == $0 } ?? !found.hasSuffix(QuickCase.interface)
          if !isRight { wrong.append("\(probe.address) by \(name): \(found), wanted \(wanted ?? "outside")") }
        }
      }
      try lab.require(
        wrong.isEmpty, "\(probes[number].count) addresses, \(inside) of them inside: \(file)",
        "seed \(random.seed)\n" + wrong.joined(separator: "\n") + "\n" + file.text + "\nexport:\n"
          + trials[1].text("export.conf"))
    }
  }
}

/// Peers with prefixes, and what is taken out of them.
private struct ExclusionFile: CustomStringConvertible {
  struct Peer {
    var allowed: [Prefix]
    var excluded: [Prefix] = []
  }
  var peers: [Peer]
  var excluded: [Prefix] = []

  private static func prefixes(_ texts: String...) -> [Prefix] { texts.map { Prefix($0)! } }

  static let written: [ExclusionFile] = [
    ExclusionFile(
      peers: [Peer(allowed: prefixes("0.0.0.0/0", "::/0"), excluded: prefixes("10.0.0.0/8", "fd00::/8"))],
      excluded: prefixes("192.168.0.0/16")),
    ExclusionFile(
      peers: [
        Peer(allowed: prefixes("0.0.0.0/0")),
        Peer(allowed: prefixes("10.0.0.0/8", "fd70::/16"), excluded: prefixes("10.70.0.0/16", "fd70:1::/32")),
      ]),
    ExclusionFile(
      peers: [
        Peer(allowed: prefixes("10.70.0.0/16"), excluded: prefixes("10.70.7.0/24")),
        Peer(allowed: prefixes("10.0.0.0/8"), excluded: prefixes("10.70.7.128/25", "10.80.0.0/12")),
        Peer(allowed: prefixes("10.70.7.200/32", "fd70::/20")),
      ], excluded: prefixes("10.9.9.9/32", "fd70:8::1/128")),
    ExclusionFile(peers: [Peer(allowed: prefixes("10.70.0.0/16", "::/0"), excluded: prefixes("10.70.0.0/16"))]),
  ]

  init(peers: [Peer], excluded: [Prefix] = []) {
    self.peers = peers
    self.excluded = excluded
  }

  /// One to three peers in a small space, so that prefixes meet.
  init(_ random: inout SeededGenerator) {
    peers = (0..<Int.random(in: 1...3, using: &random)).map { _ in
      Peer(
        allowed: Self.prefixes(1...4, lengths: 6...16, &random),
        excluded: Self.prefixes(0...1, lengths: 8...24, &random))
    }
    excluded = Self.prefixes(0...1, lengths: 10...30, &random)
    // Most exclusions are to hit something.
    let allowed = peers.flatMap(\.allowed)
    for index in peers.indices { peers[index].excluded += Self.pieces(of: allowed, 0...3, &random) }
    excluded += Self.pieces(of: allowed, 0...2, &random)
    // Nobody can tell which of two peers has what both claim: the later one does, and the oracle need not know.
    var seen: Set<Prefix> = []
    peers = peers.map { peer in
      var peer = peer
      peer.allowed = peer.allowed.filter { seen.insert($0).inserted }
      return peer
    }
  }

  private static func prefixes(
    _ count: ClosedRange<Int>, lengths: ClosedRange<Int>, _ random: inout SeededGenerator
  ) -> [Prefix] {
    (0..<Int.random(in: count, using: &random)).map { _ in
      let isIPv6 = Bool.random(using: &random), length = Int.random(in: lengths, using: &random)
      return within(isIPv6, length: isIPv6 ? length + 8 : length, &random)
    }
  }

  /// Prefixes within some of these, or around them.
  private static func pieces(
    of prefixes: [Prefix], _ count: ClosedRange<Int>, _ random: inout SeededGenerator
  ) -> [Prefix] {
    (0..<Int.random(in: count, using: &random)).map { _ in
      let whole = prefixes.randomElement(using: &random)!
      let noise = UInt128(random.next()) << 64 | UInt128(random.next())
      let inside = whole.bits | noise & (UInt128(1) << UInt128(whole.width - whole.length) - 1)
      let length = whole.length + Int.random(in: -1...min(16, whole.width - whole.length), using: &random)
      return Prefix(isIPv6: whole.isIPv6, bits: inside, length: length)
    }
  }

  /// A prefix in 8.0.0.0/6 or fd00::/10, where nothing else is.
  private static func within(_ isIPv6: Bool, length: Int, _ random: inout SeededGenerator) -> Prefix {
    let space = Prefix(isIPv6 ? "fd00::/10" : "8.0.0.0/6")!
    let noise = UInt128(random.next()) << 64 | UInt128(random.next())
    let free = noise & (UInt128(1) << UInt128(space.width - space.length) - 1)
    return Prefix(isIPv6: isIPv6, bits: space.bits | free, length: max(length, space.length))
  }

  var text: String {
    var lines = ["[Interface]", "PrivateKey = \(QuickCase.privateKey)", "Address = 192.0.2.66/32, 2001:db8:66::2/128"]
    if !excluded.isEmpty { lines.append("ExcludedIPs = " + Self.list(excluded)) }
    for (index, peer) in peers.enumerated() {
      lines += ["", "[Peer]", "PublicKey = \(QuickCase.publicKey(index))"]
      // `wg` refuses an empty list.
      if !peer.allowed.isEmpty { lines.append("AllowedIPs = " + Self.list(peer.allowed)) }
      if !peer.excluded.isEmpty { lines.append("ExcludedIPs = " + Self.list(peer.excluded)) }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  var description: String {
    peers.map { Self.list($0.allowed) + ($0.excluded.isEmpty ? "" : " without " + Self.list($0.excluded)) }
      .joined(separator: "; ") + (excluded.isEmpty ? "" : "; all without " + Self.list(excluded))
  }

  private static func list(_ prefixes: [Prefix]) -> String { prefixes.map(\.description).joined(separator: ", ") }

  /// The peer with the longest prefix around an address, of those that do not exclude it.
  func owner(of address: Prefix) -> Int? {
    if excluded.contains(where: { $0.contains(address) }) { return nil }
    let claims = peers.enumerated().filter { peer in !peer.element.excluded.contains { $0.contains(address) } }
      .flatMap { peer in peer.element.allowed.filter { $0.contains(address) }.map { (peer.offset, $0.length) } }
    return claims.max { $0.1 < $1.1 }?.0
  }

  /// Both ends of every prefix and their neighbours outside, one inside, and a few hundred from anywhere.
  func probes(_ random: inout SeededGenerator) -> [Prefix] {
    var probes: Set<Prefix> = []
    for prefix in peers.flatMap({ $0.allowed + $0.excluded }) + excluded where prefix.length > 0 {
      let size = UInt128(1) << UInt128(prefix.width - prefix.length)
      let inside = prefix.bits | UInt128(random.next()) & (size - 1)
      for bits in [prefix.bits, prefix.bits &+ (size - 1), prefix.bits &- 1, prefix.bits &+ size, inside] {
        probes.insert(Prefix(isIPv6: prefix.isIPv6, bits: bits, length: prefix.width))
      }
    }
    for _ in 0..<200 { probes.insert(Self.within(Bool.random(using: &random), length: 128, &random).host) }
    return probes.filter(\.isGlobal).sorted()
  }

  /// Brings it up, asks the machine for its way to every probe and the daemon for its allowed IPs.
  func trial(_ name: String, _ isOurs: Bool, _ probes: [Prefix], in lab: Lab) throws -> Trial {
    let tool = try Binaries.path(of: "wg6"), interface = QuickCase.interface
    let words = probes.map { "route get \($0.address)" }.joined(separator: "\n") + "\n"
    let command = isOurs ? tool : "wg-quick"
    return try Trial(
      name, in: lab,
      files: [
        "network": QuickCase.Network.both.lines.joined(separator: "\n") + "\n", "\(interface).conf": text,
        "probes": words,
      ],
      script: """
        network || exit 1
        chmod 600 \(interface).conf
        \(tool) export ./\(interface).conf >export.conf || exit 2
        install -m 600 \(isOurs ? "\(interface).conf" : "export.conf") /etc/wireguard/\(interface).conf
        try up \(command) up \(interface)
        [ "$(cat up.status)" = 0 ] || { cat up.log >&2; exit 3; }
        ip -force -batch probes >ways 2>/dev/null
        wg show \(interface) allowed-ips >allowed
        try down \(command) down \(interface)
        absent \(interface)
        exit 0
        """)
  }
}

/// Where a machine leads addresses.
private struct Ways {
  private var interfaces: [Prefix: String] = [:]
  private var allowed: [(prefix: Prefix, peer: Int)] = []

  init(_ trial: Trial) throws {
    for line in trial.text("ways").split(separator: "\n") {
      let words = line.split(separator: " ")
      guard let address = words.lazy.compactMap({ Prefix($0) }).first, let dev = words.firstIndex(of: "dev") else {
        continue
      }
      interfaces[address] = String(words[dev + 1])
    }
    for line in trial.text("allowed").split(separator: "\n") {
      let words = line.split(whereSeparator: \.isWhitespace)
      let peer = (0..<3).first { QuickCase.publicKey($0) == words[0] } ?? -1
      allowed += words.dropFirst().compactMap { Prefix($0) }.map { ($0, peer) }
    }
    guard !interfaces.isEmpty else { throw Disproved(claim: "the machine knows ways", detail: trial.text("up.log")) }
  }

  /// "peer 0 on wgq", or only the interface where that is not the tunnel's.
  func leads(_ address: Prefix) -> String {
    let interface = interfaces[address] ?? "nowhere"
    guard interface == QuickCase.interface else { return interface }
    let peer = allowed.filter { $0.prefix.contains(address) }.max { $0.prefix.length < $1.prefix.length }?.peer
    return "\(peer.map { "peer \($0)" } ?? "no peer") on \(interface)"
  }
}

extension Prefix {
  fileprivate var host: Prefix { Prefix(isIPv6: isIPv6, bits: bits, length: width) }

  /// Whether the kernel gives an address like this a route at all: not loopback, multicast or link-local.
  fileprivate var isGlobal: Bool {
    let others =
      isIPv6
      ? ["ff00::/8", "fe80::/10", "::/64", "2001:db8::/32"]
      : ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "198.51.100.0/24", "192.0.2.0/24"]
    return !others.contains { Prefix($0)!.contains(self) }
  }
}
