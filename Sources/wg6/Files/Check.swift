import ArgumentParser
import WG6Config

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tells what is wrong with a file, and what is strange.",
    discussion: """
      Mistakes, for which “up” would refuse the file, go to standard error; the status is 1. What “up” would only warn of \
      goes to standard output: a prefix that a later peer takes over, a default route of one address family alone, an \
      endpoint inside its own AllowedIPs, an address that leads nowhere, a name that nobody knows, a file with keys that \
      everybody may read; the status is 2. A file that has none of it gets no word, and 0.
        wg6 check wgnet
        wg6 check ./wgnet.conf
      """)

  @OptionGroup var target: FileArgument

  func run() throws {
    let source = target.source
    let findings = try source.read(.quick) { configuration, _ in
      let (endpoints, failures) = source.knownEndpoints(of: configuration)
      let coverage = try source.coverage(of: configuration)
      let unknown = failures.map {
        FileMistake(file: $0.file, line: $0.line, message: $0.message, warning: .unknownName)
      }
      return configuration.warnings + configuration.withoutSilent(unknown)
        + source.findings(
          of: configuration, coverage: coverage, endpoints: endpoints, isWorldAccessible: source.isWorldAccessible)
    }
    for finding in findings.sorted(by: { $0.line < $1.line }) { try say(finding.description) }
    if !findings.isEmpty { throw ExitCode(2) }
  }
}

/// What the commands are given that only read a file.
struct FileArgument: ParsableArguments {
  @Argument(help: "A file, or a name in /etc/wireguard.")
  var file: String

  var source: ConfigurationSource { ConfigurationSource(named: file) }
}
