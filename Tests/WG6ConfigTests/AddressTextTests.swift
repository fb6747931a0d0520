import Glibc
import Testing
import WG6Protocol

@testable import WG6Config

@Suite struct `Address text` {
  @Test func `random addresses read as inet_ntop writes them, and back`() {
    var random = SeededRandom()
    for _ in 0..<50_000 {
      let address = random.address()
      #expect(address.description == systemText(of: address), "seed \(random.seed)")
      #expect(IPAddress(address.description) == address, "seed \(random.seed)")
    }
  }

  @Test(arguments: [
    ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("::ffff:192.0.2.1", "::ffff:192.0.2.1"), ("::192.0.2.1", "::192.0.2.1"),
    ("::1:2", "::0.1.0.2"), ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"), ("192.0.2.1", "192.0.2.1"),
  ])
  func `the notable forms`(text: String, canonical: String) {
    #expect(IPAddress(text)?.description == canonical)
  }

  @Test(arguments: [
    "", " ", "1", "1.2.3", "1.2.3.4.5", "256.0.0.1", "1.2.3.4 ", "01.2.3.4x", ":", ":::", "1::2::3", "12345::", "g::",
    "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "fe80::1%1", "::ffff:1.2.3", "[::1]", "1.2.3.4\0", "２",
    "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa",
  ])
  func `what is no address is none`(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test func `random prefixes and endpoints survive their text`() {
    var random = SeededRandom()
    for _ in 0..<20_000 {
      let prefix = random.prefix()
      #expect(IPPrefix(prefix.description) == prefix, "seed \(random.seed)")
      let endpoint = random.endpoint()
      #expect(Endpoint(endpoint.description) == endpoint, "seed \(random.seed)")
    }
  }

  @Test(arguments: [
    "", "/", "/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "::/129", "::/ 1", "::/1 ",
    "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/99999999999999999999",
  ])
  func `what is no prefix is none`(text: String) {
    #expect(IPPrefix(text) == nil)
  }

  @Test func `a prefix loses its host bits, and may go without its length where that is allowed`() {
    #expect(IPPrefix("10.1.2.3/8")?.description == "10.0.0.0/8")
    #expect(IPPrefix("2001:db8::1/32")?.description == "2001:db8::/32")
    #expect(IPPrefix("10.1.2.3", lengthOptional: true)?.description == "10.1.2.3/32")
    #expect(IPPrefix("2001:db8::1", lengthOptional: true)?.description == "2001:db8::1/128")
  }

  @Test(arguments: [
    "", ":", "1.2.3.4", "1.2.3.4:", ":51820", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:x", "2001:db8::1:51820",
    "[2001:db8::1]", "[2001:db8::1]:", "[2001:db8::1]51820", "[]:51820", "[1.2.3.4]:51820", "[fe80::1%]:51820",
    "[fe80::1%0]:1", "[2001:db8::1%2]:51820", "[fe80::1%no-such-interface]:51820", "example.org:51820", "[::1:51820",
    "[fe80::1%99999999999]:1", "::1]:51820",
  ])
  func `what is no endpoint is none`(text: String) {
    #expect(Endpoint(text) == nil)
  }

  @Test func `an IPv4-mapped endpoint is the IPv4 address in it, and a prefix stays what it is`() {
    #expect(Endpoint("[::ffff:198.51.100.2]:51820") == Endpoint("198.51.100.2:51820"))
    #expect(Endpoint("[::ffff:c633:6402]:51820")?.description == "198.51.100.2:51820")
    #expect(Endpoint("[::fffe:198.51.100.2]:51820")?.description == "[::fffe:c633:6402]:51820")
    #expect(IPPrefix("::ffff:198.51.100.2/128")?.description == "::ffff:198.51.100.2/128")
  }

  @Test func `a zone may be the name of an interface`() {
    #expect(Endpoint("[fe80::1%lo]:51820") == Endpoint("[fe80::1%\(if_nametoindex("lo"))]:51820"))
    #expect(Endpoint("[fe80::1%2]:51820")?.description == "[fe80::1%2]:51820")
  }

  private func systemText(of address: IPAddress) -> String {
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
