import Glibc
import WG6Config
import WG6Crypto
import WG6Protocol

/// A device's status for people, as `wg show` words it, with the address book's names beside keys that it knows.
struct StatusReport: ~Copyable {
  private let book: AddressBook
  private let hidesKeys = !StatusReport.showsKeys
  private var text = StyledText()

  /// Whether the environment asks for private keys in the open.
  static var showsKeys: Bool { environment("WG_HIDE_KEYS") == "never" }

  init(book: AddressBook) {
    self.book = book
  }

  func print() throws {
    try text.print()
  }

  mutating func append(_ status: DeviceStatus, of interface: String) {
    text.append(.reset)
    text.append(heading: "interface", interface, .green)
    text.append("\n")
    if let key = status.publicKey { field("public key") { $0.text.append("\(key.base64)\($0.book.suffix(for: key))") } }
    if let key = status.privateKey { field("private key") { $0.appendHidden { key.withBytes($0) } } }
    if status.listenPort != 0 { field("listening port") { $0.text.append(String(status.listenPort)) } }
    if status.firewallMark != 0 { field("fwmark") { $0.text.append("0x\(String(status.firewallMark, radix: 16))") } }
    if status.multicast { field("multicast") { $0.text.append("on") } }
    if status.routeSync.isOn {
      field("route sync") { report in
        guard !status.routeSync.filter.isEmpty else { return report.text.append("on") }
        report.append(status.routeSync.filter)
      }
    }
    if status.deadAfter != 0 {
      field("dead after") { $0.append(seconds: UInt64(status.deadAfter)) }
    }
    if status.unlockedKeyBytes != 0 {
      field("memory of keys") { report in
        report.append(byteCount: status.unlockedKeyBytes)
        report.text.append(" of it may be swapped out: it could not be locked (ulimit -l)")
      }
    }
    for peer in status.peers.byLatestHandshake {
      text.append("\n")
      append(peer)
    }
  }

  private mutating func append(_ peer: PeerStatus) {
    text.append(heading: "peer", peer.publicKey.base64, .yellow)
    text.append("\(book.suffix(for: peer.publicKey))\n")
    if let key = peer.presharedKey { field("preshared key") { $0.appendHidden { key.withBytes($0) } } }
    if let endpoint = peer.endpoint { field("endpoint") { $0.text.append(endpoint.displayText) } }
    field("allowed ips") { $0.append(peer.allowedIPs, origins: peer.origins) }
    if peer.isSilent {
      field("silent") { report in
        report.text.append(.red)
        report.text.append("nothing heard for as long as DeadAfter says")
        report.text.append(.reset)
      }
    }
    if peer.handshakeSeconds != 0 { field("latest handshake") { $0.appendTime(since: peer.handshakeSeconds) } }
    if peer.receivedBytes != 0 || peer.transmittedBytes != 0 {
      field("transfer") { report in
        report.append(byteCount: peer.receivedBytes)
        report.text.append(" received, ")
        report.append(byteCount: peer.transmittedBytes)
        report.text.append(" sent")
      }
    }
    if peer.multicast != .asDevice { field("multicast") { $0.text.append(peer.multicast == .on ? "on" : "off") } }
    if peer.persistentKeepalive != 0 {
      field("persistent keepalive") { report in
        report.text.append("every ")
        report.append(seconds: UInt64(peer.persistentKeepalive))
      }
    }
  }

  private mutating func field(_ name: String, _ value: (inout StatusReport) -> Void) {
    text.append(field: name)
    value(&self)
    text.append("\n")
  }

  private mutating func appendHidden(_ key: ((RawSpan) -> Void) -> Void) {
    if hidesKeys {
      text.append("(hidden)")
    } else {
      key { text.bytes.append(base64: $0) }
    }
  }

  /// - Parameter origins: of each prefix, or none.
  private mutating func append(_ prefixes: [IPPrefix], origins: [AllowedIPOrigin] = []) {
    if prefixes.isEmpty { text.append("(none)") }
    for (index, prefix) in prefixes.enumerated() {
      if index > 0 { text.append(", ") }
      text.bytes.append(prefix.address)
      text.append(.cyan)
      text.append("/")
      text.append(.reset)
      text.bytes.append(number: UInt(prefix.length))
      guard origins.count == prefixes.count else { continue }
      switch origins[index] {
      case .set: text.append(" (set)")
      case .file: text.append(" (file)")
      case .route: text.append(" (route)")
      }
    }
  }

  private mutating func appendTime(since moment: UInt64) {
    let now = UInt64(max(time(nil), 0))
    if now == moment {
      text.append("Now")
    } else if now < moment {
      text.append("(")
      text.append(.red)
      text.append("System clock wound backward; connection problems may ensue.")
      text.append(.reset)
      text.append(")")
    } else {
      append(seconds: now - moment)
      text.append(" ago")
    }
  }

  private mutating func append(seconds: UInt64) {
    let units: [(name: String, amount: UInt64)] = [
      ("year", seconds / 31_536_000), ("day", seconds % 31_536_000 / 86400), ("hour", seconds % 86400 / 3600),
      ("minute", seconds % 3600 / 60), ("second", seconds % 60),
    ]
    for (index, unit) in units.filter({ $0.amount != 0 }).enumerated() {
      if index > 0 { text.append(", ") }
      text.append("\(unit.amount) ")
      text.append(.cyan)
      text.append(unit.amount == 1 ? unit.name : "\(unit.name)s")
      text.append(.reset)
    }
  }

  private mutating func append(byteCount: UInt64) {
    let units = ["KiB", "MiB", "GiB", "TiB"]
    var unit = "B"
    if byteCount < 1024 {
      text.append("\(byteCount) ")
    } else {
      let power = min((63 - byteCount.leadingZeroBitCount) / 10, units.count)
      unit = units[power - 1]
      let amount = Double(byteCount) / Double(1 << UInt64(10 * power))
      text.append("\(amount.withTwoDecimals) ")
    }
    text.append(.cyan)
    text.append(unit)
    text.append(.reset)
  }
}

extension AddressBook {
  /// The key's name as it stands behind the key; nothing where it has none.
  func suffix(for key: PublicKey) -> String { name(of: key).map { " (\($0))" } ?? "" }
}

extension [PeerStatus] {
  /// The newest handshake first, those without one last, and otherwise as they were.
  fileprivate var byLatestHandshake: [PeerStatus] {
    enumerated().sorted { left, right in
      let (a, b) = (left.element.lastHandshake ?? 0, right.element.lastHandshake ?? 0)
      return a == b ? left.offset < right.offset : a > b
    }.map(\.element)
  }
}

extension Double {
  /// C's `%.2f`, whose rounding `wg` shows.
  fileprivate var withTwoDecimals: String {
    var buffer = InlineArray<64, CChar>(repeating: 0)
    var span = buffer.mutableSpan
    return unsafe span.withUnsafeMutableBufferPointer { buffer in
      _ = unsafe withVaList([self]) { unsafe vsnprintf(buffer.baseAddress!, buffer.count, "%.2f", $0) }
      return unsafe String(cString: buffer.baseAddress!)
    }
  }
}
