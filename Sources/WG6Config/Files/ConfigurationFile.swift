import WG6Crypto
import WG6Protocol

/// Which keys a configuration file may have.
public enum ConfigurationDialect: Sendable {
  /// `wg setconf`'s: keys of the device and its peers.
  case plain
  /// wg-quick's: those, and what the interface around the device needs.
  case quick
}

/// Where routes to the allowed IPs go.
public enum RouteTable: Hashable, Sendable {
  /// The main table; those to a prefix of length 0 a table of the tunnel's own.
  case automatic
  /// Nowhere.
  case off
  case number(UInt32)
}

/// An interface's own address, host bits and all, and the length of its on-link prefix.
public struct InterfaceAddress: Hashable, Sendable, CustomStringConvertible {
  public let address: IPAddress
  public let prefixLength: Int

  public init(_ address: IPAddress, prefixLength: Int) {
    self.address = address
    self.prefixLength = prefixLength
  }

  public var description: String { "\(address)/\(prefixLength)" }
}

/// A configuration file, read and checked; names of hosts are still to be resolved.
public struct ConfigurationFile: Sendable {
  public internal(set) var privateKey: KeyChange<PrivateKey> = .keep
  public internal(set) var listenPort: UInt16?
  public internal(set) var firewallMark: UInt32?
  public internal(set) var addresses: [InterfaceAddress] = []
  public internal(set) var resolver = ResolverSettings()
  public internal(set) var mtu: Int?
  public internal(set) var table: RouteTable = .automatic
  public internal(set) var hooks = Hooks()
  /// `SaveConfig`: `down` writes back what the interface has.
  public internal(set) var savesConfiguration = false
  /// Of [Interface]: what goes to no peer.
  public internal(set) var excludedIPs = Exclusions()
  public internal(set) var killSwitch = KillSwitch.off
  public internal(set) var clampsMSS = false
  /// `SpoofGuard`: what only the tunnel may bring is dropped where it comes by another interface.
  public internal(set) var guardsAgainstSpoofing = true
  /// `Multicast` of [Interface]: peers get multicast that do not choose for themselves.
  public internal(set) var multicast: Bool?
  /// `LinkLocal = auto` and `Address = ula:NAME`: in which networks addresses follow from keys.
  public internal(set) var derivedNetworks: [DerivedNetwork] = []
  /// `AcceptRA`: router advertisements from the tunnel are taken.
  public internal(set) var acceptsRouterAdvertisements = false
  /// `RouteSync` and `RouteSyncFilter`: routes that have a peer as gateway become its allowed IPs.
  public internal(set) var syncsRoutes: Bool?
  public internal(set) var routeSyncFilter: [IPPrefix] = []
  /// `DeadAfter`, in seconds; 0 is off.
  public internal(set) var deadAfter: UInt16?
  public internal(set) var peers: [Peer] = []
  /// What was accepted, as `wg` does, and still looks like a slip of one line. `findings` tells what the lines mean
  /// together.
  public internal(set) var warnings: [FileMistake] = []
  /// `Warnings`: those that the file wants to hear nothing of.
  public internal(set) var silentWarnings: Set<Warning> = []

  // What only messages and texts made of this file need.

  /// Of the first secret key.
  var secretLine: Int?
  public internal(set) var linesOfSettings = SettingLines()
  /// Of each address.
  var addressLines: [Int] = []
  var exclusionLines = ExclusionLines()
  /// As they were written, for hooks.
  public internal(set) var addressTexts: [String] = []
  public internal(set) var mtuText = ""
  public internal(set) var tableText: String?
  /// Lines that plain WireGuard and wg-quick do not understand.
  var extensions: [Int: LanguageExtension] = [:]
  /// Keys with several sections.
  var repeatedPeers: Set<PublicKey> = []

