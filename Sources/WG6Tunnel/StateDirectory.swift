import Glibc
import SystemPackage
import WG6Linux

/// Where what is known of the tunnels of this machine lies: a journal and a lock for each.
public enum StateDirectory {
  public static let path = "/run/wg6"

  /// The directory, made where it is missing; nobody but its owner looks into it.
  static func prepare() throws(Errno) {
    if unsafe mkdir(path, 0o700) != 0, errno != EEXIST { throw Errno(rawValue: errno) }
  }
}

/// The right to change a tunnel. Two commands never change one at once: the second one hears who is at it.
public struct InterfaceLock: ~Copyable {
  private let descriptor: OwnedDescriptor

  /// Takes the lock of `interface` if it is free. Throws `EWOULDBLOCK` where another process holds it, or `open`'s error.
  public init(_ interface: String, in directory: String = StateDirectory.path) throws(Errno) {
    if directory == StateDirectory.path { try StateDirectory.prepare() }
    let file = unsafe open("\(directory)/\(interface).lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    let owned = OwnedDescriptor(file)
    guard flock(file, LOCK_EX | LOCK_NB) == 0 else { throw Errno(rawValue: errno) }
    descriptor = owned
  }
}
