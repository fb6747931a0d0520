import ArgumentParser
import Glibc
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
    var watcher = try Watcher(interface) { message in
      SystemLog.write("\(interface): \(message)")
      complain("\(interface): \(message)")
    }
    watcher.run()
  }
}

/// The system's log, which systemd's journal is too.
private enum SystemLog {
  static func write(_ message: String) {
    // SAFETY: the format takes one string, which lives until the call returns.
    unsafe message.withCString { text in
      unsafe withVaList([text]) { unsafe vsyslog(LOG_DAEMON | LOG_WARNING, "%s", $0) }
    }
  }
}
