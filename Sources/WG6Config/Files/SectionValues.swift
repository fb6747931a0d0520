import WG6Crypto
import WG6Protocol

/// The values of [Interface] and [Peer].
extension ConfigurationReader {
  /// `value` is without white space, `written` as it stands in the file, which is how messages show it.
  mutating func readInterface(_ key: String, _ value: RawSpan, written: RawSpan) {
    switch key {
    case "PrivateKey":
      guard let change = KeyChange<PrivateKey>(base64: value) else { return refuseKey(key, value) }
      result.secretLine = result.secretLine ?? line
      result.privateKey = change
      if case .remove = change { warn(.zeroKey, "PrivateKey is all zeros, which stands for none") }
    case "ListenPort":
      read(key, value, written) { (reader, value) throws(ValueMistake) in
        reader.result.listenPort = try ValueText.port(value)
        reader.result.linesOfSettings.listenPort = reader.line
      }
    case "FwMark":
      if isOff(value) { return result.firewallMark = 0 }
      read(key, value, written) { (reader, value) throws(ValueMistake) in
        reader.result.firewallMark = try ValueText.firewallMark(value)
      }
    default: readQuick(key, value, written: written)
    }
  }

  mutating func readPeer(
    _ key: String, _ value: RawSpan, written: RawSpan, addressBook: () throws(FileMistakes) -> AddressBook?
  ) {
    let last = drafts.count - 1
    switch key {
    case "PublicKey":
      drafts[last].namesPublicKey = true
      drafts[last].publicKeyLine = line
      if value.byteCount > 0, value[text: 0] == UInt8(ascii: "@") {
        let name = value.extracting(1..<value.byteCount).quotable
        if let key = publicKey(named: name, addressBook: addressBook) {
          drafts[last].publicKey = key
          result.extensions[line] = .spelling(key.base64)
        }
      } else if let key = KeyBase64.decode(value, { PublicKey(bytes: $0) }) ?? nil {
        drafts[last].publicKey = key
      } else {
        refuseKey(key, value, orName: true)
      }
    case "PresharedKey":
      guard let change = KeyChange<PresharedKey>(base64: value) else { return refuseKey(key, value) }
      result.secretLine = result.secretLine ?? line
      drafts[last].presharedKey = change
      if case .remove = change { warn(.zeroKey, "PresharedKey is all zeros, which stands for none") }
    case "Endpoint":
      read(key, value, written) { (reader, value) throws(ValueMistake) in
        let endpoint = try EndpointName(value)
        if let address = endpoint.octalAddress {
          reader.warn(
            .octalAddress, "Endpoint = \(endpoint): read as \(address); numbers that begin with 0 are octal, as in wg")
        }
        if endpoint.lacksBrackets {
          reader.warn(
            .noBrackets,
            "Endpoint = \(endpoint): read as [\(endpoint.host)]:\(endpoint.service); brackets would make it plain")
        }
        reader.drafts[last].endpoint = endpoint
        reader.drafts[last].endpointLine = reader.line
      }
    case "PersistentKeepalive":
      drafts[last].keepaliveLine = line
      if isOff(value) { return drafts[last].persistentKeepalive = 0 }
      read(key, value, written) { (reader, value) throws(ValueMistake) in
        reader.drafts[last].persistentKeepalive = try ValueText.persistentKeepalive(value)
      }
    case "AllowedIPs":
      read(key, value, written) { (reader, value) throws(ValueMistake) in
        let list = try AllowedIPList(value)
        if reader.dialect == .quick { try reader.checkSigns(of: list) }
        for text in list.withHostBits { reader.warn(.hostBits, "AllowedIPs has nonzero host part: \(text)") }
        reader.drafts[last].allowedIPs += list.changes
        reader.drafts[last].allowedIPLines += repeatElement(reader.line, count: list.changes.count)
        reader.drafts[last].replacesAllowedIPs = list.replaces
      }
    case "Multicast":
      if let isOn = choice(key, value, written) { drafts[last].multicast = isOn }
    case "ExcludedIPs":
      let found = exclusions(written)
      drafts[last].excludedIPs.add(found)
      drafts[last].exclusionLines.add(found, line)
    default: break
    }
  }

  /// A tunnel's file says all that a peer has: there is nothing that a `-` could take away from, and what is meant by it,
  /// a hole in a prefix, has a key of its own.
  private mutating func checkSigns(of list: AllowedIPList) throws(ValueMistake) {
    for case .remove(let prefix) in list.changes {
      throw ValueMistake(
        expected: "no '-', which would leave nothing out; ExcludedIPs = \(prefix) keeps that outside",
        wgMessage: "")
    }
    if !list.replaces { warn(.plusSign, "AllowedIPs: '+' changes nothing in a tunnel's file") }
  }

  /// Runs `body` and reports its mistake with the key and the value as it was written.
  private mutating func read(
    _ key: String, _ value: RawSpan, _ written: RawSpan,
    _ body: (inout ConfigurationReader, RawSpan) throws(ValueMistake) -> Void
  ) {
    do {
      try body(&self, value)
    } catch {
      refuse("read \(key) = \(written.quotable), expected \(error.expected)")
    }
  }

  /// Whether `value` is one of the other words for `off`, which only `wg6` reads so.
  mutating func isOff(_ value: RawSpan) -> Bool {
    guard ValueText.choice(value) == false, !ValueText.isOff(value) else { return false }
    result.extensions[line] = .spelling("off")
    return true
  }

  /// A key's value is told by its length alone.
  private mutating func refuseKey(_ key: String, _ value: RawSpan, orName: Bool = false) {
    let read =
      value.byteCount == KeyBase64.encodedLength
      ? "44 characters that are no key" : "\(counted(value.byteCount, "character"))"
    refuse("read \(key) of \(read), expected 44 characters of base64\(orName ? ", or @name" : "")")
  }
}
