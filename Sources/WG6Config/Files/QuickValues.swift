import WG6Crypto
import WG6Protocol

/// The values of [Interface] that a device knows nothing of: wg-quick's and ours.
extension ConfigurationReader {
  /// `value` is without white space, `written` as it stands in the file. Where nothing stands, wg-quick takes most keys
  /// as not given.
  mutating func readQuick(_ key: String, _ value: RawSpan, written: RawSpan) {
    switch key {
    case "Address": for element in elements(key, written) { readAddress(written.extracting(element)) }
    case "DNS": for element in elements(key, written) { readResolver(written.extracting(element)) }
    case "MTU":
      // An IPv4 link carries 68 bytes at least (RFC 791); a TUN device ends at 65,535.
      guard value.byteCount > 0 else {
        warnOfNothing(key)
        result.mtuText = ""
        return result.mtu = nil
      }
      guard let mtu = value.decimalOrHexadecimal(upTo: 65535), mtu >= 68 else {
        return refuse("read MTU = \(written.quotable), expected a number, 68 to 65535")
      }
      if mtu < 1280 { warn(.smallMTU, "MTU = \(mtu): below 1280 there is no IPv6 on the interface (RFC 8200 §5)") }
      result.mtu = Int(mtu)
      result.mtuText = value.quotable
    case "Table": readTable(value, written)
    case "PreUp": readHook(key, written, \.preUp)
    case "PostUp": readHook(key, written, \.postUp)
    case "PreDown": readHook(key, written, \.preDown)
    case "PostDown": readHook(key, written, \.postDown)
    case "SaveConfig":
      guard let saves = choice(key, value, written) else { return }
      result.savesConfiguration = saves
      let plain = saves ? "true" : "false"
      if !value.equalsIgnoringCase(plain) { result.extensions[line] = .spelling(plain) }
    case "KillSwitch":
      result.linesOfSettings.killSwitch = line
      if value.equalsIgnoringCase("lan") { return result.killSwitch = .exceptLAN }
      if let isOn = choice(key, value, written, or: "lan") { result.killSwitch = isOn ? .on : .off }
    case "ClampMSS":
      if let clamps = choice(key, value, written) { result.clampsMSS = clamps }
    case "SpoofGuard":
      if let guards = choice(key, value, written) { result.guardsAgainstSpoofing = guards }
    case "Multicast":
      if let isOn = choice(key, value, written) { result.multicast = isOn }
    case "LinkLocal": readLinkLocal(value, written)
    case "AcceptRA":
      if let accepts = choice(key, value, written) { result.acceptsRouterAdvertisements = accepts }
      result.linesOfSettings.acceptRA = line
    case "RouteSync":
      result.linesOfSettings.routeSync = line
      if let syncs = choice(key, value, written) { result.syncsRoutes = syncs }
    case "RouteSyncFilter": readRouteSyncFilter(written)
    case "DeadAfter":
      result.linesOfSettings.deadAfter = line
      if ValueText.choice(value) == false { return result.deadAfter = 0 }
      guard let seconds = value.decimal(upTo: 3600) else {
        return refuse("read DeadAfter = \(written.quotable), expected off or seconds, 1 to 3600")
      }
      result.deadAfter = UInt16(seconds)
    case "Warnings": readWarnings(written)
    case "ExcludedIPs":
      let found = exclusions(written)
      result.excludedIPs.add(found)
      result.exclusionLines.add(found, line)
    default: break
    }
  }

  private mutating func readAddress(_ text: RawSpan) {
    if readUniqueLocal(text) { return }
    let slash = text.firstIndex(of: UInt8(ascii: "/")) ?? text.byteCount
    guard let address = IPAddress(text: text.extracting(0..<slash)) else {
      return refuse(
        "read Address = \(text.quotable), expected an IPv4 or IPv6 address and a prefix length, or ula:NAME")
    }
    var length = address.bitWidth
    if slash < text.byteCount {
      guard let number = address.prefixLength(text.extracting(slash + 1..<text.byteCount)) else {
        return refuse("read Address = \(text.quotable), expected a prefix length, 0 to \(address.bitWidth)")
      }
      length = number
    }
    guard !address.isUnspecifiedOrMulticast else {
      return refuse("read Address = \(text.quotable), expected an address that an interface can have")
    }
    // An interface has an IPv6 address once, and an IPv4 address once with each length.
    guard !result.addresses.contains(where: { $0.address == address && (address.isIPv6 || $0.prefixLength == length) })
    else {
      return refuse("read Address = \(text.quotable) again, expected each address once")
    }
    result.addresses.append(InterfaceAddress(address, prefixLength: length))
    result.addressLines.append(line)
    result.addressTexts.append(text.quotable)
  }

  /// A server where wg-quick would see one: digits and dots alone, or a colon anywhere.
  private mutating func readResolver(_ text: RawSpan) {
    if text.firstIndex(of: UInt8(ascii: ":")) != nil || text.isDigitsAndDots {
      guard let server = NameServer(text) else {
        return refuse("read DNS = \(text.quotable), expected the address of a server")
      }
      result.resolver.servers.append(server)
      result.linesOfSettings.server = result.linesOfSettings.server ?? line
    } else if text[text: 0] == UInt8(ascii: "~"), text.extracting(1..<text.byteCount).isDomain {
      result.resolver.routingDomains.append(text.extracting(1..<text.byteCount).string)
      result.extensions[line] = .routingDomains
      result.linesOfSettings.routingDomain = result.linesOfSettings.routingDomain ?? line
      result.linesOfSettings.domain = result.linesOfSettings.domain ?? line
    } else if text.isDomain {
      result.resolver.searchDomains.append(text.string)
      result.linesOfSettings.domain = result.linesOfSettings.domain ?? line
    } else {
      refuse("read DNS = \(text.quotable), expected the address of a server, a search domain or ~domain")
    }
  }

