import WG6Crypto
import WG6Protocol

/// A network in which this machine and each of its peers have an address that follows from its key: fe80::/64 with
/// `LinkLocal = auto`, or that of a name with `Address = ula:NAME` (`DerivedAddress`, docs/addresses.md).
public struct DerivedNetwork: Hashable, Sendable {
  /// The first 64 bits of its addresses.
  public let high: UInt64
  /// As it is written behind `ula:`; `nil` of fe80::/64.
  public let name: String?
  let line: Int
  /// Of this machine's own address there, among the file's.
  var place: Int

  /// As the file says it.
  public var setting: String { name.map { "Address = ula:\($0)" } ?? "LinkLocal = auto" }
  public var prefix: IPPrefix { IPPrefix(.v6(high: high, low: 0), length: 64) }
  var isLinkLocal: Bool { name == nil }
}

/// An allowed IP that no line has.
public struct DerivedPrefix: Hashable, Sendable {
  public let prefix: IPPrefix
  /// Of the setting that it follows from.
  let line: Int
  /// Whether it means something on this link alone: no exclusion concerns it, and nothing outside the tunnel is routed by it.
  public let isOfLink: Bool
}

extension ConfigurationFile {
  /// What a file says in its place for an address of the interface.
  func setting(of place: Int) -> String {
    derivedNetworks.first { $0.place == place }?.setting ?? "Address = \(addresses[place])"
  }

  /// The prefixes that belong to the peer with `key` besides what is written, whether or not the file has such a peer.
  ///
  /// - Parameter isAlone: whether there is no other peer. Then what goes to all neighbours goes to it.
  func derivedPrefixes(of key: PublicKey, isAlone: Bool) -> [DerivedPrefix] {
    guard !derivedNetworks.isEmpty else { return [] }
    let identifier = DerivedAddress.interfaceIdentifier(of: key)
    return derivedNetworks.flatMap { network -> [DerivedPrefix] in
      let isOfLink = network.isLinkLocal
      let own = DerivedPrefix(
        prefix: DerivedAddress.prefix(of: identifier, in: network.high), line: network.line, isOfLink: isOfLink)
      guard isOfLink, isAlone else { return [own] }
      return [own, DerivedPrefix(prefix: DerivedAddress.groupsOfLink, line: network.line, isOfLink: true)]
    }
  }
}

extension ConfigurationReader {
  mutating func readLinkLocal(_ value: RawSpan, _ written: RawSpan) {
    let isAutomatic = value.equalsIgnoringCase("auto")
    guard isAutomatic || ValueText.choice(value) == false else {
      return refuse("read LinkLocal = \(written.quotable), expected auto or no")
    }
    result.derivedNetworks.removeAll(where: \.isLinkLocal)
    guard isAutomatic else { return }
    result.derivedNetworks.append(
      DerivedNetwork(high: DerivedAddress.linkLocalNetwork, name: nil, line: line, place: 0))
  }

  /// Reads `ula:NAME`. The address itself is known when the private key is, see `derive`.
  ///
  /// - Returns: whether it is that, right or wrong.
  mutating func readUniqueLocal(_ text: RawSpan) -> Bool {
    let head = "ula:".utf8.count
    guard text.byteCount >= head, text.extracting(0..<head).equalsIgnoringCase("ula:") else { return false }
    let name = text.extracting(head..<text.byteCount)
    guard AddressBook.isName(name) else {
      refuse(
        "read Address = \(text.quotable), expected 1 to 63 letters, digits, '_', '-' or '.' behind 'ula:', the network's name"
      )
      return true
    }
    if result.derivedNetworks.count >= ControlRequestParser.maximumDerivedNetworks - 1 {
      refuse(
        "read Address = \(text.quotable), expected at most \(ControlRequestParser.maximumDerivedNetworks - 1) networks")
      return true
    }
    let network = DerivedNetwork(
      high: DerivedAddress.uniqueLocalNetwork(named: name.string), name: name.string, line: line,
      place: result.addresses.count)
    if let other = result.derivedNetworks.first(where: { $0.high == network.high }) {
      refuse("read Address = \(text.quotable) again, expected each network once (line \(other.line))")
      return true
    }
    result.derivedNetworks.append(network)
    result.addresses.append(InterfaceAddress(.v6(high: network.high, low: 0), prefixLength: 64))
    result.addressLines.append(line)
    result.addressTexts.append(text.quotable)
    result.extensions[line] = .derivedAddresses
    return true
  }

