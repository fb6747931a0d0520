import Glibc
import WG6Crypto
import WG6Protocol

/// What a client of the control socket asks for (wireguard.com/xplatform, "Configuration Protocol").
public enum ControlRequest: Sendable {
  case get
  /// wg6's own, `drops=1`: what was dropped, by reason, of the device and of each peer.
  case drops
  case set(DeviceUpdate)
  /// wg6's own, `capture=1`: packets, for as long as the client stays, in memory whose descriptor comes with the answer.
  case capture(CaptureFilter)
  /// wg6's own, `keylog=1`: the keys of handshakes as they happen, behind the answer, for as long as the client stays.
  case keyLog
  /// Nothing of the request is to be applied; the answer is its `errno`.
  case invalid(ControlError)
}

/// A request or an answer that cannot be understood, and where.
public struct ControlError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Positive, fit for the `errno=` line.
  public let errno: Int32
  /// Line, what was read, what was expected. Holds no private and no preshared key.
  public let message: String

  public init(errno: Int32, message: String) {
    self.errno = errno
    self.message = message
  }

  public var description: String { message }
}

/// Reads requests line by line: `get=1`, `set=1`, `drops=1`, `capture=1` or `keylog=1`, the request's keys, a blank line.
///
/// The whole request is read before anything of it counts. After a mistake the rest of the request is swallowed, so that
/// the connection goes on with the next one.
public struct ControlRequestParser: ~Copyable {
  private enum Kind { case get, drops, set, capture, keyLog }

  /// Longer lines than this are a mistake: the longest real one has about 90 bytes.
  public static let maximumLineLength = 4096

  /// Each costs each peer an entry among its allowed IPs.
  public static let maximumDerivedNetworks = 16

  private var kind: Kind?
  private var lineNumber = 0
  private var device = DeviceUpdate()
  private var peer: PeerUpdate?
  private var filter = CaptureFilter()
  private var error: ControlError?

  public init() {}

  /// Takes one line, without its line feed; returns the request that this line ends, if it is the blank one.
  public mutating func line(_ line: RawSpan) -> ControlRequest? {
    lineNumber += 1
    if line.byteCount == 0 { return finish() }
    guard error == nil else { return nil }
    read(line)
    return nil
  }

  private mutating func finish() -> ControlRequest {
    if kind == nil, error == nil { refuse(EINVAL, "a blank line, expected get=1 or set=1") }
    if let peer { device.peers.append(peer) }
    let request: ControlRequest
    if let error {
      request = .invalid(error)
    } else {
      request =
        switch kind! {
        case .get: .get
        case .drops: .drops
        case .set: .set(device)
        case .capture: .capture(filter)
        case .keyLog: .keyLog
        }
    }
    self = ControlRequestParser()
    return request
  }

  private mutating func read(_ line: RawSpan) {
    guard line.byteCount <= ControlRequestParser.maximumLineLength else {
      return refuse(
        EINVAL, "\(counted(line.byteCount, "byte")), expected at most \(ControlRequestParser.maximumLineLength)")
    }
    // The text of a line that is no `key=value` is not quoted: it may be a key that lost its name.
    guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else {
      return refuse(EPROTO, "\(counted(line.byteCount, "character")) without '=', expected key=value")
    }
    let key = line.extracting(0..<equals)
    let value = line.extracting(equals + 1..<line.byteCount)
    switch kind {
    case nil: readOperation(key, value)
    case .get: refuse(EINVAL, "\(quoted(key)), expected a blank line after get=1")
    case .drops: refuse(EINVAL, "\(quoted(key)), expected a blank line after drops=1")
    case .keyLog: refuse(EINVAL, "\(quoted(key)), expected a blank line after keylog=1")
    case .capture: readFilter(key, value)
    case .set:
      if key.equals("public_key") {
        startPeer(value)
      } else if peer != nil {
        readPeer(key, value)
      } else {
        readDevice(key, value)
      }
    }
  }

  private mutating func readOperation(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("get"), value.equals("1") {
      kind = .get
    } else if key.equals("set"), value.equals("1") {
      kind = .set
    } else if key.equals("drops"), value.equals("1") {
      kind = .drops
    } else if key.equals("capture"), value.equals("1") {
      kind = .capture
    } else if key.equals("keylog"), value.equals("1") {
      kind = .keyLog
    } else if key.equals("get") || key.equals("set") {
      refuse(EINVAL, "\(key.string)=\(value.quotable), expected version 1 of the protocol, \(key.string)=1")
    } else {
      refuse(EINVAL, "\(quoted(key)), expected get=1 or set=1")
    }
  }

