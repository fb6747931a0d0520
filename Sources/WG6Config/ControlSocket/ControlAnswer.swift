import Glibc
import WG6Crypto
import WG6Protocol

/// What a daemon answered.
public enum ControlAnswer: Sendable {
  /// `errno=0`: the request was carried out. After a `set` request the status is empty.
  case done(DeviceStatus)
  /// The daemon refused, with a positive `errno`.
  case refused(errno: Int32)
  /// The daemon said something that is no answer.
  case invalid(ControlError)
}

/// Reads answers line by line, up to the blank line that ends each. Keys that it does not know are skipped, as a newer
/// daemon may have more to tell.
public struct ControlAnswerParser: ~Copyable {
  private var lineNumber = 0
  private var device = DeviceStatus()
  private var peer: PeerStatus?
  private var handshakeSeconds: UInt64 = 0
  private var handshakeNanoseconds: UInt64 = 0
  private var errno: Int32?
  private var error: ControlError?

  public init() {}

  /// Takes one line, without its line feed; returns the answer that this line ends, if it is the blank one.
  public mutating func line(_ line: RawSpan) -> ControlAnswer? {
    lineNumber += 1
    if line.byteCount == 0 { return finish() }
    guard error == nil else { return nil }
    guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else {
      refuse("no '='", "key=value")
      return nil
    }
    read(line.extracting(0..<equals), line.extracting(equals + 1..<line.byteCount))
    return nil
  }

  private mutating func finish() -> ControlAnswer {
    endPeer()
    if errno == nil, error == nil { refuse("a blank line", "errno") }
    let answer: ControlAnswer
    if let error {
      answer = .invalid(error)
    } else if let errno, errno != 0 {
      answer = .refused(errno: errno)
    } else {
      answer = .done(device)
    }
    self = ControlAnswerParser()
    return answer
  }

  private mutating func endPeer() {
    guard var peer else { return }
    if handshakeSeconds != 0 || handshakeNanoseconds != 0 {
      peer.lastHandshake = handshakeSeconds &* 1_000_000_000 &+ handshakeNanoseconds
    }
    device.peers.append(peer)
    self.peer = nil
    (handshakeSeconds, handshakeNanoseconds) = (0, 0)
  }

  private mutating func read(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("errno") {
      // Daemons disagree about the sign; the number is the same.
      let isNegative = value.byteCount > 1 && value.byte(at: 0) == UInt8(ascii: "-")
      let magnitude = isNegative ? value.extracting(1..<value.byteCount) : value
      guard let number = magnitude.decimal(upTo: UInt64(Int32.max)) else {
        return refuse("errno=\(value.quotable)", "a number")
      }
      errno = Int32(number)
    } else if key.equals("public_key") {
      guard let key = KeyHex.decode(value, { PublicKey(bytes: $0) }) ?? nil else {
        return refuse("public_key", "64 hexadecimal digits")
      }
      endPeer()
      peer = PeerStatus(publicKey: key)
    } else if peer != nil {
      readPeer(key, value)
    } else {
      readDevice(key, value)
    }
  }

  private mutating func readDevice(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("private_key") {
      guard let key = KeyHex.decode(value, { PrivateKey(bytes: $0) }) ?? nil else {
        return refuse("private_key", "64 hexadecimal digits")
      }
      device.privateKey = key
      device.publicKey = key.publicKey
    } else if key.equals("listen_port") {
      if let port = number(key, value, upTo: 65535) { device.listenPort = UInt16(port) }
    } else if key.equals("fwmark") {
      if let mark = number(key, value, upTo: UInt64(UInt32.max)) { device.firewallMark = UInt32(mark) }
    } else if key.equals("multicast") {
      guard let isOn = value.truth else { return refuse("multicast=\(value.quotable)", "true or false") }
      device.multicast = isOn
    } else if key.equals("route_sync") {
      guard let isOn = value.truth else { return refuse("route_sync=\(value.quotable)", "true or false") }
      device.routeSync.isOn = isOn
    } else if key.equals("route_sync_filter") {
      guard let prefix = IPPrefix(text: value) else {
        return refuse("route_sync_filter=\(value.quotable)", "address/length")
      }
      device.routeSync.filter.append(prefix)
    } else if key.equals("dead_after") {
      if let seconds = number(key, value, upTo: 65535) { device.deadAfter = UInt16(seconds) }
    } else if key.equals("unlocked_key_bytes") {
      if let bytes = number(key, value, upTo: .max) { device.unlockedKeyBytes = bytes }
    } else if let reason = DropReason(key: key), let count = number(key, value, upTo: .max) {
      device.drops[reason] = count
    }
  }

