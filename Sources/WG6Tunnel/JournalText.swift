import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// Entries as lines: a word, and what belongs to it.
extension Journal.Entry {
  /// How lines begin that are of many peers, or go with the interface.
  static let unshared = ["route \(NetlinkSocket.mainTable) ", "address ", "endpoint ", "found ", "filter "]

  var line: String {
    switch self {
    case .namespace(let namespace):
      "namespace \(namespace.number)\(namespace.cookie.map { " \($0)" } ?? "")"
    case .file(let path): "file \(path)"
    case .fileVersion(let version): "file-version \(version)"
    case .lan(let networks): "lan \(networks.map(\.description).joined(separator: ","))"
    case .mark(let mark): "mark \(mark)"
    case .exempt(let mark): "exempt \(mark)"
    case .preDown(let command): "predown \(command)"
    case .postDown(let command): "postdown \(command)"
    case .hookVariables(let assignments): "hook-variables \(assignments)"
    case .withoutHooks: "without-hooks"
    case .saves: "saves"
    case .firewall(let digest, let isKillSwitch):
      "firewall \(isKillSwitch ? "killswitch" : "open") \(String(digest, radix: 16))"
    case .filter(let rules): "filter \(rules.journalText)"
    case .daemon: "daemon"
    case .setting(let name, let before): "setting \(name) \(before)"
    case .rule(let rule): "rule \(rule.journalText)"
    case .resolver(let service): "resolver \(service.rawValue)"
    case .resolverRequest(let text): "resolver-request \(text)"
    case .endpoint(let key, let text): "endpoint \(key.base64) \(text)"
    case .found(let name, let endpoint): "found \(name) \(endpoint)"
    case .unresolved(let key, let text): "unresolved \(key.base64) \(text)"
    case .derivedNetworks(let networks):
      "derived \(networks.map { String($0, radix: 16) }.joined(separator: " "))"
    case .routerAdvertisements(let advertisements): "router-advertisements \(advertisements.rawValue)"
    case .address(let address): "address \(address)"
    case .route(let route): "route \(route.table) \(route.prefix)"
    case .complete: "complete"
    case .reloading: "reloading"
    case .leaving: "leaving"
    }
  }

  /// `nil` for a line that is none, as a later version may write.
  init?(line: Substring) {
    let words = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
    let rest = words.count > 1 ? words[1] : ""
    let parts = rest.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    switch (words[0], parts.count) {
    case ("namespace", _):
      let numbers = parts.map { UInt64($0) }
      guard let first = numbers.first, let number = first, !numbers.contains(nil) else { return nil }
      self = .namespace(NetworkNamespace(number: number, cookie: numbers.count > 1 ? numbers[1] : nil))
    case ("file", _): self = .file(String(rest))
    case ("file-version", _): self = .fileVersion(String(rest))
    case ("lan", _):
      let words = rest.split(separator: ",")
      let networks = words.compactMap { IPPrefix(String($0)) }
      guard networks.count == words.count else { return nil }
      self = .lan(networks)
    case ("mark", _):
      guard let mark = UInt32(rest) else { return nil }
      self = .mark(mark)
    case ("exempt", _):
      guard let mark = UInt32(rest) else { return nil }
      self = .exempt(mark)
    case ("predown", _): self = .preDown(String(rest))
    case ("postdown", _): self = .postDown(String(rest))
    case ("hook-variables", _): self = .hookVariables(String(rest))
    case ("without-hooks", _): self = .withoutHooks
    case ("saves", _): self = .saves
    case ("firewall", 2):
      guard let digest = UInt64(parts[1], radix: 16) else { return nil }
      self = .firewall(digest: digest, isKillSwitch: parts[0] == "killswitch")
    case ("filter", _):
      guard let rules = FirewallRules(journalText: rest) else { return nil }
      self = .filter(rules)
    case ("daemon", _): self = .daemon
    case ("setting", 2): self = .setting(name: parts[0], before: parts[1])
    case ("rule", _):
      guard let rule = PolicyRule(journalText: rest) else { return nil }
      self = .rule(rule)
    case ("resolver", _):
      guard let service = ResolverService(rawValue: String(rest)) else { return nil }
      self = .resolver(service)
    case ("resolver-request", _): self = .resolverRequest(String(rest))
    case ("endpoint", 2):
      guard let key = PublicKey(base64Text: parts[0]) else { return nil }
      self = .endpoint(key, parts[1])
    case ("found", 2):
      guard let endpoint = unsafe Endpoint(text: Array(parts[1].utf8).span.bytes) else { return nil }
      self = .found(parts[0], endpoint)
    case ("unresolved", 2):
      guard let key = PublicKey(base64Text: parts[0]) else { return nil }
      self = .unresolved(key, parts[1])
    case ("derived", _): self = .derivedNetworks(rest.split(separator: " ").compactMap { UInt64($0, radix: 16) })
    case ("router-advertisements", _):
      guard let advertisements = RouterAdvertisements(rawValue: String(rest)) else { return nil }
      self = .routerAdvertisements(advertisements)
    case ("address", _):
      guard let address = InterfaceAddress(journalText: rest) else { return nil }
      self = .address(address)
    case ("route", 2):
      guard let table = UInt32(parts[0]), let prefix = IPPrefix(parts[1]) else { return nil }
      self = .route(Route(prefix, table: table))
    case ("complete", _): self = .complete
    case ("reloading", _): self = .reloading
    case ("leaving", _): self = .leaving
    default: return nil
    }
  }
}

extension PolicyRule {
  fileprivate var journalText: String {
    func text(_ number: UInt32?) -> String { number.map(String.init) ?? "-" }
    return [
      isIPv6 ? "6" : "4", isInverted ? "not" : "-", text(mark), "\(table)",
      suppressedPrefixLength.map(String.init) ?? "-", text(priority),
    ].joined(separator: " ") + (destination.map { " \($0)" } ?? "")
  }

  fileprivate init?(journalText: Substring) {
    let words = journalText.split(separator: " ")
    guard 6...7 ~= words.count, let table = UInt32(words[3]) else { return nil }
    let destination = words.count == 7 ? IPPrefix(words[6]) : nil
    if words.count == 7, destination == nil { return nil }
    self.init(
      isIPv6: words[0] == "6", mark: UInt32(words[2]), isInverted: words[1] == "not", to: destination, table: table,
      suppressedPrefixLength: Int(words[4]), priority: UInt32(words[5]))
  }
}

extension InterfaceAddress {
  fileprivate init?(journalText: Substring) {
    let parts = journalText.split(separator: "/")
    guard parts.count == 2, let length = Int(parts[1]), let address = IPAddress(parts[0]) else { return nil }
    self.init(address, prefixLength: length)
  }
}

extension PublicKey {
  /// A key as `description` writes it.
  fileprivate init?(base64Text text: String) {
    guard let key = unsafe KeyBase64.decode(Array(text.utf8).span.bytes, { PublicKey(bytes: $0) }) ?? nil else {
      return nil
    }
    self = key
  }
}
