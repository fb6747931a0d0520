import Glibc
import SystemPackage

/// A file descriptor with one owner, closed when that ends.
public struct OwnedDescriptor: ~Copyable, Sendable {
  public let rawValue: Int32

  /// Takes over an open descriptor.
  public init(_ rawValue: Int32) {
    self.rawValue = rawValue
  }

  /// Takes over what a call of `CLinux` returned: a descriptor, or a negative errno that is thrown.
  init(orErrno result: Int32) throws(Errno) {
    guard result >= 0 else { throw Errno(rawValue: -result) }
    rawValue = result
  }

  deinit {
    close(rawValue)
  }
}