  /// A [Peer] section.
  public struct Peer: Sendable {
    /// Of its `[Peer]`.
    public let line: Int
    public let publicKey: PublicKey
    public internal(set) var presharedKey: KeyChange<PresharedKey> = .keep
    public internal(set) var endpoint: EndpointName?
    public internal(set) var endpointLine = 0
    public internal(set) var persistentKeepalive: UInt16?
    var keepaliveLine = 0
    var publicKeyLine = 0
    public internal(set) var allowedIPs: [AllowedIPChange] = []
    public internal(set) var replacesAllowedIPs = true
    public internal(set) var multicast: Bool?
    /// What follows from its key (`derivedNetworks`) and belongs to it besides; of several sections for one key with the last.
    public internal(set) var derivedIPs: [DerivedPrefix] = []
    /// What does not go to this peer, whatever its allowed IPs say.
    public internal(set) var excludedIPs = Exclusions()
    /// Of each change of allowed IPs.
    var allowedIPLines: [Int] = []
    var exclusionLines = ExclusionLines()
  }

  init() {}

  /// Reads `text`, called `file` in mistakes. `addressBook` is asked the first time that a key is given as `@name`; it
  /// returns `nil` where there is no book.
  ///
  /// Throws every mistake of the file, not only the first.
  public init(
    reading text: RawSpan, named file: String, dialect: ConfigurationDialect,
    addressBook: () throws(FileMistakes) -> AddressBook? = { nil }
  ) throws(FileMistakes) {
    var reader = ConfigurationReader(file: file, dialect: dialect)
    self = try reader.read(text, addressBook: addressBook)
  }

  /// The addresses of every peer that has an endpoint, asking the resolver for names; see `EndpointName.resolve`.
  public func resolveEndpoints(
    named file: String, retries: Int?, waiting: (ResolutionFailure, UInt32) -> Void
  ) throws(FileMistakes) -> [EndpointName: Endpoint] {
    let (endpoints, failures) = lookUpEndpoints(named: file, retries: retries, waiting: waiting)
    guard failures.isEmpty else { throw FileMistakes(failures) }
    return endpoints
  }

  /// The same where a name that stays unknown is no reason to stop: the addresses that were found, and what was not, by
  /// line. Asks for each name once.
  public func lookUpEndpoints(
    named file: String, retries: Int?, waiting: (ResolutionFailure, UInt32) -> Void
  ) -> (found: [EndpointName: Endpoint], failures: [FileMistake]) {
    var endpoints: [EndpointName: Endpoint] = [:]
    var failures: [EndpointName: FileMistake] = [:]
    for peer in peers {
      guard let name = peer.endpoint, endpoints[name] == nil, failures[name] == nil else { continue }
      do {
        endpoints[name] = try name.resolve(retries: retries, waiting: waiting)
      } catch {
        failures[name] = FileMistake(file: file, line: peer.endpointLine, message: "Endpoint: \(error)")
      }
    }
    return (endpoints, failures.values.sorted { $0.line < $1.line })
  }

  /// What the file asks of a device. With `replacing` (`setconf`, `syncconf`, `up`) the device is to be as the file says
  /// and nothing else; without (`addconf`) the file adds to what there is. With a `coverage`, which knows the exclusions,
  /// its allowed IPs take the place of those that are written here.
  public func update(
    replacing: Bool, endpoints: [EndpointName: Endpoint], coverage: Coverage? = nil
  ) -> DeviceUpdate {
    var update = DeviceUpdate()
    update.privateKey = privateKey
    update.listenPort = listenPort
    update.firewallMark = firewallMark
    update.multicast = multicast
    update.routeSync = syncsRoutes.map { RouteSyncSettings(isOn: $0, filter: $0 ? routeSyncFilter : []) }
    if syncsRoutes == true { update.origin = .file }
    update.deadAfter = deadAfter
    if replacing {
      if case .keep = privateKey { update.privateKey = .remove }
      update.listenPort = listenPort ?? 0
      update.firewallMark = firewallMark ?? 0
      update.replacesPeers = true
    }
    update.peers = peers.enumerated().map { place, peer in
      var change = PeerUpdate(peer.publicKey)
      change.presharedKey = peer.presharedKey
      change.endpoint = peer.endpoint.flatMap { endpoints[$0] }
      change.persistentKeepalive = peer.persistentKeepalive
      change.multicast = peer.multicast.map { $0 ? .on : .off }
      if let coverage {
        change.replacesAllowedIPs = true
        change.allowedIPs = coverage.allowedIPs[place].map { .add($0) }
      } else {
        change.replacesAllowedIPs = peer.replacesAllowedIPs
        change.allowedIPs = peer.allowedIPs
      }
      return change
    }
    return update
  }
}
