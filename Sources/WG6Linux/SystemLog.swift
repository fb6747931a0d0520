import Glibc

/// The log of this machine: systemd's journal where that runs, else syslog, else none.
///
/// Nothing is opened before there is something to say, and nothing stays open: a start costs nothing, and a log that is
/// restarted or comes later is found. No call waits for it.
public struct SystemLog: Sendable {
  /// The severity of a message, as syslog(3) numbers it.
  public enum Priority: Int32, Sendable {
    case error = 3
    case warning = 4
    case notice = 5
    case info = 6
    case debug = 7
  }

  /// Where the journal takes messages with fields (systemd.journal-fields(7)).
  public static let journalSocket = "/run/systemd/journal/socket"
  public static let syslogSocket = "/dev/log"
  /// The journal's field that has the interface's name.
  public static let interfaceField = "WG6_INTERFACE"

  private let program: String
  private let interface: String
  private let journal: String
  private let syslog: String

  public init(
    program: String, interface: String, journal: String = journalSocket, syslog: String = syslogSocket
  ) {
    self.program = program
    self.interface = interface
    self.journal = journal
    self.syslog = syslog
  }

  /// What every line of syslog has before the message, behind date and machine.
  public static func prefix(program: String, process: pid_t, interface: String) -> String {
    "\(program)[\(process)]: \(interface): "
  }

  /// Writes one line. Without a log on this machine, or with one that is too busy, it is lost; returns whether it was taken.
  @discardableResult
  public func write(_ message: String, _ priority: Priority) -> Bool {
    let line = message.replacing("\n", with: " ")
    let fields = """
      PRIORITY=\(priority.rawValue)
      SYSLOG_FACILITY=\(SystemLog.daemonFacility)
      SYSLOG_IDENTIFIER=\(program)
      SYSLOG_PID=\(getpid())
      \(SystemLog.interfaceField)=\(interface)
      MESSAGE=\(interface): \(line)

      """
    if send(fields, to: journal) { return true }
    let prefix = SystemLog.prefix(program: program, process: getpid(), interface: interface)
    return send("<\(SystemLog.daemonFacility << 3 | priority.rawValue)>\(prefix)\(line)", to: syslog)
  }

  /// LOG_DAEMON, without the shift.
  private static let daemonFacility: Int32 = 3

  private func send(_ text: String, to path: String) -> Bool {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let manner = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_UNIX, manner, 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var text = text
    return text.withUTF8 { bytes in
      unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe sendto(
            descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL), $0,
            socklen_t(MemoryLayout<sockaddr_un>.size)) == bytes.count
        }
      }
    }
  }
}
