import Glibc
import WG6Crypto
import WG6Protocol

extension IPAddress {
  /// The address that `text` spells (`inet_pton`'s forms); `nil` where it spells none.
  public init?(text: RawSpan) {
    // The longest IPv6 text has 45 characters.
    guard text.byteCount > 0, text.byteCount <= 45 else { return nil }
    var characters = InlineArray<48, CChar>(repeating: 0)
    var hasColon = false
    for index in 0..<text.byteCount {
      let character = text[text: index]
      guard character != 0 else { return nil }
      hasColon = hasColon || character == UInt8(ascii: ":")
      characters[index] = CChar(bitPattern: character)
    }
    let span = characters.span
    if hasColon {
      var address = in6_addr()
      let valid = unsafe span.withUnsafeBufferPointer { unsafe inet_pton(AF_INET6, $0.baseAddress!, &address) } == 1
      guard valid else { return nil }
      self.init(address)
    } else {
      var address = in_addr()
      let valid = unsafe span.withUnsafeBufferPointer { unsafe inet_pton(AF_INET, $0.baseAddress!, &address) } == 1
      guard valid else { return nil }
      self = .v4(UInt32(bigEndian: address.s_addr))
    }
  }

  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    unsafe self.init(text: bytes.span.bytes)
  }

  /// The address in the sixteen bytes of an `in6_addr`.
  public init(_ address: in6_addr) {
    let words = unsafe address.__in6_u.__u6_addr32
    let high = UInt64(UInt32(bigEndian: words.0)) << 32 | UInt64(UInt32(bigEndian: words.1))
    let low = UInt64(UInt32(bigEndian: words.2)) << 32 | UInt64(UInt32(bigEndian: words.3))
    self = .v6(high: high, low: low)
  }

  /// Whether this is an IPv6 address of fe80::/10, which means nothing without a zone.
  public var isLinkLocal: Bool {
    if case .v6(let high, _) = self { high >> 54 == 0x3FA } else { false }
  }

  func write(to text: inout ShortText) {
    switch self {
    case .v4(let address): writeDotted(address, to: &text)
    case .v6(let high, let low): writeGroups(high: high, low: low, to: &text)
    }
  }

  private func writeDotted(_ address: UInt32, to text: inout ShortText) {
    for shift in stride(from: UInt32(24), through: 0, by: -8) {
      text.append(decimal: UInt64(address >> shift & 255))
      if shift > 0 { text.append(UInt8(ascii: ".")) }
    }
  }

  /// RFC 5952 §4, and the embedded IPv4 forms where `inet_ntop` has them. Written out because `inet_ntop` goes through
  /// `sprintf`, and a device may have 130,560 prefixes to tell.
  private func writeGroups(high: UInt64, low: UInt64, to text: inout ShortText) {
    func group(_ index: Int) -> UInt16 {
      UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64(48 - index % 4 * 16))
    }
    // The longest run of zero groups, the first of equals, at least two long.
    var run = 0..<0
    var index = 0
    while index < 8 {
      let start = index
      while index < 8, group(index) == 0 { index += 1 }
      if index - start >= 2, index - start > run.count { run = start..<index }
      index += 1
    }
    let embeds = run.lowerBound == 0 && (run.count == 6 || (run.count == 5 && group(5) == 0xFFFF))
    index = 0
    while index < 8 {
      if !run.isEmpty, index == run.lowerBound {
        text.append(UInt8(ascii: ":"))
        if run.upperBound == 8 { text.append(UInt8(ascii: ":")) }
        index = run.upperBound
        continue
      }
      if index > 0 { text.append(UInt8(ascii: ":")) }
      if index == 6, embeds {
        writeDotted(UInt32(truncatingIfNeeded: low), to: &text)
        return
      }
      text.append(hexadecimal: group(index))
      index += 1
    }
  }
}

extension IPPrefix {
  /// The prefix that `text` spells as `address/length`, host bits cleared; without a length the whole address is meant
  /// where `lengthOptional`. `nil` where it spells none.
  public init?(text: RawSpan, lengthOptional: Bool = false) {
    guard let slash = text.firstIndex(of: UInt8(ascii: "/")) else {
      guard lengthOptional, let address = IPAddress(text: text) else { return nil }
      self.init(address, length: address.bitWidth)
      return
    }
    guard let address = IPAddress(text: text.extracting(0..<slash)),
      let length = text.extracting(slash + 1..<text.byteCount).decimal(upTo: UInt64(address.bitWidth))
    else { return nil }
    self.init(address, length: Int(length))
  }

  public init?(_ text: some StringProtocol, lengthOptional: Bool = false) {
    let bytes = Array(text.utf8)
    unsafe self.init(text: bytes.span.bytes, lengthOptional: lengthOptional)
  }

  func write(to text: inout ShortText) {
    address.write(to: &text)
    text.append(UInt8(ascii: "/"))
    text.append(decimal: UInt64(length))
  }
}

extension Endpoint {
  /// The endpoint that `text` spells: `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820`. A zone is an
  /// interface's index, or the name of one that exists now. `nil` where it spells none; names of hosts are not looked up.
  public init?(text: RawSpan) {
    guard let colon = text.lastIndex(of: UInt8(ascii: ":")), colon > 0,
      let port = text.extracting(colon + 1..<text.byteCount).decimal(upTo: 65535)
    else { return nil }
    guard text[text: 0] == UInt8(ascii: "[") else {
      guard let address = IPAddress(text: text.extracting(0..<colon)), !address.isIPv6 else { return nil }
      self.init(address: address, port: UInt16(port))
      return
    }
    guard colon >= 2, text[text: colon - 1] == UInt8(ascii: "]") else { return nil }
    let host = text.extracting(1..<colon - 1)
    let percent = host.firstIndex(of: UInt8(ascii: "%"))
    guard let address = IPAddress(text: host.extracting(0..<(percent ?? host.byteCount))), address.isIPv6 else {
      return nil
    }
    var zone: UInt32 = 0
    if let percent {
      // Only a link-local address has one: what would a zone on a global address mean?
      guard address.isLinkLocal, let index = Endpoint.zone(host.extracting(percent + 1..<host.byteCount)) else {
        return nil
      }
      zone = index
    }
    self.init(address: address, port: UInt16(port), zone: zone)
  }

  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    unsafe self.init(text: bytes.span.bytes)
  }

  private static func zone(_ text: RawSpan) -> UInt32? {
    if let index = text.decimal(upTo: UInt64(UInt32.max)) { return index == 0 ? nil : UInt32(index) }
    guard text.byteCount > 0, text.byteCount < Int(IFNAMSIZ) else { return nil }
    let index = unsafe text.string.withCString { unsafe if_nametoindex($0) }
    return index == 0 ? nil : index
  }

  func write(to text: inout ShortText) {
    if address.isIPv6 { text.append(UInt8(ascii: "[")) }
    address.write(to: &text)
    if zone != 0 {
      text.append(UInt8(ascii: "%"))
      text.append(decimal: UInt64(zone))
    }
    if address.isIPv6 { text.append(UInt8(ascii: "]")) }
    text.append(UInt8(ascii: ":"))
    text.append(decimal: UInt64(port))
  }
}

extension IPAddress: CustomStringConvertible {
  public var description: String {
    var text = ShortText()
    write(to: &text)
    return text.string
  }
}

extension IPPrefix: CustomStringConvertible {
  public var description: String {
    var text = ShortText()
    write(to: &text)
    return text.string
  }
}

extension Endpoint: CustomStringConvertible {
  public var description: String {
    var text = ShortText()
    write(to: &text)
    return text.string
  }
}
