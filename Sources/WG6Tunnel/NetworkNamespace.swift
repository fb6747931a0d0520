import CLinux
import Glibc
import SystemPackage
import WG6Linux

/// A network namespace, known by the number of its file, and by its cookie where that is known: the kernel gives the number
/// of one that is gone to another, soon, and a cookie never.
struct NetworkNamespace: Hashable {
  let number: UInt64
  /// nil where the kernel tells none, or nobody asked.
  var cookie: UInt64?

  init(number: UInt64, cookie: UInt64? = nil) {
    self.number = number
    self.cookie = cookie
  }

  private init(file: String) {
    var status = stat()
    number = unsafe stat(file, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  /// This process's, with its cookie.
  static var this: NetworkNamespace {
    var this = NetworkNamespace(file: "/proc/self/ns/net")
    let cookie = linux_network_cookie()
    if cookie != 0 { this.cookie = cookie }
    return this
  }

  /// Whether both are the same as far as is known.
  func isSame(as other: NetworkNamespace) -> Bool {
    guard let cookie, let otherCookie = other.cookie else { return number == other.number }
    return number == other.number && cookie == otherCookie
  }

  /// A process's; that of no namespace if the process has ended.
  init(of process: pid_t) {
    self.init(file: NetworkNamespace.file(of: process))
  }

  private static let nameDirectory = "/run/netns"

  /// What `ip netns` calls it; nil if it has no name, or none any longer.
  var name: String? {
    StateDirectory.names(in: NetworkNamespace.nameDirectory).first {
      NetworkNamespace(file: "\(NetworkNamespace.nameDirectory)/\($0)").number == number
    }
  }

  /// The processes in it.
  var processes: [pid_t] {
    ForeignProcess.all().filter { NetworkNamespace(of: $0).number == number }
  }

  /// Whether it is gone: another has its number, or nothing refers to it that could be seen from here.
  var isGone: Bool {
    let this = NetworkNamespace.this
    if number == this.number { return !isSame(as: this) }
    return name == nil && processes.isEmpty
  }

  /// Whether nothing but programs of `interface`'s own keep it: nobody could enter it to take the tunnel down.
  func isAbandoned(to interface: String) -> Bool {
    let processes = processes
    return name == nil && !processes.isEmpty
      && processes.allSatisfy { ForeignProcess.words(of: $0).last == interface }
  }

  /// Moves this process, which must have no other threads, into the namespace.
  func enter() throws(Errno) {
    guard let process = processes.first else { throw .noSuchProcess }
    let file = unsafe open(NetworkNamespace.file(of: process), O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    let descriptor = OwnedDescriptor(file)
    let result = linux_enter_network(descriptor.rawValue)
    if result < 0 { throw Errno(rawValue: -result) }
  }

  private static func file(of process: pid_t) -> String { "/proc/\(process)/ns/net" }
}
