import Foundation

/// A configuration file that changes in everything but one peer.
struct ReloadedFile {
  let serverKey: String
  let privateKey: String
  private var addresses = ["\(Tunnel.clientInner.v4)/24", "\(Tunnel.clientInner.v6)/64"]
  private var resolvers: [String] = []
  private var mark: Int?
  private var excluded: [String] = []
  private var killSwitch = "no"
  private var clampsMSS = false
  private var hooks: [String] = []
  private var others: [PeerSettings] = []

  init(serverKey: String, privateKey: String) {
    self.serverKey = serverKey
    self.privateKey = privateKey
  }

  var text: String {
    var lines = ["[Interface]", "PrivateKey = \(privateKey)", "ListenPort = 51820", "MTU = 1400"]
    lines += addresses.map { "Address = \($0)" }
    if !resolvers.isEmpty { lines.append("DNS = \(resolvers.joined(separator: ", "))") }
    if let mark { lines.append("FwMark = \(mark)") }
    if !excluded.isEmpty { lines.append("ExcludedIPs = \(excluded.joined(separator: ", "))") }
    lines += ["KillSwitch = \(killSwitch)", "ClampMSS = \(clampsMSS ? "yes" : "no")"] + hooks
    let server = PeerSettings(
      serverKey, endpoint: "\(Tunnel.serverOuter.v4):\(Tunnel.port)",
      allowedIPs: ["\(Tunnel.serverInner.v4)/32", "\(Tunnel.serverInner.v6)/128"])
    var peers = others
    peers.insert(server, at: peers.count / 2)
    return lines.joined(separator: "\n") + "\n\n" + peers.map(\.text).joined(separator: "\n")
  }

  /// What can change, in the order of the rounds.
  enum Change: String, CaseIterable {
    case peerComes = "a peer comes"
    case allowedIPs = "a peer's allowed IPs"
    case addresses = "addresses"
    case anotherPeerComes = "another peer comes"
    case resolvers = "DNS"
    case defaultRoute = "a default route of a peer"
    case endpoint = "an endpoint"
    case killSwitch = "the kill switch"
    case presharedKey = "a preshared key"
    case exclusions = "exclusions"
    case peerGoes = "a peer goes"
    case mark = "the mark"
    case addressesOfIPv6 = "IPv6 addresses"
    case defaultRouteOfIPv6 = "an IPv6 default route of a peer"
    case clampMSS = "ClampMSS"
    case keepalive = "a keepalive"
    case movedPrefix = "a prefix that goes to another peer"
    case halfDefaults = "half defaults of a peer"
    case order = "hooks and the order of peers"
  }

  /// Changes one thing, another kind each round. Returns what.
  mutating func change(_ round: Int, _ random: inout SeededGenerator) -> String {
    let change = Change.allCases[round % Change.allCases.count]
    let number = Int.random(in: 0...3, using: &random)
    let key = self.key(&random), prefix = self.prefix(&random)
    switch change {
    case .peerComes, .anotherPeerComes: addPeer(&random)
    case .allowedIPs: changePeer(&random) { $0.allowedIPs = [prefix] }
    case .addresses: addresses.toggle("10.69.\(number).2/24")
    case .resolvers: resolvers.toggle(["10.66.0.1", "fd66::1", "10.66.0.9", "fd66::9"][number])
    case .defaultRoute: changePeer(&random) { $0.allowedIPs.toggle("0.0.0.0/0") }
    // Where a peer is can be told anew, not forgotten: it may have moved since.
    case .endpoint: changePeer(&random) { $0.endpoint = "192.0.2.\(round % 100 + 1):100\(number)" }
    case .killSwitch: killSwitch = ["no": "yes", "yes": "lan"][killSwitch] ?? "no"
    case .presharedKey: changePeer(&random) { $0.presharedKey = $0.presharedKey == nil ? key : nil }
    case .exclusions: excluded.toggle("10.7\(number).16.0/20")
    case .peerGoes: if let index = others.indices.randomElement(using: &random) { others.remove(at: index) }
    case .mark: mark = mark == nil ? 100 + number : nil
    case .addressesOfIPv6: addresses.toggle("fd69:\(number)::2/64")
    case .defaultRouteOfIPv6: changePeer(&random) { $0.allowedIPs.toggle("::/0") }
    case .clampMSS: clampsMSS.toggle()
    case .keepalive: changePeer(&random) { $0.keepalive = $0.keepalive == nil ? 25 : nil }
    case .movedPrefix:
      let moved = others.last?.allowedIPs.first ?? prefix
      for index in others.indices { others[index].allowedIPs.removeAll { $0 == moved } }
      changePeer(&random) { $0.allowedIPs.append(moved) }
    case .halfDefaults:
      changePeer(&random) {
        $0.allowedIPs.toggle("0.0.0.0/1")
        $0.allowedIPs.toggle("128.0.0.0/1")
      }
    case .order:
      others.shuffle(using: &random)
      hooks = ["PostUp = true # \(number)"]
    }
    return change.rawValue
  }

  private mutating func addPeer(_ random: inout SeededGenerator) {
    others.append(PeerSettings(key(&random), allowedIPs: [prefix(&random), prefix(&random)]))
  }

  /// Changes one of the other peers, after one has come where there is none.
  private mutating func changePeer(_ random: inout SeededGenerator, _ body: (inout PeerSettings) -> Void) {
    if others.isEmpty { addPeer(&random) }
    body(&others[Int.random(in: others.indices, using: &random)])
  }

  private func prefix(_ random: inout SeededGenerator) -> String {
    let (high, low) = (Int.random(in: 70...73, using: &random), Int.random(in: 0...31, using: &random))
    return Bool.random(using: &random) ? "10.\(high).\(low).0/24" : "fd\(high):\(low)::/32"
  }

  private func key(_ random: inout SeededGenerator) -> String {
    Data((0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }).base64EncodedString()
  }
}

extension [String] {
  /// Takes it out, or puts it in.
  fileprivate mutating func toggle(_ text: String) {
    if let index = firstIndex(of: text) { remove(at: index) } else { append(text) }
  }
}
