import Foundation

extension Scenario {
  /// Link-local addresses from keys.
  static let derivedAddresses = Scenario(
    "derived-addresses",
    "two ends with LinkLocal = auto reach each other by addresses from their keys, a router behind one of them is heard only with AcceptRA, and wireguard-go joins them",
    needs: [
      .commandLine, .program("radvd", package: "radvd"), .program("wireguard-go", package: "wireguard-go"),
      .program("nft", package: "nftables"),
    ]
  ) { lab in
    let stage = try DerivedAddressesStage(in: lab)
    try stage.reachEachOther()
    try stage.hearRouter()
    try stage.joinPlain()
    try stage.keepNeighbour()
    try stage.down()
  }
}

/// A laptop and a router at home on one cable, and a third machine with wireguard-go.
private struct DerivedAddressesStage {
  let lab: Lab
  let laptop: Host
  let home: Host
  let plain: Host
  let laptopKeys: KeyPair
  let homeKeys: KeyPair
  let wg6: String
  /// The link-local addresses that 'wg6 address' prints.
  let laptopAddress: String
  let homeAddress: String

  private static let advertised = "2001:db8:990a:"

  init(in lab: Lab) throws {
    self.lab = lab
    laptop = try lab.host("laptop")
    home = try lab.host("home")
    plain = try lab.host("plain")
    _ = try lab.plug(
      [
        laptop.port("wan", "198.51.100.2/24"), home.port("wan", "198.51.100.1/24"),
        plain.port("wan", "198.51.100.3/24"),
      ], into: "switch")
    try home.forward()
    // A machine that forwards takes no router advertisements by itself.
    try laptop.forward()
    (laptopKeys, homeKeys) = (try KeyPair.fresh(lab), try KeyPair.fresh(lab))
    wg6 = try Binaries.path(of: "wg6")
    laptopAddress = try Self.lines(of: laptopKeys.publicKey, on: laptop, wg6).linkLocal
    homeAddress = try Self.lines(of: homeKeys.publicKey, on: laptop, wg6).linkLocal
    try write(laptopKeys, "", homeKeys, "Endpoint = 198.51.100.1:51820", on: laptop)
    try write(homeKeys, "ListenPort = 51820\nAddress = ula:home", laptopKeys, "", on: home)
    try laptop.reach("198.51.100.1")
    try laptop.reach("198.51.100.3")
  }

  /// What 'wg6 address' prints for a key.
  private static func lines(
    of key: String, on host: Host, _ wg6: String
  ) throws -> (linkLocal: String, address: String, allowedIPs: String) {
    let lines = try host.run([wg6, "address", key]).lines.map(\.trimmed)
    func value(_ head: String) -> String {
      lines.first { $0.hasPrefix(head) }.map { String($0.dropFirst(head.count)).trimmed } ?? ""
    }
    return (value("link-local"), value("Address = "), value("AllowedIPs = "))
  }

  private func write(
    _ own: KeyPair, _ settings: String, _ other: KeyPair, _ peer: String, linkLocal: Bool = true, on host: Host
  ) throws {
    try Files.write(
      """
      [Interface]
      PrivateKey = \(own.privateKey)
      LinkLocal = \(linkLocal ? "auto" : "no")
      \(settings)
      [Peer]
      PublicKey = \(other.publicKey)
      \(peer)

      """, to: host.privateDirectory("/etc/wireguard") + "/wgnet.conf", mode: 0o600)
  }

  func reachEachOther() throws {
    try home.run([wg6, "up", "wgnet"])
    let up = try laptop.run([wg6, "up", "-v", "wgnet"])
    let steps = up.complaints
    try lab.require(
      steps.contains("handshake message sent to 198.51.100.1:51820") && steps.contains("response of peer ")
        && steps.contains("wgnet: tunnel is up: "),
      "'up -v' tells the handshake, the response and the time: \(steps.split(separator: "\n").last ?? "")", steps)
    try laptop.reach("\(homeAddress)%wgnet")
    try home.reach("\(laptopAddress)%wgnet")
    try lab.require(true, "each reaches the other by its link-local address, with nothing else in the files")
    for (host, address) in [(laptop, laptopAddress), (home, homeAddress)] {
      let shown = try host.run("ip", "-o", "-6", "address", "show", "dev", "wgnet", "scope", "link").output
      try lab.require(
        shown.split(separator: "\n").count == 1 && shown.contains("inet6 \(address)/64"),
        "\(host.name) has this one link-local address: \(address)", shown)
    }
    // fd58:f25b:e75d is the network that docs/addresses.md has for that name.
    let own = try home.run("ip", "-o", "-6", "address", "show", "dev", "wgnet", "scope", "global").output
    try lab.require(
      own.contains("inet6 fd58:f25b:e75d:0:\(homeAddress.dropFirst("fe80::".count))/64"),
      "home has its ula:home address", own)
  }

