import Glibc
import SystemPackage

/// Which network namespace one is, by the inode of its file.
public enum NamespaceNumber {
  /// This process's.
  static let own: UInt64? = {
    guard let descriptor = unsafe try? OwnedDescriptor(orErrno: Glibc.open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC))
    else { return nil }
    return try? of(descriptor)
  }()

  /// That of the one that is open.
  public static func of(_ namespace: borrowing OwnedDescriptor) throws(Errno) -> UInt64 {
    var status = stat()
    guard unsafe fstat(namespace.rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
    return UInt64(status.st_ino)
  }
}
