import WG6Config
import WG6Crypto

@testable import WG6Protocol

extension FuzzTarget {
  /// Configuration files. The first byte of the input chooses the dialect, the others are the file.
  ///
  /// What is accepted means the same when it is written down in its plainest form and read again, and when it is exported;
  /// it can be asked of a daemon; who gets what is decided as a plain longest-prefix match decides; what is refused is
  /// refused by line; and no message ever holds a secret.
  static let config = FuzzTarget("config") { input in
    var input = input
    let dialect = input.byte() & 1 == 0 ? ConfigurationDialect.quick : .plain
    let text = input.rest()
    let lineCount = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).count
    do throws(FileMistakes) {
      let file = try read(text, dialect)
      check(file.warnings, of: text, lineCount)
      let plain = written(file)
      guard let again = try? read(plain, dialect) else {
        return claim(false, "what was written down is accepted: \(String(decoding: plain, as: UTF8.self))")
      }
      claim(written(again) == plain, "a file survives being written down")
      for replacing in [false, true] {
        let wanted = request(file.update(replacing: replacing, endpoints: [:]))
        claim(request(again.update(replacing: replacing, endpoints: [:])) == wanted, "both ask for the same")
        claim(isUnderstood(wanted), "a daemon understands it")
      }
      checkCoverage(of: file, text, dialect, lineCount)
    } catch {
      claim(!error.mistakes.isEmpty, "a refusal has a reason")
      claim(error.mistakes.map(\.line) == error.mistakes.map(\.line).sorted(), "in the order of the lines")
      check(error.mistakes, of: text, lineCount)
    }
  }

  /// What `lan` stands for.
  private static let connected = ["10.9.0.0/16", "fd00:9::/64"].compactMap { IPPrefix($0) }

  /// Exclusions, and the texts that are made of a file with them.
  private static func checkCoverage(
    of file: ConfigurationFile, _ text: [UInt8], _ dialect: ConfigurationDialect, _ lineCount: Int
  ) {
    let coverage = Coverage(file, connected: connected)
    let findings = file.findings(
      named: "f", isWorldAccessible: true, coverage: coverage, endpoints: [:], name: { "\($0.base64.prefix(4))" })
    check(findings, of: text, lineCount)

    var exported = WipedBytes()
    file.writeExported(text.span.bytes, coverage: coverage, to: &exported)
    let exportedText = exported.withBytes { $0.array }
    guard let plain = try? read(exportedText, dialect) else {
      return claim(false, "an export is accepted: \(String(decoding: exportedText, as: UTF8.self))")
    }
    let owned = Coverage(plain, connected: []).allowedIPs.map { Set($0) }
    claim(owned == coverage.allowedIPs.map { Set($0) }, "an export gives everybody the same")
    var stripped = WipedBytes()
    ConfigurationFile.writeStripped(exportedText.span.bytes, to: &stripped)
    claim((try? read(stripped.withBytes { $0.array }, .plain)) != nil, "what is left for the device is understood")

    // The ends of every prefix, and their neighbours.
    let device = zip(coverage.allowedIPs, file.peers).enumerated().flatMap { place, peer in
      let ofLink = peer.1.derivedIPs.filter { $0.isOfLink && !peer.1.allowedIPs.contains(.add($0.prefix)) }.map(
        \.prefix)
      return peer.0.filter { !ofLink.contains($0) }.map { (prefix: $0, peer: place) }
    }
    let routed = coverage.routes()
    for prefix in (device.map(\.prefix) + coverage.excluded.prefixes).prefix(64) {
      for address in edges(of: prefix) {
        let decided = coverage.decision(for: address).peer
        let best = device.filter { $0.prefix.contains(address) }.max { $0.prefix.length < $1.prefix.length }
        claim(best?.peer == decided, "\(address) goes to \(decided as Any), and by the device to \(best as Any)")
        claim(
          routed.contains { $0.contains(address) } == (decided != nil), "\(address) is routed where somebody gets it")
        claim(coverage.covered.contains(address) == (decided != nil), "\(address) is covered where somebody gets it")
      }
    }
  }

  private static func edges(of prefix: IPPrefix) -> [IPAddress] {
    let first = prefix.address.bits
    let network = AddressBits(high: .max, low: .max).masked(to: prefix.length)
    let last = AddressBits(high: first.high | ~network.high, low: first.low | ~network.low)
    let low = first.low.subtractingReportingOverflow(1)
    let high = last.low.addingReportingOverflow(1)
    if case .v4(let address) = prefix.address {
      return [address, address &- 1, UInt32(last.high >> 32), UInt32(last.high >> 32) &+ 1].map { .v4($0) }
    }
    return [
      .v6(high: first.high, low: first.low), .v6(high: last.high, low: last.low),
      .v6(high: first.high &- (low.overflow ? 1 : 0), low: low.partialValue),
      .v6(high: last.high &+ (high.overflow ? 1 : 0), low: high.partialValue),
    ]
  }

  private static func read(_ text: [UInt8], _ dialect: ConfigurationDialect) throws(FileMistakes) -> ConfigurationFile {
    try ConfigurationFile(reading: text.span.bytes, named: "f", dialect: dialect) { () throws(FileMistakes) in
      let book = Array("laptop TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0= Anna's".utf8)
      return try AddressBook(reading: book.span.bytes, named: "keys")
    }
  }

  /// Every message has a line of the file, and none of its secrets.
  private static func check(_ messages: [FileMistake], of text: [UInt8], _ lineCount: Int) {
    let secrets = secrets(of: text)
    for message in messages {
      claim((1...lineCount).contains(message.line), "\(message) is about a line of \(lineCount)")
      for secret in secrets { claim(!message.description.contains(secret), "a message holds a secret: \(message)") }
    }
  }

  /// What stands behind `PrivateKey =` and `PresharedKey =`, where it is a key, or most of one with a slip in it.
  private static func secrets(of text: [UInt8]) -> [String] {
    text.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let characters = line.prefix { $0 != UInt8(ascii: "#") }.filter { $0 != 32 && !(9...13).contains($0) }
      guard let equals = characters.firstIndex(of: UInt8(ascii: "=")) else { return nil }
      let key = String(decoding: characters[..<equals], as: UTF8.self).lowercased()
      let value = characters[(equals + 1)...]
      guard key == "privatekey" || key == "presharedkey" else { return nil }
      let text = String(decoding: value, as: UTF8.self)
      let slips = text.unicodeScalars.count {
        !("a"..."z" ~= $0 || "A"..."Z" ~= $0 || "0"..."9" ~= $0 || "+/=".unicodeScalars.contains($0))
      }
      return slips <= 1 && text.unicodeScalars.count >= 40 + slips ? text : nil
    }
  }

  // MARK: Writing it down

  private static func written(_ file: ConfigurationFile) -> [UInt8] {
    var lines = ["[Interface]"]
    switch file.privateKey {
    case .keep: break
    case .remove: lines.append("PrivateKey = \(base64(of: [UInt8](repeating: 0, count: 32)))")
    case .set(let key): lines.append("PrivateKey = \(base64(of: key.withBytes { $0.array }))")
    }
    if let port = file.listenPort { lines.append("ListenPort = \(port)") }
    if let mark = file.firewallMark { lines.append("FwMark = \(mark)") }
    let derived = file.derivedNetworks
    var identifier: UInt64?
    if case .set(let key) = file.privateKey { identifier = DerivedAddress.interfaceIdentifier(of: key.publicKey) }
    let addresses = file.addresses.compactMap { address -> String? in
      guard case .v6(let high, let low) = address.address, low == identifier,
        let network = derived.first(where: { $0.high == high })
      else { return "\(address)" }
      return network.name.map { "ula:\($0)" }
    }
    if !addresses.isEmpty { lines.append("Address = " + addresses.joined(separator: ", ")) }
    if derived.contains(where: { $0.name == nil }) { lines.append("LinkLocal = auto") }
    if file.acceptsRouterAdvertisements { lines.append("AcceptRA = yes") }
    if let mtu = file.mtu { lines.append("MTU = \(mtu)") }
    lines += file.resolver.servers.map { "DNS = \($0)" } + file.resolver.searchDomains.map { "DNS = \($0)" }
    lines += file.resolver.routingDomains.map { "DNS = ~\($0)" }
    lines += file.hooks.preUp.map { "PreUp = \($0)" } + file.hooks.postUp.map { "PostUp = \($0)" }
    lines += file.hooks.preDown.map { "PreDown = \($0)" } + file.hooks.postDown.map { "PostDown = \($0)" }
    if file.savesConfiguration { lines.append("SaveConfig = true") }
    if file.clampsMSS { lines.append("ClampMSS = yes") }
    if let syncs = file.syncsRoutes { lines.append("RouteSync = \(syncs ? "yes" : "no")") }
    if !file.routeSyncFilter.isEmpty {
      lines.append("RouteSyncFilter = " + file.routeSyncFilter.map(\.description).joined(separator: ", "))
    }
    if let seconds = file.deadAfter { lines.append("DeadAfter = \(seconds)") }
    if let multicast = file.multicast { lines.append("Multicast = \(multicast ? "on" : "off")") }
    if !file.guardsAgainstSpoofing { lines.append("SpoofGuard = no") }
    switch file.killSwitch {
    case .off: break
    case .on: lines.append("KillSwitch = yes")
    case .exceptLAN: lines.append("KillSwitch = lan")
    }
    lines += written(file.excludedIPs)
    switch file.table {
    case .automatic: break
    case .off: lines.append("Table = off")
    case .number(let number): lines.append("Table = \(number)")
    }
    for peer in file.peers { lines += written(peer) }
    return Array((lines.joined(separator: "\n") + "\n").utf8)
  }

  private static func written(_ peer: ConfigurationFile.Peer) -> [String] {
    var lines = ["", "[Peer]", "PublicKey = \(peer.publicKey.base64)"]
    switch peer.presharedKey {
    case .keep: break
    case .remove: lines.append("PresharedKey = \(base64(of: [UInt8](repeating: 0, count: 32)))")
    case .set(let key): lines.append("PresharedKey = \(base64(of: key.withBytes { $0.array }))")
    }
    if let endpoint = peer.endpoint { lines.append("Endpoint = \(endpoint.text)") }
    if let seconds = peer.persistentKeepalive { lines.append("PersistentKeepalive = \(seconds)") }
    let changes = peer.allowedIPs.map { change in
      switch change {
      case .add(let prefix): "\(peer.replacesAllowedIPs ? "" : "+")\(prefix)"
      case .remove(let prefix): "-\(prefix)"
      }
    }
    if !changes.isEmpty { lines.append("AllowedIPs = " + changes.joined(separator: ", ")) }
    if let multicast = peer.multicast { lines.append("Multicast = \(multicast ? "on" : "off")") }
    return lines + written(peer.excludedIPs)
  }

  private static func written(_ exclusions: Exclusions) -> [String] {
    let elements = exclusions.prefixes.map(\.description) + (exclusions.includesLAN ? ["lan"] : [])
    return elements.isEmpty ? [] : ["ExcludedIPs = " + elements.joined(separator: ", ")]
  }

  private static func base64(of key: [UInt8]) -> String {
    var text: [UInt8] = []
    KeyBase64.encode(key.span.bytes) { text.append($0) }
    return String(decoding: text, as: UTF8.self)
  }

  private static func request(_ update: DeviceUpdate) -> [UInt8] {
    var text = WipedBytes()
    update.writeRequest(to: &text)
    return text.withBytes { $0.array }
  }

  private static func isUnderstood(_ request: [UInt8]) -> Bool {
    var parser = ControlRequestParser()
    for line in request.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
      if let request = parser.line(Array(line).span.bytes) {
        if case .set = request { return true }
      }
    }
    return false
  }
}
