import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Settings for several peers` {
  private static let text =
    "[Interface]\nMulticast = on\nRouteSync = yes\nRouteSyncFilter = fd00::/8, 10.0.0.0/8\nRouteSyncFilter = 2001:db8::/32\n"
    + "DeadAfter = 3\n[Peer]\nPublicKey = \(BrokenFile.publicKey)\nAllowedIPs = fe80::2/128\nMulticast = off\n"

  private func prefix(_ text: String) -> IPPrefix { IPPrefix(text: Array(text.utf8).span.bytes)! }

  @Test func `are asked of the device, with the file named as where allowed IPs came from`() throws {
    let file = try configuration(Self.text)
    let update = file.update(replacing: true, endpoints: [:])
    #expect(update.multicast == true && update.deadAfter == 3 && update.origin == .file)
    #expect(
      update.routeSync
        == RouteSyncSettings(isOn: true, filter: ["fd00::/8", "10.0.0.0/8", "2001:db8::/32"].map(prefix)))
    #expect(update.peers.map(\.multicast) == [.off])
  }

  @Test func `that a file does not have are asked of no device, which may be another implementation's`() throws {
    let file = try configuration("[Interface]\n[Peer]\nPublicKey = \(BrokenFile.publicKey)\nAllowedIPs = fe80::2/128\n")
    var request = WipedBytes()
    file.update(replacing: true, endpoints: [:]).writeRequest(to: &request)
    let text = request.string
    for key in ["multicast", "route_sync", "dead_after", "allowed_ip_origin"] { #expect(!text.contains(key)) }
  }

  @Test func `are saved, and what routes have given is not`() throws {
    let file = try configuration(Self.text)
    var status = DeviceStatus()
    var peer = PeerStatus(publicKey: file.peers[0].publicKey)
    peer.allowedIPs = [prefix("10.1.0.0/16"), prefix("fe80::2/128"), prefix("10.2.0.0/16")]
    peer.origins = [.route, .file, .route]
    status.peers = [peer]
    var shown = WipedBytes()
    status.writeConfiguration(to: &shown)
    #expect(shown.string.contains("AllowedIPs = fe80::2/128\n"))
    var saved = WipedBytes()
    shown.withBytes {
      file.writeSaved($0, addresses: [], mtu: nil, coverage: Coverage(file, connected: []), to: &saved)
    }
    let again = try configuration(saved.string)
    #expect(again.multicast == true && again.syncsRoutes == true && again.deadAfter == 3)
    #expect(again.routeSyncFilter == file.routeSyncFilter)
    #expect(again.peers.map(\.multicast) == [false])
    #expect(again.peers[0].allowedIPs == [.add(prefix("fe80::2/128"))])
    // With nothing but what routes have given there is no line.
    status.peers[0].allowedIPs = [prefix("10.1.0.0/16")]
    status.peers[0].origins = [.route]
    var bare = WipedBytes()
    status.writeConfiguration(to: &bare)
    #expect(!bare.string.contains("AllowedIPs"))
  }
}
