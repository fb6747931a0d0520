import Glibc
import WG6Crypto

/// A file that could not be read.
public struct FileFailure: Error, Sendable, CustomStringConvertible {
  public let path: String
  public let errno: Int32

  public init(path: String, errno: Int32) {
    self.path = path
    self.errno = errno
  }

  /// The system's text for the reason alone.
  public var reason: String { unsafe String(cString: strerror(errno)) }
  public var description: String { "\(path): \(reason)" }
}

extension WipedBytes {
  /// Longer files are no configuration: 130,560 prefixes take 6 MB.
  private static let maximumFileSize = 64 << 20

  /// Everything in the file at `path`, which may be a pipe or `/dev/stdin`. Errors are `open`'s and `read`'s; `EFBIG`
  /// past 64 MiB.
  public init(contentsOf path: String) throws(FileFailure) {
    self.init(minimumCapacity: 8192)
    let descriptor = unsafe path.withCString { unsafe open($0, O_RDONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw FileFailure(path: path, errno: errno) }
    defer { close(descriptor) }
    try readAll(from: descriptor, named: path)
  }

  /// Appends everything that `descriptor`, called `path` in errors, has until its end.
  public mutating func readAll(from descriptor: Int32, named path: String) throws(FileFailure) {
    var isOpen = true
    while isOpen {
      unsafe try append(upTo: 65536) { (buffer: UnsafeMutableRawBufferPointer) throws(FileFailure) -> Int in
        while true {
          let count = unsafe read(descriptor, buffer.baseAddress!, buffer.count)
          if count >= 0 {
            isOpen = count > 0
            return count
          }
          if errno != EINTR { throw FileFailure(path: path, errno: errno) }
        }
      }
      if count > WipedBytes.maximumFileSize { throw FileFailure(path: path, errno: EFBIG) }
    }
  }
}
