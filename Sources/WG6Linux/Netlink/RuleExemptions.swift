import CNetlink
import Glibc

/// A part of what leads datagrams with one mark past a rule that sends all others into a tunnel.
///
/// A rule can spare one mark only (`not fwmark`). For a further mark, a rule before it jumps behind it (`goto`). What the
/// kernel jumps to is a priority at which there must be a rule; so one without effect (`nop`) stands there.
public struct RuleExemption: Hashable, Sendable, CustomStringConvertible {
  public var isIPv6: Bool
  /// The mark that is led past; `nil` for the rule behind, to which all marks jump.
  public var mark: UInt32?
  /// The priority of the rule that is passed.
  public var passed: UInt32

  public init(isIPv6: Bool, mark: UInt32?, passed: UInt32) {
    self.isIPv6 = isIPv6
    self.mark = mark
    self.passed = passed
  }

  /// Among rules of one priority, a new one stands behind the others: right before the one that is passed.
  private var priority: UInt32 { mark == nil ? behind : passed - 1 }
  private var behind: UInt32 { passed + 1 }

  /// The rule as `ip rule` prints it.
  public var description: String {
    guard let mark else { return "\(priority):\tfrom all nop" }
    return "\(priority):\tfrom all fwmark 0x\(String(mark, radix: 16)) goto \(behind)"
  }
}

extension NetlinkSocket {
  /// The exemptions that wg6 made, of all tunnels, known by their protocol number.
  public func exemptions(isIPv6: Bool) throws(NetlinkError) -> Set<RuleExemption> {
    Set(try readRules(isIPv6: isIPv6) { RuleExemption($0, isIPv6: isIPv6) })
  }

  /// Adds a part of an exemption. One that is there already is fine, and so is a kernel without this family.
  public func add(_ exemption: RuleExemption) throws(NetlinkError) {
    do throws(NetlinkError) {
      try send(exemption, RTM_NEWRULE, flags: NLM_F_CREATE | NLM_F_EXCL, for: "add the rule \(exemption)")
    } catch  where error.isExisting || error.isUnsupported {
    }
  }

  /// Removes a part of an exemption. One that is not there is fine.
  public func remove(_ exemption: RuleExemption) throws(NetlinkError) {
    do throws(NetlinkError) {
      try send(exemption, RTM_DELRULE, flags: 0, for: "remove the rule \(exemption)")
    } catch  where error.isMissing || error.isUnsupported {
    }
  }

  private func send(
    _ exemption: RuleExemption, _ type: Int, flags: Int32, for operation: String
  ) throws(NetlinkError) {
    let request = try exemption.request(type, flags: flags, for: operation)
    unsafe try NetlinkTrain.send(request.message, for: operation)
  }
}

extension RuleExemption {
  fileprivate func request(_ type: Int, flags: Int32, for operation: String) throws(NetlinkError) -> NetlinkRequest {
    var header = fib_rule_hdr()
    header.family = UInt8(isIPv6 ? AF_INET6 : AF_INET)
    header.action = UInt8(mark == nil ? FR_ACT_NOP : FR_ACT_GOTO)
    let request = try NetlinkRequest(type, flags: flags, header, for: operation)
    request.put(priority, as: FRA_PRIORITY)
    if let mark {
      request.put(mark, as: FRA_FWMARK)
      request.put(.max, as: FRA_FWMASK)
      request.put(behind, as: FRA_GOTO)
    }
    request.put(byte: RouteEntry.ownProtocol, as: FRA_PROTOCOL)
    return request
  }

  /// `nil` for a rule that is none of ours.
  fileprivate init?(_ answer: NetlinkAnswer, isIPv6: Bool) {
    typealias Header = fib_rule_hdr
    guard let header = answer.header(Header.self), header.family == UInt8(isIPv6 ? AF_INET6 : AF_INET),
      answer.byte(FRA_PROTOCOL, behind: Header.self) == RouteEntry.ownProtocol,
      let priority = answer.number(FRA_PRIORITY, behind: Header.self)
    else { return nil }
    switch Int(header.action) {
    case Int(FR_ACT_NOP) where priority > 0: self.init(isIPv6: isIPv6, mark: nil, passed: priority - 1)
    case Int(FR_ACT_GOTO):
      guard let mark = answer.number(FRA_FWMARK, behind: Header.self) else { return nil }
      self.init(isIPv6: isIPv6, mark: mark, passed: priority + 1)
    default: return nil
    }
  }
}