  private mutating func readPeer(_ key: RawSpan, _ value: RawSpan) {
    if key.equals("allowed_ip") {
      guard let prefix = IPPrefix(text: value) else { return refuse("allowed_ip=\(value.quotable)", "address/length") }
      peer!.allowedIPs.append(prefix)
    } else if key.equals("multicast") {
      guard let choice = MulticastChoice(text: value) else {
        return refuse("multicast=\(value.quotable)", "true, false or device")
      }
      peer!.multicast = choice
    } else if key.equals("allowed_ip_origin") {
      let origin: AllowedIPOrigin? =
        value.equals("route") ? .route : value.equals("file") ? .file : value.equals("set") ? .set : nil
      guard let origin else { return refuse("allowed_ip_origin=\(value.quotable)", "set, file or route") }
      peer!.origins.append(origin)
    } else if key.equals("silent") {
      guard let isSilent = value.truth else { return refuse("silent=\(value.quotable)", "true or false") }
      peer!.isSilent = isSilent
    } else if key.equals("preshared_key") {
      guard let key = KeyHex.decode(value, { PresharedKey(bytes: $0) }) ?? nil else {
        return refuse("preshared_key", "64 hexadecimal digits")
      }
      peer!.adopt(key.isZero ? nil : key)
    } else if key.equals("endpoint") {
      guard let endpoint = Endpoint(text: value) else { return refuse("endpoint=\(value.quotable)", "address:port") }
      peer!.endpoint = endpoint
    } else if key.equals("persistent_keepalive_interval") {
      if let seconds = number(key, value, upTo: 65535) { peer!.persistentKeepalive = UInt16(seconds) }
    } else if key.equals("last_handshake_time_sec") {
      if let seconds = number(key, value, upTo: UInt64(Int64.max)) { handshakeSeconds = seconds }
    } else if key.equals("last_handshake_time_nsec") {
      if let nanoseconds = number(key, value, upTo: UInt64(Int64.max)) { handshakeNanoseconds = nanoseconds }
    } else if key.equals("tx_bytes") {
      if let bytes = number(key, value, upTo: .max) { peer!.transmittedBytes = bytes }
    } else if key.equals("rx_bytes") {
      if let bytes = number(key, value, upTo: .max) { peer!.receivedBytes = bytes }
    } else if let reason = DropReason(key: key), let count = number(key, value, upTo: .max) {
      peer!.drops[reason] = count
    }
  }

  private mutating func number(_ key: RawSpan, _ value: RawSpan, upTo maximum: UInt64) -> UInt64? {
    if let number = value.decimal(upTo: maximum) { return number }
    refuse("\(key.string)=\(value.quotable)", "a number, 0 to \(maximum)")
    return nil
  }

  private mutating func refuse(_ read: String, _ expected: String) {
    error = ControlError(errno: EPROTO, message: "line \(lineNumber) of the answer: read \(read), expected \(expected)")
  }
}

extension PeerStatus {
  /// A function, because Swift 6.3 leaks what a field held before where it is assigned to through an optional of a
  /// noncopyable structure: here a key, which would never be wiped.
  fileprivate mutating func adopt(_ key: PresharedKey?) { presharedKey = key }
}
