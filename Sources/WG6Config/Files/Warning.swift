import WG6Crypto

/// The warnings about files, by the names that `Warnings = -name` silences them with. docs/man/wg6.conf.5 explains each.
public enum Warning: String, CaseIterable, Sendable {
  // About one line.
  case repeatedKey = "repeated-key"
  case repeatedSection = "repeated-section"
  case emptyValue = "empty-value"
  case zeroKey = "zero-key"
  case hostBits = "host-bits"
  case plusSign = "plus-sign"
  case noBrackets = "no-brackets"
  case octalAddress = "octal-address"
  case smallMTU = "small-mtu"
  // About what the lines mean together.
  case takeover
  case oneFamily = "one-family"
  case insideEndpoint = "inside-endpoint"
  case unusedAddress = "unused-address"
  case noPrivateKey = "no-private-key"
  case noAddress = "no-address"
  case noEndpoint = "no-endpoint"
  case noAllowedIPs = "no-allowed-ips"
  case idleKeepalive = "idle-keepalive"
  case idleExclusion = "idle-exclusion"
  case excludedWhole = "excluded-whole"
  case idleKillSwitch = "idle-kill-switch"
  case noServer = "no-server"
  case idleRouterAdvertisements = "idle-accept-ra"
  case routerLoop = "router-loop"
  case idleRouteSync = "idle-route-sync"
  case idleDeadAfter = "idle-dead-after"
  // About the file and this machine.
  case readableKey = "readable-key"
  case unknownName = "unknown-name"
  case narrowPath = "narrow-path"
  case foreignNetwork = "foreign-network"
  case noSpoofGuard = "no-spoof-guard"
}

/// `Warnings`: which are silent.
extension ConfigurationReader {
  mutating func readWarnings(_ text: RawSpan) {
    let expected = "expected warnings to silence, as in -one-family"
    let elements = text.listElements
    if elements.isEmpty { refuse("read Warnings without a value, \(expected)") }
    for range in elements {
      let element = text.extracting(range)
      let word = element.quotable
      guard element[text: 0] == UInt8(ascii: "-") else {
        refuse("read Warnings = \(word), \(expected)")
        continue
      }
      let name = word.dropFirst().lowercased()
      if let warning = Warning(rawValue: name) {
        result.silentWarnings.insert(warning)
      } else {
        let near = nearestWord(to: name, among: Warning.allCases.map(\.rawValue)).map { "; -\($0), perhaps" } ?? ""
        refuse("read Warnings = \(word), expected the name of a warning\(near)")
      }
    }
  }
}

extension ConfigurationFile {
  /// Those of `findings` that the file does not silence.
  public func withoutSilent(_ findings: [FileMistake]) -> [FileMistake] {
    guard !silentWarnings.isEmpty else { return findings }
    return findings.filter { finding in !(finding.warning.map { silentWarnings.contains($0) } ?? false) }
  }
}
