import Glibc
import SystemPackage

/// Settings of the kernel, by the names that sysctl(8) has for them.
///
/// `net.ipv4.conf.eth0/100.rp_filter` is a setting of the interface eth0.100: where dots separate, a slash stands for a
/// dot, and the reverse.
public enum Sysctl {
  /// Throws `open`'s or `read`'s error; `ENOENT` where the kernel has no such setting.
  public static func value(of name: String) throws(Errno) -> String {
    let file = try opened(name, O_RDONLY)
    // Longer than any: the kernel hands out a page.
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe read(file.rawValue, &bytes, bytes.count)
    guard count >= 0 else { throw Errno(rawValue: errno) }
    bytes.removeSubrange(count...)
    let text = String(decoding: bytes, as: UTF8.self)
    return text.last == "\n" ? String(text.dropLast()) : text
  }

  /// Throws `open`'s or `write`'s error.
  public static func set(_ name: String, to value: String) throws(Errno) {
    let file = try opened(name, O_WRONLY)
    var text = value + "\n"
    let written = text.withUTF8 { unsafe write(file.rawValue, $0.baseAddress, $0.count) }
    if written < 0 { throw Errno(rawValue: errno) }
  }

  /// Why a setting can't be written, as in a container whose /proc/sys is read-only; nil if it can. Changes nothing.
  public static func refusal(of name: String) -> Errno? {
    do throws(Errno) {
      _ = try opened(name, O_WRONLY)
      return nil
    } catch {
      return error
    }
  }

  static func path(of name: String) -> String {
    let separator = name.first { $0 == "." || $0 == "/" }
    let path = separator == "/" ? name : String(name.map { $0 == "." ? "/" : $0 == "/" ? "." : $0 })
    return "/proc/sys/\(path)"
  }

  private static func opened(_ name: String, _ flags: Int32) throws(Errno) -> OwnedDescriptor {
    let file = unsafe open(path(of: name), flags | O_CLOEXEC)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    return OwnedDescriptor(file)
  }
}
