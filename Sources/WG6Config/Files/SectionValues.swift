import WG6Crypto
import WG6Protocol

/// The values of [Interface] and [Peer].
extension ConfigurationReader {
  /// `value` is without white space; `spaced` has that between its words.
  mutating func readInterface(_ key: String, _ value: RawSpan, spaced: RawSpan) {
    switch key {
    case "PrivateKey":
      guard let change = KeyChange<PrivateKey>(base64: value) else { return refuseKey(key, value) }
      result.privateKey = change
    case "ListenPort":
      read(key, value) { (reader, value) throws(ValueMistake) in reader.result.listenPort = try ValueText.port(value) }
    case "FwMark":
      read(key, value) { (reader, value) throws(ValueMistake) in
        reader.result.firewallMark = try ValueText.firewallMark(value)
      }
    case "Address": readAddresses(spaced)
    case "MTU":
      // An IPv4 link carries 68 bytes at least (RFC 791); a TUN device ends at 65,535.
      guard let mtu = value.decimal(upTo: 65535), mtu >= 68 else {
        return refuse("read MTU = \(value.quotable), expected a number, 68 to 65535")
      }
      if mtu < 1280 { warn("MTU = \(mtu): below 1280 there is no IPv6 on the interface (RFC 8200 §5)") }
      result.mtu = Int(mtu)
    case "Table":
      if value.string.lowercased() == "auto" {
        result.table = .automatic
      } else if ValueText.isOff(value) {
        result.table = .off
      } else if let number = value.decimalOrHexadecimal(upTo: UInt64(UInt32.max)), number > 0 {
        result.table = .number(UInt32(number))
      } else {
        refuse("read Table = \(value.quotable), expected auto, off or a number")
      }
    default: break
    }
  }

  mutating func readPeer(
    _ key: String, _ value: RawSpan, addressBook: () throws(FileMistakes) -> AddressBook?
  ) {
    let last = drafts.count - 1
    switch key {
    case "PublicKey":
      drafts[last].namesPublicKey = true
      drafts[last].publicKeyLine = line
      if value.byteCount > 0, value[text: 0] == UInt8(ascii: "@") {
        let name = value.extracting(1..<value.byteCount).quotable
        drafts[last].publicKey = publicKey(named: name, addressBook: addressBook)
      } else if let key = KeyBase64.decode(value, { PublicKey(bytes: $0) }) ?? nil {
        drafts[last].publicKey = key
      } else {
        refuseKey(key, value, orName: true)
      }
    case "PresharedKey":
      guard let change = KeyChange<PresharedKey>(base64: value) else { return refuseKey(key, value) }
      drafts[last].presharedKey = change
    case "Endpoint":
      read(key, value) { (reader, value) throws(ValueMistake) in
        let endpoint = try EndpointName(value)
        if endpoint.lacksBrackets {
          reader.warn(
            "Endpoint = \(endpoint): read as [\(endpoint.host)]:\(endpoint.service); brackets would make it plain")
        }
        reader.drafts[last].endpoint = endpoint
        reader.drafts[last].endpointLine = reader.line
      }
    case "PersistentKeepalive":
      read(key, value) { (reader, value) throws(ValueMistake) in
        reader.drafts[last].persistentKeepalive = try ValueText.persistentKeepalive(value)
      }
    case "AllowedIPs":
      read(key, value) { (reader, value) throws(ValueMistake) in
        let list = try AllowedIPList(value)
        for text in list.withHostBits { reader.warn("AllowedIPs has nonzero host part: \(text)") }
        for case .add(let prefix) in list.changes where prefix.length == 0 {
          reader.defaultRoutes.append((reader.line, prefix))
        }
        reader.drafts[last].allowedIPs += list.changes
        reader.drafts[last].replacesAllowedIPs = list.replaces
      }
    default: break
    }
  }

  private mutating func readAddresses(_ text: RawSpan) {
    var index = 0
    var count = 0
    while index < text.byteCount {
      var end = index
      while end < text.byteCount, text[text: end] != UInt8(ascii: ","), !text.isSpace(at: end) { end += 1 }
      if end > index {
        count += 1
        readAddress(text.extracting(index..<end))
      }
      index = end + 1
    }
    if count == 0 { refuse("read Address without a value, expected an address, as in 2001:db8::1/64") }
  }

  private mutating func readAddress(_ text: RawSpan) {
    let slash = text.firstIndex(of: UInt8(ascii: "/")) ?? text.byteCount
    guard let address = IPAddress(text: text.extracting(0..<slash)) else {
      return refuse("read Address = \(text.quotable), expected an IPv4 or IPv6 address and a prefix length")
    }
    var length = address.bitWidth
    if slash < text.byteCount {
      guard let number = text.extracting(slash + 1..<text.byteCount).decimal(upTo: UInt64(address.bitWidth)) else {
        return refuse("read Address = \(text.quotable), expected a prefix length, 0 to \(address.bitWidth)")
      }
      length = Int(number)
    }
    guard !address.isUnspecifiedOrMulticast else {
      return refuse("read Address = \(text.quotable), expected an address that an interface can have")
    }
    let entry = InterfaceAddress(address, prefixLength: length)
    guard !result.addresses.contains(where: { $0.address == address }) else {
      return refuse("read Address = \(text.quotable) again, expected each address once")
    }
    result.addresses.append(entry)
  }

  /// Runs `body` and reports its mistake with the key and the value.
  private mutating func read(
    _ key: String, _ value: RawSpan,
    _ body: (inout ConfigurationReader, RawSpan) throws(ValueMistake) -> Void
  ) {
    do {
      try body(&self, value)
    } catch {
      refuse("read \(key) = \(value.quotable), expected \(error.expected)")
    }
  }

  /// A key's value is told by its length alone.
  private mutating func refuseKey(_ key: String, _ value: RawSpan, orName: Bool = false) {
    let read =
      value.byteCount == KeyBase64.encodedLength ? "44 characters that are no key" : "\(value.byteCount) characters"
    refuse("read \(key) of \(read), expected 44 characters of base64\(orName ? ", or @name" : "")")
  }
}

extension IPAddress {
  fileprivate var isUnspecifiedOrMulticast: Bool {
    switch self {
    case .v4(let address): address == 0 || address >> 28 == 0xE
    case .v6(let high, let low): (high == 0 && low == 0) || high >> 56 == 0xFF
    }
  }
}
