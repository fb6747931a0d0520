import CNetlink
import Glibc
import WG6Protocol

/// A rule that says which routing table is asked, and whether its answer counts (`ip rule`).
public struct PolicyRule: Hashable, Sendable, CustomStringConvertible {
  public var isIPv6: Bool
  /// The packet mark that the rule is about; `nil` for all packets.
  public var mark: UInt32?
  /// Whether it is about all packets but those.
  public var isInverted: Bool
  /// The destinations that the rule is about; `nil` for all.
  public var destination: IPPrefix?
  public var table: UInt32
  /// Routes of this prefix length or shorter don't count.
  public var suppressedPrefixLength: Int?
  /// Lower ones are asked first; `nil` leaves it to the kernel, which puts the rule before all others of its family.
  public var priority: UInt32?

  public init(
    isIPv6: Bool, mark: UInt32? = nil, isInverted: Bool = false, to destination: IPPrefix? = nil, table: UInt32,
    suppressedPrefixLength: Int? = nil, priority: UInt32? = nil
  ) {
    self.isIPv6 = isIPv6
    self.mark = mark
    self.isInverted = isInverted
    self.destination = destination
    self.table = table
    self.suppressedPrefixLength = suppressedPrefixLength
    self.priority = priority
  }

  /// The rule as `ip rule` prints it.
  public var description: String {
    var text = priority.map { "\($0):\t" } ?? ""
    if isInverted { text += "not " }
    text += "from all"
    if let destination { text += " to \(destination.numericText)" }
    if let mark { text += " fwmark 0x\(String(mark, radix: 16))" }
    let names: [UInt32: String] = [253: "default", 254: "main", 255: "local"]
    text += " lookup \(names[table] ?? "\(table)")"
    if let suppressedPrefixLength { text += " suppress_prefixlength \(suppressedPrefixLength)" }
    return text
  }
}

/// One of a family's rules, wherever it comes from.
public struct RulePlace: Hashable, Sendable {
  public var priority: UInt32
  /// Whether wg6 made it, for whichever tunnel.
  public var isOwn: Bool
  /// What it says; `nil` where a `PolicyRule` can't say that in full.
  public var rule: PolicyRule?

  public init(priority: UInt32, isOwn: Bool, rule: PolicyRule?) {
    self.priority = priority
    self.isOwn = isOwn
    self.rule = rule
  }
}

// libnl-route-3 3.7 knows neither suppress_prefixlength nor the inversion.
extension NetlinkSocket {
  /// Adds the rule. Throws `isExisting` where it is there with the same priority, and `isUnsupported` where the kernel
  /// has no policy routing of this family.
  public func addRule(_ rule: PolicyRule) throws(NetlinkError) {
    let operation = "add the rule \(rule)"
    let request = try rule.request(RTM_NEWRULE, flags: NLM_F_CREATE | NLM_F_EXCL, for: operation)
    unsafe try NetlinkTrain.send(request.message, for: operation, explain: rule.explanation)
  }

  /// Removes one such rule, of any priority if `rule` names none. Throws `isMissing` where there is none.
  public func removeRule(_ rule: PolicyRule) throws(NetlinkError) {
    let operation = "remove the rule \(rule)"
    // The kernel would take a rule with less to it for the one that is meant: told apart here.
    guard let found = try rules(isIPv6: rule.isIPv6).first(where: rule.isMeant) else {
      throw NetlinkError(systemError: ENOENT, operation, explanation: "there is no such rule")
    }
    let request = try found.request(RTM_DELRULE, flags: 0, for: operation)
    unsafe try NetlinkTrain.send(request.message, for: operation, explain: rule.explanation)
  }

  /// All rules of a family in their order. None where the kernel has no policy routing of this family.
  public func rulePlaces(isIPv6: Bool) throws(NetlinkError) -> [RulePlace] {
    try readRules(isIPv6: isIPv6) { answer in
      RulePlace(
        priority: answer.number(FRA_PRIORITY, behind: fib_rule_hdr.self) ?? 0,
        isOwn: answer.byte(FRA_PROTOCOL, behind: fib_rule_hdr.self) == RouteEntry.ownProtocol,
        rule: PolicyRule(answer, isIPv6: isIPv6))
    }
  }

  /// The rules of a family in their order: those that a `PolicyRule` can say in full. None where the kernel has no policy
  /// routing of this family.
  public func rules(isIPv6: Bool) throws(NetlinkError) -> [PolicyRule] {
    try readRules(isIPv6: isIPv6) { PolicyRule($0, isIPv6: isIPv6) }
  }

  /// Those of `rules(isIPv6:)` that wg6 made, of all tunnels, known by their protocol number.
  public func ownRules(isIPv6: Bool) throws(NetlinkError) -> [PolicyRule] {
    try readRules(isIPv6: isIPv6) { answer in
      guard answer.byte(FRA_PROTOCOL, behind: fib_rule_hdr.self) == RouteEntry.ownProtocol else { return nil }
      return PolicyRule(answer, isIPv6: isIPv6)
    }
  }

