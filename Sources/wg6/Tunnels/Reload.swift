import ArgumentParser
import WG6Config
import WG6Tunnel

struct Reload: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a running tunnel what its file says by now.",
    discussion: """
      Finds out what is different and changes that alone: sessions go on, and no packet of a peer that stays as it was is \
      lost. A file with a mistake changes nothing. PreUp and PostUp do not run again. A signal does the same: SIGHUP, to \
      the daemon or to 'up --foreground'.
        wg6 reload --dry-run wgnet
        wg6 reload wgnet
      """)

  @Argument(help: "The tunnel's file or name; a name stands for the file that 'up' read.", completion: .runningTunnel)
  var tunnel: String

  @Flag(name: [.customShort("n"), .long], help: "Only print what would be changed.")
  var dryRun = false

  @Flag(name: [.short, .long], help: "Tell every step.")
  var verbose = false

  @Flag(help: "Run none of the file's commands when it goes down.")
  var noHooks = false

  /// Asked by 'wg6 watch', with 'lan' among the exclusions.
  @Flag(help: .hidden)
  var followNetworks = false

  func run() throws {
    try Rights.require(for: "reload")
    let named = ConfigurationSource(named: tunnel)
    let interface = try named.interface()
    let signals = Signals.block()
    let tunnel = Tunnel(interface, isVerbose: verbose, signals)
    let book = try KnownKeys.forDisplay()
    let program = try Daemon.ownPath()
    let lines = try signals.ending {
      try tunnel.attempt {
        try tunnel.reload(
          isTrial: dryRun, followsNetworks: followNetworks, program: program,
          name: { book.name(of: $0).map { "@\($0)" } ?? "\($0)" }
        ) {
          try ConfigurationSource(named: self.tunnel, of: tunnel).tunnelFile(
            runsHooks: !noHooks && tunnel.mayRunHooks(), tellsWarnings: $0)
        }
      }
    }
    if dryRun || verbose {
      for line in lines { try say(line) }
      if lines.isEmpty { try say("nothing to change") }
    }
  }
}