  private mutating func readDevice(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("private_key") {
      guard let change = KeyChange<PrivateKey>(hexadecimal: value) else { return refuseKey("private_key", value) }
      device.privateKey = change
    } else if key.equals("listen_port") {
      guard let port = value.decimal(upTo: 65535) else {
        return refuse(EINVAL, "listen_port=\(value.quotable), expected a port, 0 to 65535")
      }
      device.listenPort = UInt16(port)
    } else if key.equals("fwmark") {
      guard let mark = value.decimalOrHexadecimal(upTo: UInt64(UInt32.max)) else {
        return refuse(EINVAL, "fwmark=\(value.quotable), expected a number, 0 to 4294967295")
      }
      device.firewallMark = UInt32(mark)
    } else if key.equals("multicast") {
      guard let isOn = value.truth else { return refuse(EINVAL, "multicast=\(value.quotable), expected true or false") }
      device.multicast = isOn
    } else if key.equals("derived_networks") {
      readDerivedNetworks(value)
    } else if key.equals("route_sync") {
      guard let isOn = value.truth else {
        return refuse(EINVAL, "route_sync=\(value.quotable), expected true or false")
      }
      device.routeSync = RouteSyncSettings(isOn: isOn)
    } else if key.equals("route_sync_filter") {
      guard let prefix = IPPrefix(text: value), device.routeSync != nil else {
        return refuse(EINVAL, "route_sync_filter=\(value.quotable), expected address/length, behind route_sync")
      }
      device.routeSync!.filter.append(prefix)
    } else if key.equals("dead_after") {
      guard let seconds = value.decimal(upTo: 3600) else {
        return refuse(EINVAL, "dead_after=\(value.quotable), expected seconds, 0 to 3600")
      }
      device.deadAfter = UInt16(seconds)
    } else if key.equals("allowed_ip_origin") {
      guard value.equals("file") else {
        return refuse(EINVAL, "allowed_ip_origin=\(value.quotable), expected file")
      }
      device.origin = .file
    } else if key.equals("replace_peers") {
      guard isTrue("replace_peers", value) else { return }
      device.replacesPeers = true
    } else if isPeerKey(key) {
      refuse(EINVAL, "\(key.string) before any public_key, expected public_key first")
    } else {
      refuse(
        EINVAL,
        "\(quoted(key)), expected private_key, listen_port, fwmark, derived_networks, replace_peers or public_key")
    }
  }

  /// wg6's own, `derived_networks=fe80::/64,fd58:f25b:e75d::/64`: where peers have addresses that follow from their keys.
  private mutating func readDerivedNetworks(_ value: RawSpan) {
    var networks: [UInt64] = []
    for range in value.listElements {
      let element = value.extracting(range)
      guard let prefix = IPPrefix(text: element), prefix.length == 64, case .v6(let high, _) = prefix.address,
        !networks.contains(high), networks.count < ControlRequestParser.maximumDerivedNetworks
      else {
        return refuse(
          EINVAL,
          "derived_networks with \(element.quotable), expected IPv6 networks of length 64, each once, at most "
            + "\(ControlRequestParser.maximumDerivedNetworks)")
      }
      networks.append(high)
    }
    device.derivedNetworks = networks
  }

  private mutating func readFilter(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("public_key") {
      guard let key = KeyHex.decode(value, { PublicKey(bytes: $0) }) ?? nil else {
        return refuseKey("public_key", value)
      }
      filter.peers.append(key)
      if filter.peers.count > CaptureFilter.mostPeers {
        refuse(E2BIG, "\(counted(filter.peers.count, "peer")), expected at most \(CaptureFilter.mostPeers)")
      }
    } else if key.equals("prefix") {
      guard let prefix = IPPrefix(text: value) else {
        return refuse(EINVAL, "prefix=\(value.quotable), expected address/length")
      }
      filter.prefixes.append(prefix)
      if filter.prefixes.count > CaptureFilter.mostPrefixes {
        refuse(E2BIG, "\(counted(filter.prefixes.count, "prefix")), expected at most \(CaptureFilter.mostPrefixes)")
      }
    } else if key.equals("protocol") {
      guard let number = value.decimal(upTo: 255) else {
        return refuse(EINVAL, "protocol=\(value.quotable), expected a number, 0 to 255")
      }
      if !filter.protocols.contains(UInt8(number)) { filter.protocols.append(UInt8(number)) }
    } else if key.equals("drops") {
      guard isTrue("drops", value) else { return }
      filter.takesDrops = true
    } else {
      refuse(EINVAL, "\(quoted(key)), expected public_key, prefix, protocol or drops")
    }
  }

  private mutating func startPeer(_ value: RawSpan) {
    guard let key = KeyHex.decode(value, { PublicKey(bytes: $0) }) ?? nil else {
      return refuseKey("public_key", value)
    }
    if let peer { device.peers.append(peer) }
    peer = PeerUpdate(key)
  }

