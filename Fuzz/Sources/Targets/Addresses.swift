import Glibc
import WG6Protocol

@testable import WG6Config

extension FuzzTarget {
  /// Addresses, prefixes and endpoints in text, against the C library's idea of them. The input is a text.
  static let addresses = FuzzTarget("addresses") { input in
    var input = input
    let bytes = input.rest()
    address(bytes)
    prefix(bytes)
    endpoint(bytes)
  }

  private static func address(_ text: [UInt8]) {
    let address = IPAddress(text: text.span.bytes)
    claim(address == systemAddress(text), "\(text) as an address: \(String(describing: address))")
    guard let address else { return }
    let written = address.description
    claim(written == systemText(address), "\(written) is how the C library writes it")
    claim(IPAddress(written) == address, "\(written) is read again")
  }

  private static func prefix(_ text: [UInt8]) {
    let slash = text.firstIndex(of: UInt8(ascii: "/"))
    let optional = IPPrefix(text: text.span.bytes, lengthOptional: true)
    guard let prefix = IPPrefix(text: text.span.bytes) else {
      let isAddress = slash == nil && systemAddress(text) != nil
      claim((optional != nil) == isAddress, "a prefix without a length is an address: \(text)")
      return
    }
    claim(optional == prefix, "a length is heeded, also where it may be missing: \(text)")
    let address = systemAddress(Array(text[..<slash!]))
    claim(address != nil, "a prefix has an address: \(text)")
    let digits = String(decoding: text[(slash! + 1)...], as: UTF8.self)
    claim(Int(digits) == prefix.length && digits.first != "+", "a prefix has a length: \(text)")
    claim(prefix.contains(address!), "\(prefix) contains the address that it was made of")
    // One bit further on and outside.
    if prefix.length > 0 {
      claim(!prefix.contains(flipped(prefix.address, prefix.length - 1)), "\(prefix) ends where it says")
    }
    if prefix.length < prefix.address.bitWidth {
      claim(prefix.contains(flipped(prefix.address, prefix.length)), "\(prefix) goes as far as it says")
      claim(prefix.address.bits.bit(at: prefix.length) == false, "\(prefix) has no host bits")
    }
    claim(IPPrefix(prefix.description) == prefix, "\(prefix) is read again")
  }

  private static func endpoint(_ text: [UInt8]) {
    guard let endpoint = Endpoint(text: text.span.bytes) else { return }
    claim(Endpoint(endpoint.description) == endpoint, "\(endpoint) is read again")
    // The C library reads the same from the same.
    let colon = text.lastIndex(of: UInt8(ascii: ":"))!
    let host = text[..<colon].filter { $0 != UInt8(ascii: "[") && $0 != UInt8(ascii: "]") }
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
    hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    // Leading zeroes are no matter to us, and the C library may see octal digits or too long a number in them.
    let port = String(endpoint.port)
    let status = getaddrinfo(String(decoding: host, as: UTF8.self), port, &hints, &found)
    claim(status == 0 && found != nil, "\(endpoint) is one for the C library as well")
    defer { freeaddrinfo(found) }
    claim(Endpoint(found!.pointee.ai_addr) == endpoint, "\(endpoint) is the same for the C library")
  }

  private static func flipped(_ address: IPAddress, _ bit: Int) -> IPAddress {
    switch address {
    case .v4(let bits): .v4(bits ^ 1 << UInt32(31 - bit))
    case .v6(let high, let low):
      bit < 64 ? .v6(high: high ^ 1 << UInt64(63 - bit), low: low) : .v6(high: high, low: low ^ 1 << UInt64(127 - bit))
    }
  }

  private static func systemAddress(_ text: [UInt8]) -> IPAddress? {
    guard !text.contains(0) else { return nil }
    let string = text.map { CChar(bitPattern: $0) } + [0]
    var v4 = in_addr()
    if inet_pton(AF_INET, string, &v4) == 1 { return .v4(UInt32(bigEndian: v4.s_addr)) }
    var v6 = [UInt64](repeating: 0, count: 2)
    guard inet_pton(AF_INET6, string, &v6) == 1 else { return nil }
    return .v6(high: UInt64(bigEndian: v6[0]), low: UInt64(bigEndian: v6[1]))
  }

  private static func systemText(_ address: IPAddress) -> String {
    var buffer = [CChar](repeating: 0, count: 64)
    switch address {
    case .v4(let bits):
      var bytes = bits.bigEndian
      inet_ntop(AF_INET, &bytes, &buffer, 64)
    case .v6(let high, let low):
      var bytes = [high.bigEndian, low.bigEndian]
      inet_ntop(AF_INET6, &bytes, &buffer, 64)
    }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
  }
}