  func readRules<Value>(
    isIPv6: Bool, _ read: @escaping (NetlinkAnswer) -> Value?
  ) throws(NetlinkError) -> [Value] {
    var header = fib_rule_hdr()
    header.family = UInt8(isIPv6 ? AF_INET6 : AF_INET)
    let operation = "read the rules of \(isIPv6 ? "IPv6" : "IPv4")"
    let request = try NetlinkRequest(RTM_GETRULE, flags: NLM_F_DUMP, header, for: operation)
    return try NetlinkList.read(request, for: operation, read)
  }
}

extension PolicyRule {
  fileprivate func request(_ type: Int, flags: Int32, for operation: String) throws(NetlinkError) -> NetlinkRequest {
    var header = fib_rule_hdr()
    header.family = UInt8(isIPv6 ? AF_INET6 : AF_INET)
    header.action = UInt8(FR_ACT_TO_TBL)
    header.table = UInt8(exactly: table) ?? 0
    if let destination { header.dst_len = UInt8(destination.length) }
    if isInverted { header.flags = UInt32(FIB_RULE_INVERT) }
    let request = try NetlinkRequest(type, flags: flags, header, for: operation)
    if header.table == 0 { request.put(table, as: FRA_TABLE) }
    if let destination { request.put(destination.address.bits, isIPv6: isIPv6, as: FRA_DST) }
    if let mark {
      request.put(mark, as: FRA_FWMARK)
      request.put(.max, as: FRA_FWMASK)
    }
    if let suppressedPrefixLength { request.put(UInt32(suppressedPrefixLength), as: FRA_SUPPRESS_PREFIXLEN) }
    if let priority { request.put(priority, as: FRA_PRIORITY) }
    if type == RTM_NEWRULE { request.put(byte: RouteEntry.ownProtocol, as: FRA_PROTOCOL) }
    return request
  }

  /// The rule that the kernel tells of; `nil` where it has more to it than this type can say.
  fileprivate init?(_ answer: NetlinkAnswer, isIPv6: Bool) {
    typealias Header = fib_rule_hdr
    guard let header = answer.header(Header.self), header.family == UInt8(isIPv6 ? AF_INET6 : AF_INET),
      header.action == UInt8(FR_ACT_TO_TBL), header.src_len == 0, header.tos == 0
    else { return nil }
    var destination: IPPrefix?
    if header.dst_len > 0 {
      guard let address = answer.address(FRA_DST, behind: Header.self), Int(header.dst_len) <= address.bitWidth else {
        return nil
      }
      destination = IPPrefix(address, length: Int(header.dst_len))
    }
    let others = [
      FRA_IIFNAME, FRA_OIFNAME, FRA_FLOW, FRA_TUN_ID, FRA_SUPPRESS_IFGROUP, FRA_UID_RANGE, FRA_IP_PROTO,
      FRA_SPORT_RANGE,
      FRA_DPORT_RANGE,
    ]
    guard !others.contains(where: { answer.has($0, behind: Header.self) }) else { return nil }
    if let byDevice = answer.byte(FRA_L3MDEV, behind: Header.self), byDevice != 0 { return nil }
    let mark = answer.number(FRA_FWMARK, behind: Header.self) ?? 0
    let mask = answer.number(FRA_FWMASK, behind: Header.self) ?? 0
    guard mask == .max || (mask == 0 && mark == 0) else { return nil }
    // All ones: nothing is suppressed.
    let suppressed = answer.number(FRA_SUPPRESS_PREFIXLEN, behind: Header.self).flatMap { Int32(bitPattern: $0) }
    self.init(
      isIPv6: isIPv6, mark: mask == 0 ? nil : mark, isInverted: header.flags & UInt32(FIB_RULE_INVERT) != 0,
      to: destination,
      table: answer.number(FRA_TABLE, behind: Header.self) ?? UInt32(header.table),
      suppressedPrefixLength: suppressed.flatMap { $0 < 0 ? nil : Int($0) },
      priority: answer.number(FRA_PRIORITY, behind: Header.self) ?? 0)
  }

  /// Whether `other`, which has a priority, is this rule: with any, if this one names none.
  public func isMeant(_ other: PolicyRule) -> Bool {
    var same = other
    if priority == nil { same.priority = nil }
    return same == self
  }

  fileprivate func explanation(_ error: Int32) -> String? {
    switch error {
    case EOPNOTSUPP, EAFNOSUPPORT: "this kernel has no policy routing of \(isIPv6 ? "IPv6" : "IPv4")"
    default: nil
    }
  }
}

extension IPPrefix {
  /// The prefix as `ip rule` prints it.
  fileprivate var numericText: String {
    var bytes: InlineArray<2, UInt64> = [address.bits.high.bigEndian, address.bits.low.bigEndian]
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let family = address.isIPv6 ? AF_INET6 : AF_INET
    guard unsafe inet_ntop(family, &bytes, &text, socklen_t(text.count)) != nil else { return "?" }
    return "\(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))/\(length)"
  }
}
