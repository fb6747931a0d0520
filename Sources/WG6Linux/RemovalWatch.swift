import CLinux
import Glibc
import SystemPackage

/// Tells when a file is removed (inotify).
public struct RemovalWatch: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init(of path: String) throws(Errno) {
    let raw = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    let owned = OwnedDescriptor(raw)
    // A socket's link count falls (IN_ATTRIB) before the last reference, ours, lets it go (IN_DELETE_SELF).
    guard unsafe inotify_add_watch(raw, path, UInt32(IN_ATTRIB | IN_DELETE_SELF)) >= 0 else {
      throw Errno(rawValue: errno)
    }
    descriptor = owned
  }

  /// Throws away what was told so far; whether the file is still there is to be asked.
  public borrowing func drain() {
    unsafe withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      while unsafe read(descriptor.rawValue, buffer.baseAddress!, buffer.count) > 0 {}
    }
  }
}
