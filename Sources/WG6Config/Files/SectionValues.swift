import WG6Crypto
import WG6Protocol

/// The values of [Interface] and [Peer].
extension ConfigurationReader {
  /// `value` is without white space, `written` as it stands in the file.
  mutating func readInterface(_ key: String, _ value: RawSpan, written: RawSpan) {
    switch key {
    case "PrivateKey":
      guard let change = KeyChange<PrivateKey>(base64: value) else { return refuseKey(key, value) }
      result.secretLine = result.secretLine ?? line
      result.privateKey = change
    case "ListenPort":
      read(key, value) { (reader, value) throws(ValueMistake) in reader.result.listenPort = try ValueText.port(value) }
    case "FwMark":
      read(key, value) { (reader, value) throws(ValueMistake) in
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
          result.extensions[line] = .name(of: key)
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
        reader.drafts[last].allowedIPs += list.changes
        reader.drafts[last].allowedIPLines += repeatElement(reader.line, count: list.changes.count)
        reader.drafts[last].replacesAllowedIPs = list.replaces
      }
    case "ExcludedIPs":
      let found = exclusions(written)
      drafts[last].excludedIPs.add(found)
      drafts[last].exclusionLines.add(found, line)
    default: break
    }
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