  func hearRouter() throws {
    let file = home.privateDirectory("/etc/wireguard") + "/radvd.conf"
    try Files.write(
      """
      interface wgnet {
        AdvSendAdvert on;
        MinRtrAdvInterval 3;
        MaxRtrAdvInterval 4;
        AdvDefaultLifetime 600;
        prefix \(Self.advertised):/64 { AdvOnLink on; AdvAutonomous on; };
      };

      """, to: file, mode: 0o600)
    let heard = try laptop.capture(on: "wgnet", "icmp6 and ip6[40] = 134")
    let radvd = try home.start(["radvd", "-n", "-C", file, "-p", "\(lab.directory)/radvd.pid", "-m", "stderr"])
    defer { radvd.send(SIGTERM) }
    try waitUntil("an advertisement has come through the tunnel", within: 15) { !heard.digest().trimmed.isEmpty }
    heard.stop()
    Thread.sleep(forTimeInterval: 0.2)
    try lab.require(!learned().contains(Self.advertised), "without AcceptRA it changes nothing", learned())

    let address = "2001:db8:990a:0:\(laptopAddress.dropFirst("fe80::".count))"
    try write(laptopKeys, "AcceptRA = yes", homeKeys, "Endpoint = 198.51.100.1:51820", on: laptop)
    try laptop.run([wg6, "reload", "wgnet"])
    try waitUntil("the laptop has an address in the advertised network", within: 15) { try learned().contains(address) }
    try lab.require(
      learned().contains("default via \(homeAddress)"),
      "with AcceptRA, reloaded, a machine that forwards has the address \(address) and the default route", learned())

    try write(laptopKeys, "", homeKeys, "Endpoint = 198.51.100.1:51820", on: laptop)
    try laptop.run([wg6, "reload", "wgnet"])
    try lab.require(
      !learned().contains(Self.advertised) && !learned().contains("default via"), "without it, reloaded, both are gone",
      learned())

    try write(laptopKeys, "AcceptRA = yes", homeKeys, "Endpoint = 198.51.100.1:51820", on: laptop)
    try laptop.run([wg6, "down", "wgnet"])
    let start = Date()
    try laptop.run([wg6, "up", "wgnet"])
    try waitUntil("the router has been asked, and has answered", within: 15) { try learned().contains(address) }
    lab.say("after 'up' the address is there within \(Int(Date().timeIntervalSince(start) * 1000)) ms")
    radvd.send(SIGTERM)
  }

  /// The laptop's addresses and routes of the tunnel, but link-local ones.
  private func learned() throws -> String {
    try laptop.run("ip", "-6", "-o", "address", "show", "dev", "wgnet", "scope", "global").output
      + laptop.run("ip", "-6", "route", "show", "dev", "wgnet").output
  }

  /// A peer of Debian's wireguard-go, added by Debian's wg, with the lines that 'wg6 address' prints.
  func joinPlain() throws {
    let node = try Node(on: plain, .wireguardGo, interface: "wg0")
    let mine = try Self.lines(of: node.keys.publicKey, on: laptop, wg6)
    let theirs = try Self.lines(of: homeKeys.publicKey, on: laptop, wg6)
    lab.say("for wireguard-go: Address = \(mine.address), AllowedIPs = \(theirs.allowedIPs)")
    try node.configure(
      listenPort: 51820,
      peers: [PeerSettings(homeKeys.publicKey, endpoint: "198.51.100.1:51820", allowedIPs: [theirs.allowedIPs])])
    try node.up([])
    // Behind the address that the kernel made: so it is preferred.
    try plain.ip("-6", "address", "add", mine.address, "dev", "wg0", "nodad")
    try home.run("wg", "set", "wgnet", "peer", node.keys.publicKey)
    let prefixes = try home.run("wg", "show", "wgnet", "allowed-ips").output
    try lab.require(
      prefixes.contains("\(mine.linkLocal)/128") && !prefixes.contains("ff02::/16"),
      "a peer added by 'wg set' has its address, and none of two peers the groups of the link", prefixes)
    try plain.reach("\(homeAddress)%wg0")
    try home.reach("\(mine.linkLocal)%wgnet")
    try laptop.reach("\(homeAddress)%wgnet")
    try lab.require(true, "wireguard-go and wg6 reach each other by link-local addresses, both ways")
    let refused = try home.attempt([
      "wg", "set", "wgnet", "peer", node.keys.publicKey, "allowed-ips", "\(laptopAddress)/128",
    ])
    try lab.require(!refused.succeeded, "the laptop's address is refused to another peer", refused.complaints)
    try lab.require(
      home.run("wg", "show", "wgnet", "allowed-ips").output == prefixes, "and nothing has changed", prefixes)
  }

  /// A router is often fe80::1, and so may be an end of a tunnel.
  func keepNeighbour() throws {
    try home.ip("-6", "address", "add", "fe80::1/64", "dev", "wan", "nodad")
    try laptop.reach("fe80::1%wan")
    try laptop.run([wg6, "down", "wgnet"])
    try write(
      laptopKeys, "Address = fe80::1/64", homeKeys, "Endpoint = 198.51.100.1:51820\nAllowedIPs = ::/0",
      linkLocal: false,
      on: laptop)
    try laptop.run([wg6, "up", "wgnet"])
    let answers = try laptop.attempt(
      ["ping", "-q", "-n", "-c", "3", "-i", "0.2", "-W", "2", "fe80::1%wan"], within: 10)
    try lab.require(
      answers.succeeded, "a neighbour that is fe80::1 is heard, although the tunnel's own address is fe80::1, too",
      answers.output)
  }

  func down() throws {
    for host in [laptop, home] { try host.run([wg6, "down", "wgnet"]) }
    try lab.require(!laptop.has(interface: "wgnet") && !home.has(interface: "wgnet"), "after down nothing is left")
  }
}
