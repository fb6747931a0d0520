import Foundation

extension Scenario {
  /// Very many allowed IPs, in many requests, under traffic.
  static let manyPrefixes = Scenario(
    "many-prefixes", "51,200 allowed IPs in 200 requests, replaced while traffic runs; many peers with many each"
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.establish()
    let own = ["\(Tunnel.clientInner.v4)/32", "\(Tunnel.clientInner.v6)/128"]
    let key = "public_key=\(ControlSocket.hexadecimal(tunnel.clientKey))\n"
    func request(_ text: String) throws {
      let socket = try ControlSocket(on: tunnel.server, interface: "wg0")
      socket.send("set=1\n" + text + "\n")
      guard socket.errorNumber(within: 20) == 0 else {
        throw Disproved(claim: "a request with many prefixes is accepted", detail: String(text.prefix(200)))
      }
    }
    func count() throws -> Int {
      try tunnel.serverNode.column("allowed-ips")[tunnel.clientKey]?.split(separator: " ").count ?? 0
    }
    let traffic = try CheckedTraffic(
      from: (tunnel.client, Tunnel.clientInner.v4), to: (tunnel.server, Tunnel.serverInner.v4),
      load: .init(streamBytes: 0, datagramRate: 500), random: SeededGenerator(seed: 1))
    for batch in 0..<200 {
      let lines = (0..<256).map { index in
        index.isMultiple(of: 2)
          ? "allowed_ip=100.\(64 + batch % 64).\(batch / 64 * 64 + index / 4).\(index % 4 * 64)/26\n"
          : "allowed_ip=2001:db8:\(String(batch, radix: 16)):\(String(index, radix: 16))::/64\n"
      }
      try request(key + lines.joined())
    }
    try lab.require(
      count() == 200 * 256 + own.count, "200 requests of 256 prefixes each: all 51,200 are there, and the first two",
      "\(try count())")

    for round in 1...100 {
      let others = (0..<2_560).map { "allowed_ip=172.\(16 + round % 16).\($0 / 256).\($0 % 256)/32\n" }
      try request(key + "replace_allowed_ips=true\n" + (own.map { "allowed_ip=\($0)\n" } + others).joined())
    }
    try lab.require(count() == 2_560 + own.count, "replaced a hundred times by 2,560 others", "\(try count())")
    let figures = traffic.finish()
    try lab.require(
      figures.isSound && figures.datagramsSent > 100 && figures.datagramsArrived == figures.datagramsSent,
      "of \(figures.datagramsSent) datagrams both ways meanwhile none was lost", "\(figures)")

    try manyPeers(lab)
  }

  /// Answers that are longer than any one message.
  private static func manyPeers(_ lab: Lab) throws {
    let host = try lab.host("crowded")
    let node = try Node(on: host, lab.implementation, interface: "wg0")
    func configure(_ peers: [[String]]) throws -> [Int] {
      var text = "[Interface]\nPrivateKey = \(node.keys.privateKey)\n"
      for prefixes in peers {
        text += PeerSettings(try Self.randomKey(), allowedIPs: prefixes).text
      }
      try host.run(["wg", "setconf", "wg0", "/dev/stdin"], input: text)
      try host.run("wg", "showconf", "wg0")
      return try node.column("allowed-ips").values.map { $0 == "(none)" ? 0 : $0.split(separator: " ").count }.sorted()
    }
    let flat = (1...255).flatMap { a in
      (0...255).flatMap { b in ["\(a).\(b).0.0/16", "\(String(a, radix: 16))::\(String(b, radix: 16))/128"] }
    }
    try lab.require(configure([flat]) == [255 * 256 * 2], "one peer with 130,560 prefixes is shown whole")
    try lab.require(
      configure((1...40).map { a in (1...52).map { "\(a).\($0).0.0/16" } }) == Array(repeating: 52, count: 40),
      "40 peers with 52 prefixes each are shown whole")
    try lab.require(
      configure(Array(repeating: [], count: 29) + [["255.2.3.4/32", "abcd::255/128"]])
        == Array(repeating: 0, count: 29) + [2], "29 peers without prefixes and one with two are shown whole")
    try lab.require(
      configure([["10.0.0.0/8", "::/0"]] + [["10.0.0.0/8", "::/0"]]) == [0, 2], "a prefix is the last one's who asks")
    try lab.require(
      !host.attempt(["wg", "show", "nowhere"]).succeeded, "an interface that is not there is an error, not a crash")
  }

  private static func randomKey() throws -> String {
    Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString()
  }
}
