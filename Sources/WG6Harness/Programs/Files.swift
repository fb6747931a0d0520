import Foundation

/// Small files, whole, as text.
public enum Files {
  /// The text of a file; empty when there is none.
  public static func text(_ path: String) -> String {
    // Read to its end: a file of the kernel's says that it has no length, and Foundation stops at its first page.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }

  /// Writes a whole file, readable as `mode` says from its first byte on.
  public static func write(_ text: String, to path: String, mode: mode_t = 0o644) throws {
    try write(Array(text.utf8), to: path, mode: mode)
  }

  public static func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o644) throws {
    unlink(path)
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw SystemFailure("write \(path)") }
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done) }
      guard count > 0 else { throw SystemFailure("write \(path)") }
      done += count
    }
  }

  public static func makeDirectory(_ path: String) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  public static func remove(_ path: String) {
    try? FileManager.default.removeItem(atPath: path)
  }

  public static func exists(_ path: String) -> Bool {
    access(path, F_OK) == 0
  }

  /// The names in a directory, sorted; none when there is no such directory.
  public static func names(in path: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }
}

/// A system call that failed, with what it was for.
public struct SystemFailure: Error, CustomStringConvertible {
  public let doing: String
  public let code: Int32

  /// Takes the reason from `errno`.
  public init(_ doing: String) {
    self.doing = doing
    code = errno
  }

  public var description: String { "\(doing): \(String(cString: strerror(code)))" }
}