  /// Fills in what follows from keys, and refuses what contradicts it.
  mutating func derive(ownKey: PublicKey?) {
    guard !result.derivedNetworks.isEmpty else { return }
    guard let ownKey else {
      // A key with a mistake has been told of.
      guard !interfaceSeen.keys.contains("PrivateKey") || result.secretLine != nil else { return }
      for network in result.derivedNetworks {
        refuse(
          "read \(network.setting) without PrivateKey, expected the key that the address follows from",
          line: network.line)
      }
      return
    }
    deriveOwnAddresses(DerivedAddress.interfaceIdentifier(of: ownKey))
    derivePeersAddresses(ownKey)
    refuseExclusions()
  }

  private mutating func deriveOwnAddresses(_ identifier: UInt64) {
    for index in result.derivedNetworks.indices {
      let network = result.derivedNetworks[index]
      let address = InterfaceAddress(.v6(high: network.high, low: identifier), prefixLength: 64)
      let written = zip(result.addresses, result.addressLines).enumerated().first { place, written in
        (network.isLinkLocal ? written.0.address.isLinkLocal : written.0.address == address.address)
          && !(place == network.place && !network.isLinkLocal)
      }
      if let (_, (other, line)) = written {
        refuse(
          "read Address = \(other) beside \(network.setting) (line \(network.line)), which is \(address): expected one of both",
          line: line)
        continue
      }
      if network.isLinkLocal {
        result.derivedNetworks[index].place = result.addresses.count
        result.addresses.append(address)
        result.addressLines.append(network.line)
        result.addressTexts.append("\(address)")
        result.extensions[network.line] = .line("Address = \(address)")
      } else {
        result.addresses[network.place] = address
        result.addressTexts[network.place] = "\(address)"
      }
    }
  }

  /// An address has one owner: of two peers with one the device would take the later.
  private mutating func derivePeersAddresses(_ ownKey: PublicKey) {
    let setting = result.derivedNetworks[0].setting
    var owners = [DerivedAddress.interfaceIdentifier(of: ownKey): ownKey]
    let places = result.placesOfPeers
    for (place, peer) in result.peers.enumerated() where places[peer.publicKey] == place {
      result.peers[place].derivedIPs = result.derivedPrefixes(of: peer.publicKey, isAlone: places.count == 1)
      let identifier = DerivedAddress.interfaceIdentifier(of: peer.publicKey)
      guard let other = owners.updateValue(peer.publicKey, forKey: identifier), other != peer.publicKey else {
        continue
      }
      let owner = other == ownKey ? "this interface's" : "the key \(other)"
      refuse(
        "read PublicKey = \(peer.publicKey), from which the same address follows as from \(owner); \(setting) needs another key",
        line: peer.publicKeyLine)
    }
    let networks = Dictionary(result.derivedNetworks.map { ($0.high, $0) }) { first, _ in first }
    for peer in result.peers {
      for case (.add(let prefix), let line) in zip(peer.allowedIPs, peer.allowedIPLines) where prefix.length == 128 {
        guard case .v6(let high, let low) = prefix.address, let network = networks[high], let owner = owners[low],
          owner != peer.publicKey
        else { continue }
        refuse(
          "read AllowedIPs = \(prefix), which by \(network.setting) (line \(network.line)) is the address of "
            + "\(owner == ownKey ? "this interface" : "the peer \(owner)"), expected another",
          line: line)
      }
    }
  }

  /// Nothing can be taken away from a peer that follows from its key. Of link-local addresses an exclusion means those of
  /// other links.
  private mutating func refuseExclusions() {
    let owners = Dictionary(
      result.peers.flatMap { peer in
        peer.derivedIPs.filter { !$0.isOfLink }.map { ($0.prefix, (key: peer.publicKey, line: $0.line)) }
      }
    ) { first, _ in first }
    let networks = result.derivedNetworks.filter { !$0.isLinkLocal }.map(\.prefix)
    let parts =
      [(result.excludedIPs, result.exclusionLines, nil as PublicKey?)]
      + result.peers.map { ($0.excludedIPs, $0.exclusionLines, $0.publicKey) }
    for (exclusions, lines, key) in parts {
      for (excluded, line) in zip(exclusions.prefixes, lines.prefixes) where networks.contains(where: excluded.overlaps)
      {
        let lost = owners.filter { excluded.overlaps($0.key) && (key == nil || key == $0.value.key) }
        guard let (prefix, owner) = lost.min(by: { $0.key < $1.key }) else { continue }
        refuse(
          "read ExcludedIPs = \(excluded), which takes \(prefix.address) away from the peer that has it by line \(owner.line), "
            + "expected another prefix",
          line: line)
      }
    }
  }
}
