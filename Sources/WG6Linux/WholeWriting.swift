import Glibc
import SystemPackage
import WG6Crypto

extension WipedBytes {
  /// Writes everything to `descriptor`. Throws `write`'s error.
  public func writeAll(to descriptor: Int32) throws(Errno) {
    try withBytes { (bytes: RawSpan) throws(Errno) in
      var written = 0
      while written < bytes.byteCount {
        let count = unsafe bytes.extracting(written..<bytes.byteCount).withUnsafeBytes {
          unsafe Glibc.write(descriptor, $0.baseAddress!, $0.count)
        }
        if count >= 0 {
          written += count
        } else if errno != EINTR {
          throw Errno(rawValue: errno)
        }
      }
    }
  }
}
