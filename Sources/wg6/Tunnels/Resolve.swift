import ArgumentParser
import WG6Tunnel

/// What `up` leaves running where a name had no address yet.
struct Resolve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Asks on for endpoints' names that had no address.", shouldDisplay: false)

  @Argument(help: "The interface.")
  var interface: String

  func run() throws {
    let tunnel = Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
    try tunnel.attempt { () throws(TunnelError) in try tunnel.askForEndpoints() }
  }
}
