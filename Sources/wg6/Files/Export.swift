import ArgumentParser
import WG6Config
import WG6Crypto
import WG6Protocol

struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints a file as plain WireGuard and wg-quick understand it.",
    discussion: """
      ExcludedIPs are computed out of AllowedIPs, @names replaced by their keys, and KillSwitch, ClampMSS and routing \
      domains left out, with a warning; the rest, comments too, stays as it is. Where a default route has holes, the addresses of \
      the endpoints are left out too, as wg-quick sees no default route any more. With 'lan', the result is for the networks \
      around this machine now. The file has private keys in it.
        umask 077; wg6 export wgnet > plain.conf
      """)

  @OptionGroup var target: FileArgument

  func run() throws {
    let source = target.source
    try source.read(.quick) { configuration, text in
      for loss in configuration.losses { warn(loss, at: source.path) }
      var output = WipedBytes(minimumCapacity: text.byteCount)
      let (endpoints, failures) = source.knownEndpoints(of: configuration)
      // Only a cut default route asks for them.
      if !configuration.hasNoExclusions { failures.forEach { warn($0) } }
      let coverage = Coverage(
        exporting: configuration, connected: try source.connectedNetworks(for: configuration),
        endpoints: endpoints.values.map(\.address))
      configuration.writeExported(text, coverage: coverage, to: &output)
      warnOfWorldAccessibleOutput()
      try output.print()
    }
  }
}

struct Strip: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints what of a file is for the device alone.",
    discussion: """
      As 'wg-quick strip' does, byte for byte; what only wg6 knows is left out as 'wg6 export' does it.
        wg6 strip wgnet | wg6 syncconf wgnet /dev/stdin
      """)

  @OptionGroup var target: FileArgument

  func run() throws {
    let source = target.source
    source.warnIfWorldAccessible()
    try source.read(.quick) { configuration, text in
      var plain = WipedBytes(minimumCapacity: text.byteCount)
      try configuration.writeExported(text, coverage: source.coverage(of: configuration), to: &plain)
      var output = WipedBytes(minimumCapacity: text.byteCount)
      plain.withBytes { ConfigurationFile.writeStripped($0, to: &output) }
      warnOfWorldAccessibleOutput()
      try output.print()
    }
  }
}

extension ConfigurationFile {
  fileprivate var hasNoExclusions: Bool {
    excludedIPs.isEmpty && peers.allSatisfy(\.excludedIPs.isEmpty)
  }

  /// What plain WireGuard has no word for.
  fileprivate var losses: [String] {
    var losses: [String] = []
    if killSwitch != .off { losses.append("KillSwitch is left out: nothing there keeps packets in") }
    if clampsMSS { losses.append("ClampMSS is left out") }
    if acceptsRouterAdvertisements {
      losses.append(
        "AcceptRA is left out: the kernel of a machine that forwards nothing takes router advertisements there")
    }
    for domain in resolver.routingDomains { losses.append("DNS = ~\(domain) is left out") }
    return losses
  }
}
