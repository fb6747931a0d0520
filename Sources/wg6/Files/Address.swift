import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Protocol

struct Address: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints the addresses that follow from public keys.",
    discussion: """
      WHOSE is @name of the address book, a public key, or a tunnel's file or name: then it prints this machine's addresses \
      and those of each peer. Without it, all of the address book. These are the addresses that peers have with \
      LinkLocal = auto and Address = ula:NAME; the networks are those of --network, or those that files in \
      /etc/wireguard have. Then it prints the lines that files of plain WireGuard need for them.
        wg6 address @laptop
        wg6 address --network home @laptop
        wg6 address wgnet
      """)

  @Argument(
    help: ArgumentHelp("@name, a public key, or a tunnel's file or name.", valueName: "whose"), completion: .keyHolder)
  var whose: String?

  @Option(
    help: ArgumentHelp("The network of Address = ula:NAME. May be repeated.", valueName: "name"))
  var network: [String] = []

  func validate() throws {
    for name in network where !AddressBook.isName(name) {
      throw ValidationError("--network \(name): expected 1 to 63 letters, digits, '_', '-' or '.'")
    }
  }

  func run() throws {
    guard let whose else {
      let entries = try KnownKeys.forDisplay().entries
      guard !entries.isEmpty else {
        throw failure(
          "there is no address book with names in it; say whose addresses to print: @name, a key or a tunnel")
      }
      let networks = network.isEmpty ? Self.networksOfFiles() : network
      for (index, entry) in entries.enumerated() {
        if index > 0 { try say() }
        try show(entry.publicKey, entry.name, in: networks)
      }
      return
    }
    if let key = try key(whose) {
      let name = try KnownKeys.forDisplay().name(of: key)
      return try show(key, name, in: network.isEmpty ? Self.networksOfFiles() : network)
    }
    try showTunnel(ConfigurationSource(named: whose))
  }

  /// The key that `word` means; `nil` for a tunnel.
  private func key(_ word: String) throws -> PublicKey? {
    if let key = unsafe KeyBase64.decode(Array(word.utf8).span.bytes, { PublicKey(bytes: $0) }) ?? nil { return key }
    let isName = word.hasPrefix("@")
    let source = ConfigurationSource(named: word)
    if !isName, unsafe access(source.path, F_OK) == 0 || word.contains("/") || word.hasSuffix(".conf") { return nil }
    let name = isName ? String(word.dropFirst()) : word
    let book: AddressBook
    do {
      guard let found = try KnownKeys.read() else {
        throw failure(
          "'\(word)' is no public key and no tunnel's file, and there is no address book (\(KnownKeys.path))")
      }
      book = found
    } catch let error as FileMistakes {
      throw failure(error)
    }
    if let key = book.publicKey(named: name) { return key }
    let near = book.nearestName(to: name).map { Suggestion.text("@\($0)") } ?? ""
    throw failure(
      "\(KnownKeys.path) has no name '\(name)'\(isName ? "" : ", and \(source.path) does not exist").\(near)")
  }

  private func showTunnel(_ source: ConfigurationSource) throws {
    let configuration = try source.read(.quick) { configuration, _ in configuration }
    guard case .set(let privateKey) = configuration.privateKey else {
      throw failure("no PrivateKey, from which this machine's addresses follow", at: source.path)
    }
    let names = try PeerNames()
    let networks = network.isEmpty ? configuration.derivedNetworks.compactMap(\.name) : network
    try show(privateKey.publicKey, "this machine", in: networks)
    var known: Swift.Set<PublicKey> = []
    for peer in configuration.peers where known.insert(peer.publicKey).inserted {
      try say()
      try show(peer.publicKey, names.name(peer.publicKey), in: networks)
    }
  }

  private func show(_ key: PublicKey, _ name: String?, in networks: [String]) throws {
    let label = name ?? "this key"
    let identifier = DerivedAddress.interfaceIdentifier(of: key)
    let rows =
      [("link-local", DerivedAddress.linkLocalNetwork)]
      + networks.map { ("ula:\($0)", DerivedAddress.uniqueLocalNetwork(named: $0)) }
    let width = rows.map(\.0.count).max() ?? 0
    try say(name.map { "\($0)  \(key)" } ?? "\(key)")
    let addresses = rows.map { IPAddress.v6(high: $0.1, low: identifier) }
    for (row, address) in zip(rows, addresses) {
      try say("  \(row.0)\(String(repeating: " ", count: width - row.0.count))  \(address)")
    }
    try say("  plain WireGuard, in [Interface] of \(label):")
    try say("    Address = \(addresses.map { "\($0)/64" }.joined(separator: ", "))")
    try say("  plain WireGuard, in a [Peer] that is \(label):")
    try say("    AllowedIPs = \(addresses.map { "\($0)/128" }.joined(separator: ", "))")
  }

  /// The networks that files in /etc/wireguard name, as far as they can be read; each once.
  private static func networksOfFiles() -> [String] {
    var known: Swift.Set<UInt64> = []
    return Candidates.files.flatMap { file -> [String] in
      let path = ConfigurationSource(named: file).path
      let book = { () throws(FileMistakes) -> AddressBook? in try KnownKeys.read() }
      let text = try? WipedBytes(contentsOf: path)
      let configuration = text?.withBytes {
        try? ConfigurationFile(reading: $0, named: path, dialect: .quick, addressBook: book)
      }
      return (configuration ?? nil)?.derivedNetworks.compactMap(\.name) ?? []
    }.filter { known.insert(DerivedAddress.uniqueLocalNetwork(named: $0)).inserted }
  }
}
