import Glibc
import WG6Crypto
import WG6Protocol

/// A value that does not fit its key.
public struct ValueMistake: Error, Sendable, Equatable {
  /// What would have been right, for `read …, expected …`.
  public let expected: String
  /// The line that `wg set` prints for it, which scripts may look for.
  public let wgMessage: String
}

/// The values that configuration files and `wg6 set` have in common, as `wg` spells them.
public enum ValueText {
  /// A port: a number, or the name of a UDP service.
  public static func port(_ text: RawSpan) throws(ValueMistake) -> UInt16 {
    if let number = text.decimal(upTo: 65535) { return UInt16(number) }
    let wgMessage =
      text.byteCount == 0
      ? "Unable to parse empty port" : "Servname not supported for ai_socktype: '\(text.quotable)'"
    guard let port = serviceNamed(text) else {
      throw ValueMistake(expected: "a port, 0 to 65535", wgMessage: wgMessage)
    }
    return port
  }

  /// A firewall mark: `off`, a number, or a hexadecimal number behind `0x`.
  public static func firewallMark(_ text: RawSpan) throws(ValueMistake) -> UInt32 {
    if isOff(text) { return 0 }
    guard let mark = text.decimalOrHexadecimal(upTo: UInt64(UInt32.max)) else {
      throw ValueMistake(
        expected: "off or a number, 0 to 0xffffffff",
        wgMessage: "Fwmark is neither 0/off nor 0-0xffffffff: '\(text.quotable)'")
    }
    return UInt32(mark)
  }

  /// Seconds between keepalives, or `off`.
  public static func persistentKeepalive(_ text: RawSpan) throws(ValueMistake) -> UInt16 {
    if isOff(text) { return 0 }
    guard let seconds = text.decimal(upTo: 65535) else {
      throw ValueMistake(
        expected: "off or seconds, 1 to 65535",
        wgMessage: "Persistent keepalive interval is neither 0/off nor 1-65535: '\(text.quotable)'")
    }
    return UInt16(seconds)
  }

  /// What a word stands for that turns something on or off, in any case; `nil` for all others.
  static func choice(_ text: RawSpan) -> Bool? {
    if ["yes", "true", "on"].contains(where: { text.equalsIgnoringCase($0) }) { return true }
    return ["no", "false", "off"].contains { text.equalsIgnoringCase($0) } ? false : nil
  }

  static func isOff(_ text: RawSpan) -> Bool {
    text.byteCount == 3 && text.string.lowercased() == "off"
  }

  static func serviceNamed(_ text: RawSpan) -> UInt16? {
    // getservbyname has no business with numbers, which it would not range-check either.
    guard text.byteCount > 0, text.byteCount < 64, text.decimal(upTo: .max) == nil else { return nil }
    return unsafe text.string.withCString { name in
      guard let service = unsafe getservbyname(name, "udp") else { return nil }
      return unsafe UInt16(truncatingIfNeeded: service.pointee.s_port).byteSwapped
    }
  }
}

/// A comma-separated list of allowed IPs.
public struct AllowedIPList: Sendable {
  public private(set) var changes: [AllowedIPChange] = []
  /// Whether the list stands for all that the peer has: no element begins with `+` or `-`.
  public private(set) var replaces = true
  /// Elements with bits set behind their prefix length, as they were written.
  public private(set) var withHostBits: [String] = []

  /// Reads `text`, which holds no white space; an empty one is an empty list.
  public init(_ text: RawSpan) throws(ValueMistake) {
    if text.byteCount == 0 { return }
    var start = 0
    while true {
      let end = text.firstIndex(of: UInt8(ascii: ","), from: start) ?? text.byteCount
      try append(text.extracting(start..<end))
      if end == text.byteCount { return }
      start = end + 1
    }
  }

  private mutating func append(_ element: RawSpan) throws(ValueMistake) {
    var text = element
    var removes = false
    if let sign = element.byteCount > 0 ? element[text: 0] : nil, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-")
    {
      removes = sign == UInt8(ascii: "-")
      replaces = false
      text = element.extracting(1..<element.byteCount)
    }
    let slash = text.firstIndex(of: UInt8(ascii: "/")) ?? text.byteCount
    guard let address = IPAddress(text: text.extracting(0..<slash)) else {
      throw ValueMistake(
        expected: "an IPv4 or IPv6 address instead of '\(text.extracting(0..<slash).quotable)'",
        wgMessage: "Unable to parse IP address: '\(text.extracting(0..<slash).quotable)'")
    }
    var length = address.bitWidth
    if slash < text.byteCount {
      let digits = text.extracting(slash + 1..<text.byteCount)
      guard let number = digits.decimal(upTo: UInt64(address.bitWidth)) else {
        throw ValueMistake(
          expected: "a prefix length, 0 to \(address.bitWidth), instead of '\(digits.quotable)'",
          wgMessage: "AllowedIP is not in the correct format: '\(text.quotable)'")
      }
      length = Int(number)
    }
    let prefix = IPPrefix(address, length: length)
    if prefix.address != address { withHostBits.append(text.string) }
    changes.append(removes ? .remove(prefix) : .add(prefix))
  }
}
