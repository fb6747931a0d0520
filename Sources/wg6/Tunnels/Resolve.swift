import ArgumentParser
import Glibc
import WG6Tunnel

/// What `up` leaves running where a name had no address yet.
struct Resolve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Asks on for endpoints' names that had no address.", shouldDisplay: false)

  @Argument(help: "The interface.")
  var interface: String

  func run() throws {
    // It outlives the command that started it: nobody should wait for its end, or for a directory to be free.
    closefrom(STDERR_FILENO + 1)
    unsafe chdir("/")
    let tunnel = Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
    let program = try Daemon.ownPath()
    try tunnel.attempt { try tunnel.askForEndpoints(program) }
  }
}