  private mutating func readTable(_ value: RawSpan, _ written: RawSpan) {
    result.tableText = value.byteCount > 0 ? value.quotable : nil
    if value.byteCount == 0 {
      warnOfNothing("Table")
      result.table = .automatic
    } else if value.equalsIgnoringCase("auto") {
      spellTable("auto", value)
      result.table = .automatic
    } else if value.equalsIgnoringCase("off") {
      spellTable("off", value)
      result.table = .off
    } else if let number = value.decimalOrHexadecimal(upTo: UInt64(UInt32.max)) ?? RoutingTables.number(of: value),
      number > 0
    {
      result.table = .number(UInt32(number))
    } else if isOff(value) {
      spellTable("off", value)
      result.table = .off
    } else {
      refuse("read Table = \(written.quotable), expected auto, off, a number or a name of \(RoutingTables.path)")
    }
  }

  /// `ip` knows the word only as it is spelled here.
  private mutating func spellTable(_ word: String, _ value: RawSpan) {
    result.tableText = word
    if value.string != word { result.extensions[line] = .spelling(word) }
  }

  /// The elements of a list that may be empty.
  private mutating func elements(_ key: String, _ written: RawSpan) -> [Range<Int>] {
    let elements = written.listElements
    if elements.isEmpty { warnOfNothing(key) }
    return elements
  }

  private mutating func warnOfNothing(_ key: String) {
    warn(.emptyValue, "\(key) without a value, which is as if the line were not there")
  }

  private mutating func readHook(_ key: String, _ command: RawSpan, _ hooks: WritableKeyPath<Hooks, [String]>) {
    let bytes = (0..<command.byteCount).map { command[text: $0] }
    // A command with other bytes in their place would be another command.
    guard let text = String(validating: bytes, as: UTF8.self) else {
      return refuse("read \(key) with bytes that are no text, expected UTF-8")
    }
    result.hooks[keyPath: hooks].append(text)
    result.linesOfSettings.hook = result.linesOfSettings.hook ?? line
  }

  private mutating func readRouteSyncFilter(_ text: RawSpan) {
    let expected = "expected prefixes, as in 2001:db8::/32, 10.0.0.0/8"
    result.linesOfSettings.routeSyncFilter = result.linesOfSettings.routeSyncFilter ?? line
    let elements = text.listElements
    if elements.isEmpty { refuse("read RouteSyncFilter without a value, \(expected)") }
    for range in elements {
      let element = text.extracting(range)
      guard let prefix = IPPrefix(text: element) else {
        refuse("read RouteSyncFilter = \(element.quotable), \(expected)")
        continue
      }
      result.routeSyncFilter.append(prefix)
    }
  }

  /// What a line's ExcludedIPs are; refuses what is none.
  mutating func exclusions(_ text: RawSpan) -> Exclusions {
    var found = Exclusions()
    let expected = "expected addresses, prefixes or lan, as in 192.0.2.0/24, lan"
    let elements = text.listElements
    if elements.isEmpty { refuse("read ExcludedIPs without a value, \(expected)") }
    for range in elements {
      let element = text.extracting(range)
      if element.byteCount == 3, element.string.lowercased() == "lan" {
        found.includesLAN = true
      } else if let prefix = IPPrefix(text: element, lengthOptional: true) {
        let slash = element.firstIndex(of: UInt8(ascii: "/")) ?? element.byteCount
        if prefix.address != IPAddress(text: element.extracting(0..<slash)) {
          warn(.hostBits, "ExcludedIPs has nonzero host part: \(element.string)")
        }
        found.prefixes.append(prefix)
      } else {
        refuse("read ExcludedIPs = \(element.quotable), \(expected)")
      }
    }
    return found
  }

  /// What the word `value` stands for; refuses all that turn nothing on or off.
  mutating func choice(_ key: String, _ value: RawSpan, _ written: RawSpan, or other: String? = nil) -> Bool? {
    if let choice = ValueText.choice(value) { return choice }
    refuse("read \(key) = \(written.quotable), expected \(other == nil ? "yes or no" : "yes, no or \(other!)")")
    return nil
  }
}

extension RawSpan {
  /// wg-quick's test for an IPv4 server.
  fileprivate var isDigitsAndDots: Bool {
    (0..<byteCount).allSatisfy { byte(at: $0) == UInt8(ascii: ".") || isDigit(at: $0) }
  }

  /// Whether this may be a domain's name; '.' is the root.
  fileprivate var isDomain: Bool {
    guard byteCount > 0, byteCount <= 253 else { return false }
    return (0..<byteCount).allSatisfy { index in
      let character = byte(at: index)
      return isDigit(at: index) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(character | 0x20)
        || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_")].contains(character)
    }
  }

  private func isDigit(at index: Int) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte(at: index))
  }
}

extension IPAddress {
  fileprivate var isUnspecifiedOrMulticast: Bool {
    switch self {
    case .v4(let address): address == 0 || address >> 28 == 0xE
    case .v6(let high, let low): (high == 0 && low == 0) || high >> 56 == 0xFF
    }
  }

  /// The length that `text` gives an address of this family: a number or, as `ip address add` takes it too, an IPv4 mask.
  fileprivate func prefixLength(_ text: RawSpan) -> Int? {
    if let number = text.decimal(upTo: UInt64(bitWidth)) { return Int(number) }
    guard !isIPv6, case .v4(let mask)? = IPAddress(text: text) else { return nil }
    let length = (~mask).leadingZeroBitCount
    return mask == ~UInt32(UInt64(UInt32.max) >> UInt64(length)) ? length : nil
  }
}
