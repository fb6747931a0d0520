import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Configuration files` {
  @Test func `a file as wg-quick has it is read as a whole`() throws {
    let file = try configuration(
      """
      # The office
      [interface]
        privatekey=\(BrokenFile.privateKey)
      Address = 10.192.122.1/24, fd00::1/64 2001:db8::1
      Address=192.0.2.1   # another line
      LISTENPORT = 51820
      FwMark = 0xCa6c
      MTU = 1380
      Table = off

      [Peer]
      PublicKey = \(BrokenFile.publicKey)
      AllowedIPs = 10.192.122.3/32, 10.192.124.1/24,fd00::3
      AllowedIPs = ::/0
      AllowedIPs =
      Endpoint = vpn.example.org:51820
      PersistentKeepalive = off
      [PEER]\r
      PublicKey = @laptop
      PresharedKey = \(BrokenFile.privateKey)
      Endpoint = [fe80::1%eth0]:1234
      PersistentKeepalive = 25
      """)
    #expect(file.addresses.map(\.description) == ["10.192.122.1/24", "fd00::1/64", "2001:db8::1/128", "192.0.2.1/32"])
    #expect(file.listenPort == 51820)
    #expect(file.firewallMark == 0xCA6C)
    #expect(file.mtu == 1380)
    #expect(file.table == .off)
    let peer = file.peers[0]
    #expect(peer.allowedIPs.count == 4)
    #expect(peer.allowedIPs[1] == .add(try #require(IPPrefix("10.192.124.0/24"))))
    #expect(peer.allowedIPs[2] == .add(try #require(IPPrefix("fd00::3/128"))))
    #expect(peer.replacesAllowedIPs)
    #expect(peer.endpoint?.text == "vpn.example.org:51820")
    #expect(peer.persistentKeepalive == 0)
    #expect(file.peers[1].publicKey.base64 == "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=")
    #expect(file.peers[1].endpoint?.text == "[fe80::1%eth0]:1234")
    #expect(file.peers[1].persistentKeepalive == 25)
    guard case .set = file.peers[1].presharedKey else { Issue.record("no preshared key"); return }
    #expect(
      file.warnings.map(\.description) == [
        "test.conf:13: AllowedIPs has nonzero host part: 10.192.124.1/24 [host-bits]"
      ])
  }

  @Test func `every mistake is told, in the order of the lines`() throws {
    let text =
      "[Interface]\nMTU = x\nDNS = 1.1.1\n[Peer]\nEndpoint = x\n[Peer]\nPublicKey = x\nAllowedIPs = 0.0.0.0/33\n"
    do {
      _ = try configuration(text)
      Issue.record("accepted")
    } catch {
      #expect(error.mistakes.map(\.line) == [2, 3, 4, 5, 7, 8])
    }
  }

  @Test func `what wg lets pass is let pass, with a warning`() throws {
    let file = try configuration(
      """
      [Interface]
      ListenPort = 1
      ListenPort = 2
      [Peer]
      PublicKey = \(BrokenFile.publicKey)
      AllowedIPs = 10.0.0.0/8
      [Interface]
      FwMark = off
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 10.0.0.0/8
      Endpoint = 2001:db8::1:51820
      [Peer]
      PublicKey = @laptop
      """)
    #expect(file.listenPort == 2)
    #expect(file.firewallMark == 0)
    #expect(file.peers.count == 3)
    #expect(file.warnings.map(\.line).sorted() == [3, 7, 12, 13])
    #expect(file.peers[1].endpoint?.lacksBrackets == true)
  }

  @Test func `replacing takes away what the file does not name, adding leaves it`() throws {
    let file = try configuration("[Peer]\nPublicKey=@laptop\nEndpoint = 192.0.2.1:1\n", .plain)
    let name = try #require(file.peers[0].endpoint)
    let endpoint = try name.resolve(retries: 0) { _, _ in }
    #expect(endpoint.description == "192.0.2.1:1")
    let replacing = file.update(replacing: true, endpoints: [name: endpoint])
    guard case .remove = replacing.privateKey else { Issue.record("the key stays"); return }
    #expect(replacing.listenPort == 0)
    #expect(replacing.firewallMark == 0)
    #expect(replacing.replacesPeers)
    #expect(replacing.peers[0].endpoint == endpoint)
    let adding = file.update(replacing: false, endpoints: [:])
    guard case .keep = adding.privateKey else { Issue.record("the key goes"); return }
    #expect(adding.listenPort == nil)
    #expect(!adding.replacesPeers)
  }

  @Test func `elements with a sign add to the prefixes or take from them`() throws {
    let text = Array("+10.0.0.0/8,-fd00::/8,1.2.3.4".utf8)
    let list = try AllowedIPList(text.span.bytes)
    #expect(!list.replaces)
    #expect(
      list.changes == [
        .add(try #require(IPPrefix("10.0.0.0/8"))), .remove(try #require(IPPrefix("fd00::/8"))),
        .add(try #require(IPPrefix("1.2.3.4/32"))),
      ])
    #expect(try AllowedIPList([UInt8]().span.bytes).replaces)
  }

  @Test func `an endpoint that no resolver knows is told with its line`() throws {
    let file = try configuration("[Interface]\n[Peer]\nPublicKey=@laptop\nEndpoint = nobody.invalid:51820\n")
    do {
      _ = try file.resolveEndpoints(named: "test.conf", retries: 0) { _, _ in }
      Issue.record("resolved")
    } catch {
      #expect(error.mistakes.map(\.line) == [4])
      #expect(error.description.contains("nobody.invalid:51820"))
    }
  }

  @Test func `retries are a number, infinity, or 15`() throws {
    #expect(try EndpointName.retries(environment: nil) == 15)
    #expect(try EndpointName.retries(environment: "3") == 3)
    #expect(try EndpointName.retries(environment: "infinity") == nil)
    for wrong in ["", "x", "-1", "99999999999"] {
      #expect(throws: ValueMistake.self) { try EndpointName.retries(environment: wrong) }
    }
  }

  @Test func `random bytes never crash the reader`() {
    var random = SeededRandom()
    let pieces = [
      "[Interface]\n", "[Peer]\n", "AllowedIPs", "=", ",", "10.0.0.0", "/8", "\n", "#", " ", "Endpoint", "[::1]", ":1",
      "@x", "\0", "é",
    ]
    for _ in 0..<3_000 {
      let text = (0..<Int.random(in: 0...60, using: &random)).map { _ in pieces.randomElement(using: &random)! }
        .joined()
      _ = try? configuration(text)
    }
  }
}

@Suite struct `The address book` {
  @Test func `names lead to keys and back, notes are kept`() throws {
    let book = try self.book(
      "# friends\n\nhome \(BrokenFile.publicKey)\tthe router in the hall # with a comment\n  laptop  TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\r\n"
    )
    #expect(book.entries.map(\.name) == ["home", "laptop"])
    #expect(book.entries[0].note == "the router in the hall")
    #expect(book.entries[1].note == "")
    let key = try #require(book.publicKey(named: "home"))
    #expect(key.base64 == BrokenFile.publicKey)
    #expect(book.name(of: key) == "home")
    #expect(book.publicKey(named: "office") == nil)
    #expect(book.nearestName(to: "labtop") == "laptop")
  }

  @Test(arguments: [
    ("home", 1, "no key"), ("\nhome abc", 2, "3 characters"), ("ho/me \(BrokenFile.publicKey)", 1, "name"),
    ("home \(BrokenFile.publicKey.dropLast())", 1, "43 characters"), ("@home \(BrokenFile.publicKey)", 1, "name"),
    ("a \(BrokenFile.publicKey)\nb \(BrokenFile.publicKey)", 2, "line 1"),
    ("a \(BrokenFile.publicKey)\n\na TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=", 3, "line 1"),
  ])
  func `a mistake is told with its line`(text: String, line: Int, mention: String) {
    do {
      _ = try book(text)
      Issue.record("accepted: \(text)")
    } catch {
      #expect(error.mistakes.map(\.line) == [line])
      #expect(error.description.contains(mention), "\(error)")
    }
  }

  private func book(_ text: String) throws(FileMistakes) -> AddressBook {
    let bytes = Array(text.utf8)
    return try AddressBook(reading: bytes.span.bytes, named: "keys")
  }
}
