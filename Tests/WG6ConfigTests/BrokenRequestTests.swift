import Glibc
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

/// A control request with one mistake, and what its message must hold.
struct BrokenRequest {
  let text: String
  /// The line of the mistake, from 1.
  let line: Int
  /// The key that the message must name, or another piece of it.
  let mention: String
  var errno = EINVAL
  /// What the message must not hold.
  var secret: String?

  static let publicKey = String(repeating: "ab", count: 32)

  /// A mistake in the device's part: `before` right lines, the wrong one, and more behind it.
  static func device(_ wrong: String, mention: String, before: Int = 0, errno: Int32 = EINVAL, secret: String? = nil)
    -> BrokenRequest
  {
    let right = (0..<before).map { "listen_port=\(51820 + $0)" }
    return BrokenRequest(
      text: (["set=1"] + right + [wrong, "fwmark=1", "", ""]).joined(separator: "\n"), line: before + 2,
      mention: mention,
      errno: errno, secret: secret)
  }

  /// A mistake in the second peer's part.
  static func peer(_ wrong: String, mention: String, errno: Int32 = EINVAL, secret: String? = nil) -> BrokenRequest {
    let right = ["set=1", "public_key=\(publicKey)", "allowed_ip=10.0.0.0/8", "public_key=\(publicKey)"]
    return BrokenRequest(
      text: (right + [wrong, "allowed_ip=fd00::/8", "", ""]).joined(separator: "\n"), line: 5, mention: mention,
      errno: errno,
      secret: secret)
  }
}

extension BrokenRequest {
  static let numbers = ["", "-1", "+1", "1 ", " 1", "1.5", "0x", "abc", "1e3", "99999999999999999999999", "１"]

  static let all: [BrokenRequest] = operations + deviceValues + keys + peerValues + allowedIPs + endpoints + misplaced

  static let operations: [BrokenRequest] = {
    var requests = ["get=2", "get=", "get=01", "get=true", "set=0", "set=2", "set=", "set= 1", "get=1 "].map {
      BrokenRequest(text: "\($0)\n\n", line: 1, mention: String($0.prefix(3)))
    }
    requests += ["hello=1", "GET=1", "SET=1", "listen_port=1", "public_key=\(publicKey)", "errno=0"].map {
      BrokenRequest(text: "\($0)\n\n", line: 1, mention: String($0.prefix { $0 != "=" }))
    }
    requests += ["=1", "1=1", " set=1", "se t=1"].map {
      BrokenRequest(text: "\($0)\n\n", line: 1, mention: "expected get=1 or set=1")
    }
    requests += ["get", "set", "hello", "\0"].map {
      BrokenRequest(text: "\($0)\n\n", line: 1, mention: "without '='", errno: EPROTO)
    }
    requests += ["set=1", "get=1", "listen_port=1", "public_key=\(publicKey)"].map {
      BrokenRequest(text: "get=1\n\($0)\n\n", line: 2, mention: "after get=1")
    }
    requests.append(BrokenRequest(text: "\n", line: 1, mention: "blank line"))
    requests += ["set=1", "get=1"].map { .device($0, mention: String($0.prefix(3)), before: 3) }
    requests += [50, 5000, 100_000].map { length in
      let line = String(repeating: "x", count: length)
      return .device(
        line, mention: length > 4096 ? "\(length) bytes" : "without '='", errno: length > 4096 ? EINVAL : EPROTO)
    }
    requests.append(.peer("allowed_ip=" + String(repeating: "1", count: 9000), mention: "9011 bytes"))
    return requests
  }()

  static let deviceValues: [BrokenRequest] =
    (numbers + ["65536", "0x10"]).enumerated().map { .device("listen_port=\($1)", mention: "listen_port", before: $0) }
    + (numbers + ["4294967296", "0x1ffffffff", "0xg", "off"]).map { .device("fwmark=\($0)", mention: "fwmark") }
    + ["", "false", "1", "TRUE", "true ", "yes"].map { .device("replace_peers=\($0)", mention: "replace_peers") }
    + [
      "fe80::/63", "fe80::", "10.0.0.0/8", "fe80::/64,fe80::/64", "fe80::/64,x",
      (0...16).map { "fd00:0:0:\($0)::/64" }.joined(separator: ","),
    ].map { .device("derived_networks=\($0)", mention: "derived_networks") }
    + ["", "false", "1"].map { .peer("start_handshake=\($0)", mention: "start_handshake") }
    + ["lisen_port=1", "listenport=1", "mtu=1420", "address=10.0.0.1", "Listen_Port=1", "listen_port =1"].map {
      .device($0, mention: $0.contains(" ") ? "unknown key" : String($0.prefix { $0 != "=" }))
    }
    + ["listen_port", "fwmark", "replace_peers", "true"].map { .device($0, mention: "without '='", errno: EPROTO) }

