import CLinux
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

extension OwnedDescriptor {
  /// A file in memory, with `text` in it, that has no name; a path to it is `/proc/self/fd/…`.
  public init(text: String) throws(Errno) {
    let file = try OwnedDescriptor(orErrno: linux_memory_file())
    let bytes = Array(text.utf8)
    guard unsafe pwrite(file.rawValue, bytes, bytes.count, 0) == bytes.count else { throw Errno(rawValue: errno) }
    self = file
  }

  /// What a file begins with, as text: all of it, or its first `most` bytes.
  public borrowing func text(most: Int = 16_384) -> String {
    let descriptor = rawValue
    return unsafe String(unsafeUninitializedCapacity: most) {
      unsafe max(pread(descriptor, $0.baseAddress, most, 0), 0)
    }
  }
}
