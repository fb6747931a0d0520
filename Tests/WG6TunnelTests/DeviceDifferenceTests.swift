import Testing
import WG6Config
import WG6Crypto
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `The difference between a device and a file` {
  private func difference(
    _ status: DeviceStatus, _ text: String, endpoints: [String: Endpoint] = [:], moved: Set<PublicKey> = []
  ) throws -> DeviceDifference {
    let file = try configuration(text)
    var resolved: [EndpointName: Endpoint] = [:]
    for peer in file.peers { if let name = peer.endpoint { resolved[name] = endpoints[name.text] } }
    let wanted = file.update(replacing: true, endpoints: resolved)
    return DeviceDifference(from: status, to: wanted, movedEndpoints: moved) { $0.base64.prefix(4) + "…" }
  }

  private let own = "[Interface]\nPrivateKey = \(ownKey)\n"
  private func peer(_ number: UInt8, _ rest: String) -> String {
    "[Peer]\nPublicKey = \(peerKey(number).base64)\n\(rest)\n"
  }

  private func status(_ peers: PeerStatus...) throws -> DeviceStatus {
    guard case .set(let key) = try configuration(own).privateKey else { throw MissingKey() }
    return DeviceStatus(privateKey: key, publicKey: key.publicKey, listenPort: 40000, peers: peers)
  }
  private struct MissingKey: Error {}

  private func present(_ number: UInt8, _ prefixes: String..., endpoint: String? = nil) -> PeerStatus {
    var peer = PeerStatus(publicKey: peerKey(number))
    peer.allowedIPs = prefixes.map { prefix($0) }
    peer.endpoint = endpoint.map { Endpoint(address: address($0), port: 1) }
    return peer
  }

  @Test func `the same is nothing, and a port that nobody asked for stays`() throws {
    let text = own + peer(1, "AllowedIPs = 10.0.0.0/8, ::/0")
    let difference = try difference(status(present(1, "::/0", "10.0.0.0/8")), text)
    #expect(difference.isEmpty && difference.update.peers.isEmpty && difference.update.listenPort == nil)
    #expect(!difference.update.replacesPeers)
  }

  @Test func `a peer that comes or goes touches no other`() throws {
    let text = own + peer(1, "AllowedIPs = 10.0.0.0/8") + peer(3, "AllowedIPs = 10.3.0.0/16")
    let difference = try difference(status(present(1, "10.0.0.0/8"), present(2, "10.2.0.0/16")), text)
    #expect(difference.update.peers.map(\.publicKey) == [peerKey(2), peerKey(3)])
    #expect(difference.update.peers[0].removes)
    #expect(difference.update.peers[1].allowedIPs == [.add(prefix("10.3.0.0/16"))])
    #expect(difference.lines.map { $0.prefix(6) } == ["- peer", "+ peer"])
  }

  @Test func `a peer that comes has all that the file says of it`() throws {
    let lines = "PresharedKey = \(ownKey)\nEndpoint = a.example:1\nPersistentKeepalive = 25\nAllowedIPs = ::/0"
    let text = own + peer(1, lines)
    let endpoint = Endpoint(address: address("192.0.2.1"), port: 1)
    let difference = try difference(status(), text, endpoints: ["a.example:1": endpoint])
    let change = try #require(difference.update.peers.first)
    #expect(change.persistentKeepalive == 25 && change.endpoint == endpoint)
    #expect(change.allowedIPs == [.add(prefix("::/0"))])
    guard case .set = change.presharedKey else { Issue.record("no preshared key"); return }
  }

  @Test func `a mark that changes is taken out of the rest`() throws {
    let text = "[Interface]\nPrivateKey = \(ownKey)\nFwMark = 7\nListenPort = 51820\n"
    var former = try status()
    former.firewallMark = 5
    var difference = try difference(former, text)
    let taken = difference.takeMark(), mark = try #require(taken)
    #expect(mark.former == 5 && mark.new == 7)
    #expect(mark.difference.update.firewallMark == 7 && mark.difference.lines == ["mark 5 → 7"])
    #expect(mark.difference.update.listenPort == nil)
    #expect(difference.update.firewallMark == nil && difference.update.listenPort == 51820)
    let isGone = difference.takeMark() == nil
    #expect(difference.lines == ["port 40000 → 51820"] && isGone)
  }

  @Test func `an endpoint that roamed stays, unless the file writes another`() throws {
    let text = own + peer(1, "Endpoint = a.example:1")
    let file = Endpoint(address: address("192.0.2.1"), port: 1)
    let roamed = try status(present(1, endpoint: "198.51.100.7"))
    #expect(try difference(roamed, text, endpoints: ["a.example:1": file]).isEmpty)
    let moved = try difference(roamed, text, endpoints: ["a.example:1": file], moved: [peerKey(1)])
    #expect(moved.update.peers.first?.endpoint == file)
    let without = try difference(try status(present(1)), text, endpoints: ["a.example:1": file])
    #expect(without.update.peers.first?.endpoint == file)
  }

  @Test func `endpoints that lie inside are taken out of the rest, of peers that there were and of new ones`() throws {
    let text =
      own + peer(1, "Endpoint = a.example:1\nPersistentKeepalive = 5") + peer(2, "Endpoint = b.example:1")
      + peer(3, "Endpoint = b.example:1\nAllowedIPs = 10.3.0.0/16") + peer(4, "Endpoint = a.example:1")
    let inside = Endpoint(address: address("192.0.2.1"), port: 1),
      outside = Endpoint(address: address("203.0.113.1"), port: 1)
    var difference = try difference(
      status(
        present(1, endpoint: "198.51.100.7"), present(2, endpoint: "198.51.100.8"), present(4, endpoint: "198.51.100.9")
      ),
      text, endpoints: ["a.example:1": inside, "b.example:1": outside], moved: [peerKey(1), peerKey(2), peerKey(4)])
    let none = difference.takeEndpoints { _ in false }
    #expect(none == nil)
    let near = difference.takeEndpoints { $0 == inside.address }
    let last = try #require(near)
    #expect(last.update.peers.map(\.publicKey) == [peerKey(1), peerKey(4)])
    #expect(last.update.peers.allSatisfy { $0.endpoint == inside && $0.persistentKeepalive == nil })
    #expect(last.lines.count == 2 && last.lines.allSatisfy { $0.hasSuffix(": endpoint 192.0.2.1:1") }, "\(last.lines)")
    #expect(difference.update.peers.map(\.publicKey) == [peerKey(1), peerKey(2), peerKey(3)])
    #expect(difference.update.peers.map(\.endpoint) == [nil, outside, outside])
    #expect(difference.lines.count == 3 && difference.lines[0].hasSuffix(": keepalive 5 s"), "\(difference.lines)")

    let far = difference.takeEndpoints { $0 == outside.address }
    let new = try #require(far)
    #expect(new.update.peers.map(\.publicKey) == [peerKey(2), peerKey(3)] && new.lines.count == 2)
    #expect(difference.update.peers.map(\.publicKey) == [peerKey(1), peerKey(3)])
    #expect(difference.update.peers[1].endpoint == nil && difference.update.peers[1].allowedIPs.count == 1)
    #expect(difference.lines.count == 2 && difference.lines[1].hasPrefix("+ peer"))
  }

  @Test func `a prefix that moves from one peer to the other is given in one update`() throws {
    let text = own + peer(1, "AllowedIPs = 10.1.0.0/16") + peer(2, "AllowedIPs = 10.0.0.0/8")
    let difference = try difference(status(present(1, "10.0.0.0/8", "10.1.0.0/16"), present(2)), text)
    #expect(difference.update.peers.count == 2)
    #expect(difference.update.peers.allSatisfy { $0.replacesAllowedIPs && !$0.removes })
  }

  @Test func `a prefix in two sections is the later one's`() throws {
    let text = own + peer(1, "AllowedIPs = 10.0.0.0/8") + peer(2, "AllowedIPs = 10.0.0.0/8")
    #expect(try difference(status(present(1), present(2, "10.0.0.0/8")), text).isEmpty)
  }

  @Test func `keys, keepalives, marks and ports are compared by what they are`() throws {
    var old = present(1)
    old.persistentKeepalive = 25
    let text =
      "[Interface]\nPrivateKey = \(ownKey)\nListenPort = 51820\nFwMark = 7\n"
      + peer(1, "PresharedKey = \(ownKey)\nPersistentKeepalive = off")
    let difference = try difference(status(old), text)
    #expect(difference.update.listenPort == 51820 && difference.update.firewallMark == 7)
    let change = try #require(difference.update.peers.first)
    #expect(change.persistentKeepalive == 0)
    guard case .set(let secret) = change.presharedKey else { Issue.record("no preshared key"); return }
    var same = old
    (same.presharedKey, same.persistentKeepalive) = (secret, 0)
    var after = try status(same)
    (after.listenPort, after.firewallMark) = (51820, 7)
    #expect(try self.difference(after, text).isEmpty)
    #expect(difference.lines.count == 3)
    #expect(!difference.lines.joined().contains(ownKey))
    // Another preshared key in the place of one is a change as well.
    let other = try self.difference(after, text.replacing("PresharedKey = y", with: "PresharedKey = x"))
    guard case .set(let new) = other.update.peers.first?.presharedKey else { Issue.record("the key stays"); return }
    #expect(!(new.secret == secret.secret) && other.lines.count == 1)
  }

  @Test func `allowed IPs that routes have given are no difference, and are not given by a file`() throws {
    let text =
      "[Interface]\nPrivateKey = \(ownKey)\nRouteSync = yes\nRouteSyncFilter = 10.0.0.0/8\nDeadAfter = 3\nMulticast = on\n"
      + peer(1, "AllowedIPs = fd00::1\nMulticast = off")
    let fresh = try difference(status(present(1, "fd00::1/128")), text)
    #expect(fresh.update.routeSync == RouteSyncSettings(isOn: true, filter: [prefix("10.0.0.0/8")]))
    #expect(fresh.update.deadAfter == 3 && fresh.update.multicast == true && fresh.update.origin == .file)
    // The device has to learn that what it has is the file's.
    #expect(fresh.update.peers.first?.allowedIPs == [.add(prefix("fd00::1/128"))])
    #expect(fresh.update.peers.first?.multicast == .off)
    var synced = present(1, "fd00::1/128", "10.1.0.0/16")
    synced.origins = [.file, .route]
    synced.multicast = .off
    var after = try status(synced)
    (after.routeSync, after.deadAfter, after.multicast) = (fresh.update.routeSync!, 3, true)
    #expect(try difference(after, text).isEmpty)
    let off = try difference(after, own + peer(1, "AllowedIPs = fd00::1"))
    #expect(off.update.routeSync == RouteSyncSettings() && off.update.deadAfter == 0 && off.update.multicast == false)
    #expect(off.update.peers.first?.multicast == .asDevice && off.update.peers.first?.allowedIPs == [])
  }
}