  static let keys: [BrokenRequest] = {
    let good = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    var wrong = [
      "", "0", String(good.dropLast()), good + "0", good + good, String(good.prefix(32)), "0x" + good.dropLast(2),
    ]
    for place in [0, 1, 31, 62, 63] {
      for character in ["g", " ", "-"] {
        var characters = Array(good)
        characters[place] = Character(character)
        wrong.append(String(characters))
      }
    }
    wrong.append("ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=")
    return wrong.flatMap { value -> [BrokenRequest] in
      let secret = value.count > 8 ? value : nil
      return [
        .device("private_key=\(value)", mention: "private_key", secret: secret),
        .device("public_key=\(value)", mention: "public_key", secret: secret),
        .peer("preshared_key=\(value)", mention: "preshared_key", secret: secret),
      ]
    }
      + [
        .device(good, mention: "without '='", errno: EPROTO, secret: good),
        .device("\(good)=1", mention: "unknown key", secret: good),
      ]
  }()

  static let peerValues: [BrokenRequest] =
    (numbers + ["65536", "off", "0x19"]).map {
      .peer("persistent_keepalive_interval=\($0)", mention: "persistent_keepalive_interval")
    }
    + ["remove", "update_only", "replace_allowed_ips"].flatMap { key in
      ["", "false", "1", "True"].map { .peer("\(key)=\($0)", mention: key) }
    }
    + ["", "0", "2", "1.0", "x"].map { .peer("protocol_version=\($0)", mention: "protocol_version") }
    + [
      "allowed_ips=10.0.0.0/8", "endpont=1.2.3.4:5", "keepalive=25", "rx_bytes=1", "last_handshake_time_sec=1",
      "errno=0",
    ].map {
      .peer($0, mention: String($0.prefix { $0 != "=" }))
    }

  static let allowedIPs: [BrokenRequest] = [
    "", "/", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-8", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0.0/8",
    "256.0.0.0/8",
    "10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8 ", " 10.0.0.0/8", "10.0.0.0 /8", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0",
    "::/129",
    "fd00::", "fd00::g/64", "fd00:/64", "fd00::1::/64", "fe80::1%lo/64", "[fd00::]/64", "-", "--10.0.0.0/8", "-/8",
    "+10.0.0.0/8",
    "-10.0.0.0", "example.org/32", "0/0", "10.0.0.0/0x8", "１0.0.0.0/8",
  ].map { .peer("allowed_ip=\($0)", mention: "allowed_ip") }

  static let endpoints: [BrokenRequest] = [
    "", ":", "1.2.3.4", "1.2.3.4:", ":51820", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:port", "1.2.3:51820",
    "256.2.3.4:51820",
    "2001:db8::1:51820", "[2001:db8::1]", "[2001:db8::1]:", "[2001:db8::1]:65536", "[2001:db8::1]51820",
    "[2001:db8::1:51820",
    "2001:db8::1]:51820", "[]:51820", "[1.2.3.4]:51820", "[fe80::1%]:51820", "[fe80::1%0]:51820",
    "[fe80::1%nowhere0]:51820",
    "[2001:db8::1%2]:51820", "example.org:51820", "1.2.3.4:51820 ", " 1.2.3.4:51820", "(none)",
    "[fe80::1%4294967296]:1",
  ].map { .peer("endpoint=\($0)", mention: "endpoint") }

  static let misplaced: [BrokenRequest] =
    [
      "remove=true", "update_only=true", "preshared_key=\(publicKey)", "endpoint=1.2.3.4:5",
      "persistent_keepalive_interval=1",
      "replace_allowed_ips=true", "allowed_ip=10.0.0.0/8", "protocol_version=1", "start_handshake=true",
    ].map { .device($0, mention: String($0.prefix { $0 != "=" })) }
    + ["private_key=\(publicKey)", "listen_port=1", "fwmark=1", "derived_networks=fe80::/64", "replace_peers=true"].map
  {
    .peer($0, mention: String($0.prefix { $0 != "=" }))
  }
}

@Suite struct `Broken control requests` {
  @Test func `there are at least 200, each another one`() {
    #expect(Set(BrokenRequest.all.map(\.text)).count == BrokenRequest.all.count)
    #expect(BrokenRequest.all.count >= 200)
    print("broken control requests: \(BrokenRequest.all.count)")
  }

  @Test func `each is refused with its line and its key, and the next request is understood`() {
    for broken in BrokenRequest.all {
      let answers = requests(broken.text + "get=1\n\n")
      guard answers.count == 2, case .invalid(let error) = answers[0], case .get = answers[1] else {
        Issue.record("not refused as it should be: \(broken.text.prefix(200))")
        continue
      }
      #expect(error.message.hasPrefix("line \(broken.line): "), "\(error.message) for \(broken.text.prefix(200))")
      #expect(error.message.contains(broken.mention), "\(error.message) for \(broken.text.prefix(200))")
      #expect(error.errno == broken.errno, "\(error.message)")
      if let secret = broken.secret { #expect(!error.message.contains(secret.prefix(9)), "\(error.message)") }
    }
  }

  @Test func `random bytes never crash the parser`() {
    var random = SeededRandom()
    let alphabet = Array("set=1\nget=1\npublic_key=ab/:[]%.-0fallowed_ipendpoint\n\n\0\u{FF}".utf8)
    for _ in 0..<5_000 {
      var text = (0..<Int.random(in: 0...200, using: &random)).map { _ in alphabet.randomElement(using: &random)! }
      text += Array("\n\n".utf8)
      var parser = ControlRequestParser()
      for line in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
        _ = parser.line(Array(line).span.bytes)
      }
    }
  }
}
