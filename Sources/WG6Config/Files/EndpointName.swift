import Glibc
import WG6Crypto
import WG6Protocol

/// Where a peer is reached, as a file says it: an address or a host's name, and a port. Resolved when it is needed.
public struct EndpointName: Hashable, Sendable, CustomStringConvertible {
  /// As it was written.
  public let text: String
  let host: String
  let service: String
  /// Whether this is an IPv6 address without its brackets: `wg` takes it, people misread it.
  public let lacksBrackets: Bool
  /// The address of an IPv4 host whose numbers have zeros before them, which makes them octal (`inet_aton`).
  public let octalAddress: IPAddress?

  public var description: String { text }

  /// Whether it is an address, and needs no name server.
  public var isAddress: Bool {
    host.utf8.contains(UInt8(ascii: ":"))
      || host.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }

  /// Reads `host:port`, `192.0.2.1:port`, `[2001:db8::1]:port`, `[fe80::1%eth0]:port`; the port may be a service's name.
  public init(_ value: RawSpan) throws(ValueMistake) {
    guard value.byteCount > 0 else {
      throw ValueMistake(expected: "host:port or [address]:port", wgMessage: "Unable to parse empty endpoint")
    }
    let isBracketed = value[text: 0] == UInt8(ascii: "[")
    let hostEnd: Int?
    if isBracketed {
      hostEnd = value.firstIndex(of: UInt8(ascii: "]"))
      guard hostEnd != nil else {
        throw ValueMistake(
          expected: "a closing bracket, as in [2001:db8::1]:51820",
          wgMessage: "Unable to find matching brace of endpoint: '\(value.quotable)'")
      }
    } else {
      hostEnd = value.lastIndex(of: UInt8(ascii: ":"))
    }
    let portStart = (hostEnd ?? value.byteCount) + (isBracketed ? 2 : 1)
    guard let hostEnd, portStart < value.byteCount, value[text: portStart - 1] == UInt8(ascii: ":") else {
      throw ValueMistake(
        expected: "a port behind a colon, as in vpn.example.org:51820 or [2001:db8::1]:51820",
        wgMessage: "Unable to find port of endpoint: '\(value.quotable)'")
    }
    let host = value.extracting((isBracketed ? 1 : 0)..<hostEnd)
    let port = value.extracting(portStart..<value.byteCount)
    guard let number = port.decimal(upTo: 65535) ?? ValueText.serviceNamed(port).map(UInt64.init), number > 0 else {
      throw ValueMistake(
        expected: "a port, 1 to 65535, instead of '\(port.quotable)'",
        wgMessage: "Servname not supported for ai_socktype: '\(value.quotable)'")
    }
    octalAddress = EndpointName.octalAddress(host)
    if octalAddress == nil { try EndpointName.check(host, of: value) }
    self.text = value.string
    self.host = host.string
    self.service = String(number)
    self.lacksBrackets = !isBracketed && host.firstIndex(of: UInt8(ascii: ":")) != nil
  }

  /// Whether an interface may be called so; the kernel would take some more, from a byte that is no text to a tab.
  static func isInterface(_ name: RawSpan) -> Bool {
    guard name.byteCount > 0, name.byteCount < Int(IFNAMSIZ) else { return false }
    return (0..<name.byteCount).allSatisfy { index in
      (0x21..<0x7F).contains(name[text: index]) && name[text: index] != UInt8(ascii: "/")
    }
  }

  /// What `getaddrinfo`, and so `wg`, makes of four numbers, some of which have zeros before them.
  private static func octalAddress(_ host: RawSpan) -> IPAddress? {
    guard host.byteCount <= 32, IPAddress(text: host) == nil else { return nil }
    var address: UInt32 = 0
    let parts = host.string.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    for part in parts {
      guard part.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
        let number = UInt8(part, radix: part.hasPrefix("0") ? 8 : 10)
      else { return nil }
      address = address << 8 | UInt32(number)
    }
    return .v4(address)
  }

  /// Refuses what no resolver could make sense of, so that a slip of the pen is not looked up in the DNS first.
  private static func check(_ host: RawSpan, of value: RawSpan) throws(ValueMistake) {
    // Not made for the many that are right.
    var wgMessage: String { "Name or service not known: '\(value.quotable)'" }
    if host.firstIndex(of: UInt8(ascii: ":")) != nil {
      let percent = host.firstIndex(of: UInt8(ascii: "%"))
      guard let address = IPAddress(text: host.extracting(0..<(percent ?? host.byteCount))) else {
        throw ValueMistake(expected: "an IPv6 address instead of '\(host.quotable)'", wgMessage: wgMessage)
      }
      if let percent, !isInterface(host.extracting(percent + 1..<host.byteCount)) || !address.isLinkLocal {
        throw ValueMistake(
          expected: "an interface behind '%', and a link-local address before it", wgMessage: wgMessage)
      }
      return
    }
    var isNumeric = true
    var isName = host.byteCount > 0 && host.byteCount <= 253
    for index in 0..<host.byteCount {
      let character = host[text: index]
      switch character {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."): break
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"),
        UInt8(ascii: "_"):
        isNumeric = false
      default: isName = false
      }
    }
    guard isName, !isNumeric || IPAddress(text: host) != nil else {
      throw ValueMistake(
        expected: "an address or the name of a host instead of '\(host.quotable)'", wgMessage: wgMessage)
    }
  }
}

