import Foundation

/// An archive in the "newc" format, which is what the Linux kernel unpacks as its first root file system.
///
/// See the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.
struct CPIO {
  private(set) var bytes: [UInt8] = []
  private var inode = 0

  /// Adds a directory.
  mutating func directory(_ path: String) {
    entry(path, mode: 0o040755, content: [])
  }

  /// Adds a file.
  mutating func file(_ path: String, _ content: [UInt8], executable: Bool = false) {
    entry(path, mode: executable ? 0o100755 : 0o100644, content: content)
  }

  /// Adds a symbolic link.
  mutating func link(_ path: String, to target: String) {
    entry(path, mode: 0o120777, content: Array(target.utf8))
  }

  /// Writes the end; nothing may follow.
  mutating func finish() {
    entry("TRAILER!!!", mode: 0, content: [])
    while bytes.count % 512 != 0 { bytes.append(0) }
  }

  /// A header of thirteen eight-digit hexadecimal fields after the magic, the name, the content, each padded to four.
  private mutating func entry(_ path: String, mode: Int, content: [UInt8]) {
    inode += 1
    let name = Array(path.utf8) + [0]
    let links = 1
    let fields = [inode, mode, 0, 0, links, 0, content.count, 0, 0, 0, 0, name.count, 0]
    bytes += Array("070701".utf8)
    for field in fields { bytes += Array(String(format: "%08X", field).utf8) }
    bytes += name
    pad()
    bytes += content
    pad()
  }

  private mutating func pad() {
    while bytes.count % 4 != 0 { bytes.append(0) }
  }
}
