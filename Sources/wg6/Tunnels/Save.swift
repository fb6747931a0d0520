import ArgumentParser
import WG6Config
import WG6Tunnel

struct Save: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a running tunnel into its file.",
    discussion: """
      As 'wg-quick save' does: peers, keys and endpoints as they are by now, and what only the file has, as it has it; \
      comments are lost.
        wg6 save wgnet
      """)

  @Argument(help: "The tunnel's file or name; a name stands for the file that 'up' read.", completion: .runningTunnel)
  var tunnel: String

  func run() throws {
    try Rights.require(for: "save")
    let interface = try ConfigurationSource(named: tunnel).interface()
    let signals = Signals.block()
    let tunnel = Tunnel(interface, isVerbose: false, signals)
    let source = try ConfigurationSource(named: self.tunnel, of: tunnel).resolved()
    let configuration = try source.read(.quick)
    try signals.ending { try tunnel.attempt { try tunnel.save(configuration, to: source.path) } }
  }
}
