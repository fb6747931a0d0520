import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

/// Feeds `text` line by line and returns the requests that came of it.
func requests(_ text: String) -> [ControlRequest] {
  var parser = ControlRequestParser()
  return lines(text).compactMap { parser.line($0.span.bytes) }
}

/// The lines of `text`, each without its line feed; what follows the last line feed is no line.
func lines(_ text: String) -> [[UInt8]] {
  text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map(Array.init)
}

@Suite struct `Control socket text` {
  @Test func `random updates survive the way through a request`() throws {
    var random = SeededRandom()
    for _ in 0..<2_000 {
      let update = random.update()
      let text = requestText(update)
      guard case .set(let read)? = requests(text).first else {
        Issue.record("seed \(random.seed): not understood")
        return
      }
      #expect(requestText(read) == text, "seed \(random.seed)")
    }
  }

  @Test func `a capture's filter survives the way through a request, and what is no filter is refused`() {
    var random = SeededRandom()
    for _ in 0..<500 {
      var filter = CaptureFilter()
      filter.takesDrops = Bool.random(using: &random)
      for _ in 0..<Int.random(in: 0...8, using: &random) {
        filter.peers.append(PrivateKey(using: &random).publicKey)
      }
      for _ in 0..<Int.random(in: 0...16, using: &random) {
        filter.prefixes.append(
          IPPrefix(.v4(UInt32.random(in: 0 ... .max, using: &random)), length: Int.random(in: 0...32, using: &random)))
        if filter.prefixes.count == 16 { break }
      }
      filter.protocols = Array(Set((0..<3).map { _ in UInt8.random(in: 0...255, using: &random) }))
      var text = WipedBytes()
      filter.writeRequest(to: &text)
      let request = text.withBytes { $0.withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
      guard case .capture(let read)? = requests(request).first else {
        Issue.record("seed \(random.seed): not understood: \(request)")
        return
      }
      #expect(read == filter, "seed \(random.seed)")
    }
    guard case .keyLog? = requests(ControlRequest.keyLogText).first else {
      Issue.record("the key log's request is not understood")
      return
    }
    let key = String(repeating: "a", count: 64)
    for wrong in [
      "capture=2\n\n", "keylog=2\n\n", "keylog=1\nget=1\n\n", "capture=1\nprefix=10.0.0.1\n\n",
      "capture=1\nprotocol=256\n\n", "capture=1\ndrops=1\n\n", "capture=1\npublic_key=1\n\n",
      "capture=1\nlisten_port=1\n\n", "capture=1\n" + String(repeating: "public_key=\(key)\n", count: 9) + "\n",
      "capture=1\n" + String(repeating: "prefix=::/0\n", count: 17) + "\n",
    ] {
      guard case .invalid? = requests(wrong).first else {
        Issue.record("taken: \(wrong)")
        continue
      }
    }
  }

  @Test func `random statuses survive the way through an answer`() throws {
    var random = SeededRandom()
    for _ in 0..<500 {
      var status = random.status(peers: Int.random(in: 0...4, using: &random), prefixes: 3)
      status.unlockedKeyBytes = Bool.random(using: &random) ? 0 : random.next()
      let text = answerText(status)
      guard case .done(let read)? = answer(text) else {
        Issue.record("seed \(random.seed): not understood")
        return
      }
      #expect(answerText(read) == text, "seed \(random.seed)")
      #expect(read.publicKey == status.publicKey, "seed \(random.seed)")
      #expect(read.unlockedKeyBytes == status.unlockedKeyBytes, "seed \(random.seed)")
    }
  }

  @Test func `drop counts survive the way through an answer, and nothing else is told`() throws {
    #expect(requests(ControlRequest.dropsText).count == 1)
    guard case .drops? = requests(ControlRequest.dropsText).first else {
      Issue.record("drops=1 is not understood")
      return
    }
    var random = SeededRandom()
    var status = random.status(peers: 3, prefixes: 3)
    for (index, reason) in DropReason.allCases.enumerated() {
      status.drops[reason] = UInt64(index)
      status.peers[1].drops[reason] = random.next()
    }
    var text = WipedBytes()
    status.writeDropsAnswer(to: &text)
    guard case .done(let read)? = answer(text.string) else {
      Issue.record("seed \(random.seed): not understood")
      return
    }
    #expect(read.drops == status.drops, "seed \(random.seed)")
    #expect(read.peers.map(\.drops) == status.peers.map(\.drops), "seed \(random.seed)")
    #expect(read.peers.map(\.publicKey) == status.peers.map(\.publicKey), "seed \(random.seed)")
    #expect(read.privateKey == nil && read.peers.allSatisfy { $0.presharedKey == nil && $0.allowedIPs.isEmpty })
  }

  @Test func `every reason has a key, a name and an explanation of its own`() {
    let reasons = DropReason.allCases
    #expect(Set(reasons.map { "\($0.key)" }).count == reasons.count)
    #expect(reasons.allSatisfy { "\($0.key)".hasPrefix("dropped_") })
    #expect(Set(reasons.map(\.name)).count == reasons.count)
    #expect(Set(reasons.map(\.explanation)).count == reasons.count)
  }

  @Test func `one peer with 130,560 prefixes and 10,000 peers go through in one piece`() throws {
    var random = SeededRandom()
    for (peers, prefixes) in [(1, 130_560), (10_000, 1)] {
      let status = random.status(peers: peers, prefixes: prefixes)
      guard case .done(let read)? = answer(answerText(status)) else {
        Issue.record("seed \(random.seed): not understood")
        return
      }
      #expect(read.peers.map(\.allowedIPs) == status.peers.map(\.allowedIPs), "seed \(random.seed)")
    }
  }

  @Test func `the answer has wireguard-go's lines in wireguard-go's order`() throws {
    var peer = PeerStatus(publicKey: PublicKey(InlineArray(repeating: 0xAB)))
    peer.endpoint = Endpoint("[fe80::1%2]:51820")
    peer.lastHandshake = 1_700_000_000_000_000_042
    (peer.transmittedBytes, peer.receivedBytes, peer.persistentKeepalive) = (7, 8, 25)
    peer.allowedIPs = [try #require(IPPrefix("10.0.0.0/8")), try #require(IPPrefix("fd00::/64"))]
    let status = DeviceStatus(listenPort: 51820, firewallMark: 0x20, peers: [peer])
    #expect(
      answerText(status) == """
        listen_port=51820
        fwmark=32
        public_key=\(String(repeating: "ab", count: 32))
        preshared_key=\(String(repeating: "0", count: 64))
        protocol_version=1
        endpoint=[fe80::1%2]:51820
        last_handshake_time_sec=1700000000
        last_handshake_time_nsec=42
        tx_bytes=7
        rx_bytes=8
        persistent_keepalive_interval=25
        allowed_ip=10.0.0.0/8
        allowed_ip=fd00::/64
        errno=0


        """)
  }

  @Test func `an empty device answers with nothing but success, get is understood`() {
    #expect(answerText(DeviceStatus()) == "errno=0\n\n")
    guard case .get? = requests(ControlRequest.getText).first else { Issue.record("no get"); return }
  }

  @Test func `the last of repeated values wins, and replacing prefixes forgets those before`() throws {
    let key = String(repeating: "ab", count: 32)
    let text = """
      set=1
      listen_port=1
      listen_port=2
      fwmark=0x10
      fwmark=0
      public_key=\(key)
      protocol_version=1
      persistent_keepalive_interval=1
      persistent_keepalive_interval=25
      preshared_key=\(String(repeating: "11", count: 32))
      preshared_key=\(String(repeating: "22", count: 32))
      allowed_ip=10.0.0.0/8
      replace_allowed_ips=true
      allowed_ip=10.1.2.3/16
      allowed_ip=-fd00::/8
      endpoint=1.2.3.4:1
      endpoint=[2001:db8::1]:2


      """
    guard case .set(let update)? = requests(text).first else { Issue.record("not understood"); return }
    #expect(update.listenPort == 2)
    #expect(update.firewallMark == 0)
    let peer = try #require(update.peers.first)
    #expect(peer.persistentKeepalive == 25)
    guard case .set(let presharedKey) = peer.presharedKey else { Issue.record("no preshared key"); return }
    #expect(presharedKey.withBytes { $0.byte(at: 0) } == 0x22)
    #expect(peer.replacesAllowedIPs)
    #expect(
      peer.allowedIPs == [.add(try #require(IPPrefix("10.1.0.0/16"))), .remove(try #require(IPPrefix("fd00::/8")))])
    #expect(peer.endpoint == Endpoint("[2001:db8::1]:2"))
  }

  @Test(arguments: [Int32(0), 1, 22, 98]) func `a refusal's number arrives, whichever its sign on the wire`(
    number: Int32
  ) {
    var text = WipedBytes()
    ControlAnswer.write(errno: number, to: &text)
    for text in [text.string, "errno=\(number)\n\n"] {
      switch answer(text) {
      case .done: #expect(number == 0)
      case .refused(let errno): #expect(errno == number)
      default: Issue.record("not understood")
      }
    }
  }

  @Test func `keys that a newer daemon may add are skipped, broken lines are not`() {
    guard case .done? = answer("colour=blue\npublic_key=\(String(repeating: "ab", count: 32))\nmood=fine\nerrno=0\n\n")
    else {
      Issue.record("not understood")
      return
    }
    for text in [
      "listen_port=x\nerrno=0\n\n", "public_key=ab\nerrno=0\n\n", "nonsense\nerrno=0\n\n", "\n", "errno=x\n\n",
    ] {
      guard case .invalid? = answer(text) else { Issue.record("accepted: \(text)"); return }
    }
  }

  private func requestText(_ update: DeviceUpdate) -> String {
    var text = WipedBytes()
    update.writeRequest(to: &text)
    return text.string
  }

  private func answerText(_ status: DeviceStatus) -> String {
    var text = WipedBytes()
    status.writeAnswer(to: &text)
    return text.string
  }

  private func answer(_ text: String) -> ControlAnswer? {
    var parser = ControlAnswerParser()
    for line in lines(text) {
      if let answer = parser.line(line.span.bytes) { return answer }
    }
    return nil
  }
}
