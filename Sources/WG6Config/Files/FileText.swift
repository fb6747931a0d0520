import Glibc
import WG6Crypto

/// A file that could not be read.
public struct FileFailure: Error, Sendable, CustomStringConvertible {
  public let path: String
  public let errno: Int32

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
    let descriptor = path.withCString { unsafe open($0, O_RDONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw FileFailure(path: path, errno: errno) }
    defer { close(descriptor) }
    self.init(minimumCapacity: 8192)
    do {
      try readAll(from: descriptor)
    } catch {
      throw FileFailure(path: path, errno: error)
    }
  }

  /// Appends everything that `descriptor` has until its end. Throws `read`'s `errno`.
  public mutating func readAll(from descriptor: Int32) throws(Int32) {
    var isOpen = true
    while isOpen {
      try append(upTo: 65536) { (buffer: UnsafeMutableRawBufferPointer) throws(Int32) -> Int in
        while true {
          let count = unsafe read(descriptor, buffer.baseAddress!, buffer.count)
          if count >= 0 {
            isOpen = count > 0
            return count
          }
          if errno != EINTR { throw errno }
        }
      }
      if count > WipedBytes.maximumFileSize { throw EFBIG }
    }
  }
}

extension Int32: @retroactive Error {}
