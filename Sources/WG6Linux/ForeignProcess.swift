import CLinux
import Glibc
import SystemPackage

/// A process that this one did not start, held by a descriptor (pidfd): a later process with its number is another one.
public final class ForeignProcess: Sendable {
  public let processID: pid_t
  private let descriptor: OwnedDescriptor

  /// Throws `ESRCH` if there is no such process.
  public init(_ processID: pid_t) throws(Errno) {
    descriptor = try OwnedDescriptor(orErrno: linux_process(processID))
    self.processID = processID
  }

  /// The program's name and arguments; empty once it has ended.
  public var words: [String] { ForeignProcess.words(of: processID) }

  /// Whether the process has a TUN device open (character device 10:200), under whatever name.
  public var hasTUN: Bool {
    let directory = "/proc/\(processID)/fd"
    let names = (try? Directory.names(in: directory)) ?? []
    return names.contains { name in
      var opened = stat()
      return unsafe stat("\(directory)/\(name)", &opened) == 0 && opened.st_mode & S_IFMT == S_IFCHR
        && opened.st_rdev == 10 << 8 | 200
    }
  }

  public func send(signal: Int32) {
    linux_signal_process(descriptor.rawValue, signal)
  }

  /// Waits until the process has ended, and with it everything that it had open; returns whether it did in time.
  public func waitForEnd(milliseconds: Int32) -> Bool {
    isReadable(descriptor.rawValue, within: milliseconds)
  }

  /// The processes that this one can see.
  public static func all() -> [pid_t] {
    ((try? Directory.names(in: "/proc")) ?? []).compactMap { pid_t($0) }
  }

  /// Whether a process is of a process group, and has not ended.
  static func isRunning(_ processID: pid_t, inGroup group: pid_t) -> Bool {
    let file = unsafe open("/proc/\(processID)/stat", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    // Its number, its name in parentheses, its state, its parent and its group: proc_pid_stat(5).
    var buffer = [UInt8](repeating: 0, count: 512)
    let descriptor = OwnedDescriptor(file)
    let count = unsafe read(descriptor.rawValue, &buffer, buffer.count)
    let text = String(decoding: buffer[..<max(count, 0)], as: UTF8.self)
    let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
    return fields.count > 2 && fields[0] != "Z" && pid_t(fields[2]) == group
  }

  /// The name and arguments of a process's program; empty if there is none.
  public static func words(of processID: pid_t) -> [String] {
    let file = unsafe open("/proc/\(processID)/cmdline", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    let descriptor = OwnedDescriptor(file)
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe read(descriptor.rawValue, &bytes, bytes.count)
    return bytes[..<max(count, 0)].split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }
}

/// Waits until a descriptor is readable or its other end hung up; returns whether it is in time.
func isReadable(_ descriptor: Int32, within milliseconds: Int32) -> Bool {
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  while true {
    let count = unsafe poll(&entry, 1, milliseconds)
    if count >= 0 || errno != EINTR { return count > 0 }
  }
}
