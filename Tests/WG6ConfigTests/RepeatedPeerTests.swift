import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Peers with several sections, and lists with signs` {
  @Test func `have in the end what a device gives them that carries the file out line by line`() throws {
    let first = UInt64.random(in: 0...UInt64.max)
    for seed in 0..<UInt64(1000) {
      var random = SeededRandom(seed: first &+ seed)
      let text = file(using: &random)
      let file = try configuration(text)
      let coverage = Coverage(file, connected: [])
      let written = owners(file.update(replacing: true, endpoints: [:]))
      let computed = owners(file.update(replacing: true, endpoints: [:], coverage: coverage))
      #expect(written == computed, "seed \(random.seed)\n\(text)")

      // An export gives everybody the same, holes and all.
      let cutText = "[Interface]\nExcludedIPs = 10.0.0.1, 10.0.0.2\n\(text)"
      let cut = try configuration(cutText)
      let cutCoverage = Coverage(cut, connected: [])
      var exported = WipedBytes()
      let bytes = Array(cutText.utf8)
      cut.writeExported(bytes.span.bytes, coverage: cutCoverage, to: &exported)
      let plain = try configuration(exported.string)
      #expect(
        owners(plain.update(replacing: true, endpoints: [:]))
          == owners(cut.update(replacing: true, endpoints: [:], coverage: cutCoverage)),
        "seed \(random.seed)\n\(cutText)\n\(exported.string)")
    }
  }

  private func file(using random: inout SeededRandom) -> String {
    var lines = ["[Interface]"]
    for _ in 0..<Int.random(in: 1...5, using: &random) {
      let key = PublicKey(InlineArray<32, UInt8>(repeating: UInt8.random(in: 1...3, using: &random)))
      lines += ["[Peer]", "PublicKey = \(key.base64)"]
      for _ in 0..<Int.random(in: 0...2, using: &random) {
        let elements = (0..<Int.random(in: 0...3, using: &random)).map { _ in
          let sign = ["", "", "+"].randomElement(using: &random)!
          let prefix = IPPrefix(
            .v4(0x0A00_0000 | UInt32.random(in: 0...3, using: &random)), length: Int.random(in: 29...32, using: &random)
          )
          return "\(sign)\(prefix)"
        }
        lines.append("AllowedIPs = \(elements.joined(separator: ", "))")
      }
    }
    return lines.joined(separator: "\n")
  }

  /// Who has what when a device has carried `update` out.
  private func owners(_ update: DeviceUpdate) -> [IPPrefix: PublicKey] {
    var owners: [IPPrefix: PublicKey] = [:]
    for peer in update.peers {
      if peer.replacesAllowedIPs { owners = owners.filter { $0.value != peer.publicKey } }
      for change in peer.allowedIPs {
        switch change {
        case .add(let prefix): owners[prefix] = peer.publicKey
        case .remove(let prefix): if owners[prefix] == peer.publicKey { owners[prefix] = nil }
        }
      }
    }
    return owners
  }
}
