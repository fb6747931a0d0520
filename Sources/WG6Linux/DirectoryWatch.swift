import CLinux
import Glibc
import SystemPackage

/// Tells when files of a directory are written, put there or removed (inotify).
public struct DirectoryWatch: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init(_ path: String) throws(Errno) {
    let raw = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    let owned = OwnedDescriptor(raw)
    guard unsafe inotify_add_watch(raw, path, UInt32(IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE)) >= 0 else {
      throw Errno(rawValue: errno)
    }
    descriptor = owned
  }

  /// Takes all events, and says whether one of them was about a file whose name ends in `suffix`, or was lost.
  public borrowing func take(suffix: String) -> Bool {
    let headerSize = MemoryLayout<inotify_event>.size
    var isFound = false
    unsafe withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 8) { buffer in
      while true {
        let count = unsafe read(descriptor.rawValue, buffer.baseAddress!, buffer.count)
        if count <= 0 { return }
        var offset = 0
        while offset + headerSize <= count {
          let event = unsafe buffer.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
          let end = min(offset + headerSize + Int(event.len), count)
          let name = unsafe String(decoding: buffer[(offset + headerSize)..<end].prefix { $0 != 0 }, as: UTF8.self)
          if name.hasSuffix(suffix) || event.mask & UInt32(IN_Q_OVERFLOW) != 0 { isFound = true }
          offset = end
        }
      }
    }
    return isFound
  }
}
