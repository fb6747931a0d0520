import ArgumentParser
import Glibc
import WG6Linux
import WG6Tunnel

/// What `up` leaves running where a tunnel has a firewall table or a default route.
struct Watch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Restores firewall and rules that other programs delete.", shouldDisplay: false)

  @Argument(help: "The interface.")
  var interface: String

  func run() throws {
    // It outlives the command that started it: nobody should wait for its end, or for a directory to be free.
    closefrom(WatchingProcess.lockDescriptor + 1)
    unsafe chdir("/")
    // The terminal's signals are for the command that started it.
    for number in [SIGHUP, SIGINT, SIGPIPE] { signal(number, SIG_IGN) }
    let interface = interface
    let log = SystemLog(program: "wg6", interface: interface)
    var watcher = try Watcher(interface, program: Daemon.ownPath()) { message in
      log.write(message, .warning)
      complain("\(interface): \(message)")
    }
    watcher.run()
  }
}
