import ArgumentParser
import WG6Tunnel

struct Down: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Takes a tunnel down.",
    discussion: """
      Undoes what 'up' changed, and nothing else: firewall, rules, DNS, kernel settings, and the interface with its \
      addresses and routes. Needs neither the file nor the daemon.
        wg6 down wgnet
      """)

  @Argument(help: "The tunnel's file or name, as 'up' had it.", completion: .runningTunnel)
  var tunnel: String

  @Flag(name: [.short, .long], help: "Tell every step.")
  var verbose = false

  @Flag(help: "Run none of the file's commands.")
  var noHooks = false

  func run() throws {
    try Rights.require(for: "down")
    let interface = try ConfigurationSource(named: tunnel).interface()
    let signals = Signals.block()
    let tunnel = Tunnel(interface, isVerbose: verbose, signals)
    try signals.ending {
      try tunnel.attempt { try tunnel.down(runsHooks: !noHooks, reading: ConfigurationSource.forSaving) }
    }
  }
}