  private mutating func readPeer(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("allowed_ip") {
      let removes = value.byteCount > 0 && value[text: 0] == UInt8(ascii: "-")
      guard let prefix = IPPrefix(text: value.extracting((removes ? 1 : 0)..<value.byteCount)) else {
        return refuse(EINVAL, "allowed_ip=\(value.quotable), expected address/length, with '-' in front to remove it")
      }
      peer!.allowedIPs.append(removes ? .remove(prefix) : .add(prefix))
    } else if key.equals("preshared_key") {
      guard let change = KeyChange<PresharedKey>(hexadecimal: value) else { return refuseKey("preshared_key", value) }
      peer!.adopt(change)
    } else if key.equals("endpoint") {
      guard let endpoint = Endpoint(text: value) else {
        return refuse(EINVAL, "endpoint=\(value.quotable), expected address:port or [address]:port")
      }
      peer!.endpoint = endpoint
    } else if key.equals("persistent_keepalive_interval") {
      guard let seconds = value.decimal(upTo: 65535) else {
        return refuse(
          EINVAL, "persistent_keepalive_interval=\(value.quotable), expected seconds, 0 to 65535")
      }
      peer!.persistentKeepalive = UInt16(seconds)
    } else if key.equals("replace_allowed_ips") {
      guard isTrue("replace_allowed_ips", value) else { return }
      // What came before in this peer is replaced as well.
      peer!.replacesAllowedIPs = true
      peer!.allowedIPs.removeAll()
    } else if key.equals("remove") {
      guard isTrue("remove", value) else { return }
      peer!.removes = true
    } else if key.equals("multicast") {
      guard let choice = MulticastChoice(text: value) else {
        return refuse(EINVAL, "multicast=\(value.quotable), expected true, false or device")
      }
      peer!.multicast = choice
    } else if key.equals("update_only") {
      guard isTrue("update_only", value) else { return }
      peer!.updatesOnly = true
    } else if key.equals("start_handshake") {
      guard isTrue("start_handshake", value) else { return }
      peer!.startsHandshake = true
    } else if key.equals("protocol_version") {
      guard value.equals("1") else { return refuse(EINVAL, "protocol_version=\(value.quotable), expected 1") }
    } else if isDeviceKey(key) {
      refuse(EINVAL, "\(key.string) after a public_key, expected it before the first peer")
    } else {
      refuse(
        EINVAL,
        "\(quoted(key)), expected remove, update_only, preshared_key, endpoint, persistent_keepalive_interval, "
          + "replace_allowed_ips, allowed_ip, start_handshake or protocol_version")
    }
  }

  private mutating func isTrue(_ key: StaticString, _ value: RawSpan) -> Bool {
    if value.equals("true") { return true }
    refuse(EINVAL, "\(key)=\(value.quotable), expected true")
    return false
  }

  private func isDeviceKey(_ key: RawSpan) -> Bool {
    key.equals("private_key") || key.equals("listen_port") || key.equals("fwmark") || key.equals("replace_peers")
      || key.equals("derived_networks")
  }

  private func isPeerKey(_ key: RawSpan) -> Bool {
    key.equals("remove") || key.equals("update_only") || key.equals("preshared_key") || key.equals("endpoint")
      || key.equals("persistent_keepalive_interval") || key.equals("replace_allowed_ips") || key.equals("allowed_ip")
      || key.equals("start_handshake") || key.equals("protocol_version")
  }

  /// A key's value is told by its length alone: it may be a secret with one digit missing.
  private mutating func refuseKey(_ name: StaticString, _ value: RawSpan) {
    let read =
      value.byteCount == KeyHex.encodedLength
      ? "other characters than those" : "\(counted(value.byteCount, "character"))"
    refuse(EINVAL, "\(name) of \(read), expected 64 hexadecimal digits")
  }

  /// What stands before the `=`, quoted where it looks like a keyword and not like a key's text.
  private func quoted(_ key: RawSpan) -> String {
    var isWord = key.byteCount > 0 && key.byteCount <= 40
    for index in 0..<key.byteCount where isWord {
      let character = key[text: index]
      isWord = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(character | 0x20) || character == UInt8(ascii: "_")
    }
    return isWord ? "the key '\(key.string)'" : "an unknown key of \(counted(key.byteCount, "character"))"
  }

  private mutating func refuse(_ errno: Int32, _ message: String) {
    error = ControlError(errno: errno, message: "line \(lineNumber): read \(message)")
  }
}

extension RawSpan {
  /// What `true` and `false` stand for; nil for all other words.
  var truth: Bool? { equals("true") ? true : equals("false") ? false : nil }
}

extension MulticastChoice {
  /// Reads a peer's `multicast=`; nil for what is none.
  init?(text: RawSpan) {
    guard let isOn = text.truth else {
      guard text.equals("device") else { return nil }
      self = .asDevice
      return
    }
    self = isOn ? .on : .off
  }
}

extension PeerUpdate {
  /// A function for the reason that `PeerStatus.adopt` is one.
  fileprivate mutating func adopt(_ change: KeyChange<PresharedKey>) { presharedKey = change }
}