/// Why a name did not become an address.
public struct ResolutionFailure: Error, Sendable, CustomStringConvertible {
  public let name: EndpointName
  /// `getaddrinfo`'s text.
  public let reason: String

  /// As `wg` says it.
  public var description: String { "\(reason): '\(name.text)'" }
}

extension EndpointName {
  /// The first address that `getaddrinfo` has, which sorts by what this machine can reach (RFC 6724).
  ///
  /// A failure that may pass is tried again up to `retries` times (`nil`: for ever), after 1 s, then 1.2 times longer
  /// each time, 20 s at most, as `wg` does; `waiting` is told before each wait, the seconds and the reason. Gives up as
  /// soon as `isInterrupted`. If the address that is `preferred` is among those that a name has, the name still stands for it:
  /// name servers change the order of several addresses.
  public func resolve(
    retries: Int?, preferred: Endpoint? = nil, isInterrupted: () -> Bool = { false },
    waiting: (_ failure: ResolutionFailure, _ microseconds: UInt32) -> Void
  ) throws(ResolutionFailure) -> Endpoint {
    var pause: UInt32 = 1_000_000
    var left = retries
    while true {
      var hints = unsafe addrinfo()
      unsafe hints.ai_family = AF_UNSPEC
      unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
      unsafe hints.ai_protocol = Int32(IPPROTO_UDP)
      var found: UnsafeMutablePointer<addrinfo>?
      let status = unsafe getaddrinfo(host, service, &hints, &found)
      if status == 0, let first = unsafe found {
        defer { unsafe freeaddrinfo(first) }
        var next: UnsafeMutablePointer<addrinfo>? = unsafe first
        while preferred != nil, let entry = unsafe next {
          if let endpoint = unsafe Endpoint(entry.pointee.ai_addr), endpoint == preferred { return endpoint }
          unsafe next = entry.pointee.ai_next
        }
        if let endpoint = unsafe Endpoint(first.pointee.ai_addr) { return endpoint }
      }
      let reason =
        unsafe status == EAI_SYSTEM ? String(cString: strerror(errno)) : String(cString: gai_strerror(status))
      let failure = ResolutionFailure(name: self, reason: status == 0 ? "Neither IPv4 nor IPv6 address found" : reason)
      // EAI_NODATA (-5) hides behind _GNU_SOURCE.
      if status == 0 || status == EAI_NONAME || status == EAI_FAIL || status == -5 || left == 0 { throw failure }
      if let remaining = left { left = remaining - 1 }
      waiting(failure, pause)
      let slice: UInt32 = 100_000
      for _ in 0..<pause / slice {
        if isInterrupted() { throw failure }
        usleep(slice)
      }
      pause = min(20_000_000, pause / 5 * 6)
    }
  }

  /// How often `WG_ENDPOINT_RESOLUTION_RETRIES` says to try again: 15 where it is unset, `nil` for `infinity`.
  public static func retries(environment: String?) throws(ValueMistake) -> Int? {
    guard let environment else { return 15 }
    if environment == "infinity" { return nil }
    guard let number = UInt32(environment), number <= UInt32(Int32.max) else {
      throw ValueMistake(
        expected: "a number or infinity", wgMessage: "Unable to parse WG_ENDPOINT_RESOLUTION_RETRIES: '\(environment)'")
    }
    return Int(number)
  }
}

extension Endpoint {
  /// The endpoint in a socket address; `nil` where that is of another family.
  @unsafe public init?(_ address: UnsafePointer<sockaddr>) {
    switch unsafe Int32(address.pointee.sa_family) {
    case AF_INET:
      let v4 = unsafe UnsafeRawPointer(address).load(as: sockaddr_in.self)
      self.init(address: .v4(UInt32(bigEndian: v4.sin_addr.s_addr)), port: UInt16(bigEndian: v4.sin_port))
    case AF_INET6:
      let v6 = unsafe UnsafeRawPointer(address).load(as: sockaddr_in6.self)
      let zone = IPAddress(v6.sin6_addr).isLinkLocal ? v6.sin6_scope_id : 0
      self.init(address: IPAddress(v6.sin6_addr), port: UInt16(bigEndian: v6.sin6_port), zone: zone)
    default: return nil
    }
  }
}
