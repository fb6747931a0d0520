import ArgumentParser
import WG6Config
import WG6Tunnel

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tells what is wrong with a file, and what is strange.",
    discussion: """
      Mistakes, for which 'up' would refuse the file, go to standard error; the status is 1. They are of the file, or of \
      the file on this machine: DNS where no service manages name servers, IPv6 where it is off, a port that is in use, an \
      interface of this name, commands in a file that others can write. What 'up' would only warn of goes to standard \
      output; the status is 2. A file that has none of it gets no word, and 0. Nothing is changed. Of a tunnel that is \
      up, it tells what 'reload' would, and whether its firewall table or rules are missing or had to be restored.
        wg6 check wgnet
        wg6 check ./wgnet.conf
      """)

  @OptionGroup var target: FileArgument

  func run() throws {
    let source = target.source
    let interface = try source.interface()
    let file = try source.tunnelFile(runsHooks: true, tellsWarnings: false)
    let (endpoints, failures) = source.knownEndpoints(of: file.configuration)
    let tunnel = Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
    let (mistakes, warnings) = try tunnel.attempt {
      try tunnel.review(file, endpoints: endpoints, failures: failures)
    }
    for finding in (file.configuration.warnings + warnings).sorted(by: { $0.line < $1.line }) {
      try say(finding.description)
    }
    let findings = tunnel.watchFindings()
    for finding in findings { try say("\(interface): warning: \(finding)") }
    _ = try Daemon.locate()
    if !mistakes.isEmpty { throw failure(FileMistakes(mistakes.sorted { $0.line < $1.line })) }
    if !file.configuration.warnings.isEmpty || !warnings.isEmpty || !findings.isEmpty { throw ExitCode(2) }
  }
}

/// What the commands are given that only read a file.
struct FileArgument: ParsableArguments {
  @Argument(help: "A file, or a name in /etc/wireguard.", completion: .tunnelFile)
  var file: String

  var source: ConfigurationSource { ConfigurationSource(named: file) }
}
