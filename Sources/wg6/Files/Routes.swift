import ArgumentParser
import WG6Config
import WG6Protocol

struct Routes: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tells what goes through a tunnel, to whom, and what stays outside.",
    discussion: """
      Each line has a prefix, the peer that gets it ('-' for nobody), and where its route goes: 'main', the number of a \
      table, 'own table' for a default route with Table = auto, 'no route' with Table = off; or why it stays outside. With an \
      address it tells where that goes, and why. Nothing is changed; the tunnel need not be up.
        wg6 routes wgnet
        wg6 routes wgnet 2001:db8::1
      """)

  @OptionGroup var target: FileArgument

  @Argument(help: "An address.", transform: IPAddress.init(argument:))
  var address: IPAddress?

  func run() throws {
    let source = target.source
    let table = try source.read(.quick) { configuration, _ in
      try RoutingOverview(
        file: source.path, configuration, try source.coverage(of: configuration),
        endpoints: source.knownEndpoints(of: configuration).found,
        connected: try LocalNetworks.connected(except: source.interface()))
    }
    for line in address.map(table.explanation) ?? table.lines { try say(line) }
  }
}

extension IPAddress {
  /// What stands in an argument.
  fileprivate init(argument: String) throws {
    guard let address = IPAddress(argument) else { throw ValidationError("'\(argument)' is no address") }
    self = address
  }
}
