import Glibc
import SystemPackage

/// Finds the program that has a UDP port of this network namespace.
public enum PortHolder {
  /// `NAME (process NUMBER)`; `nil` where nothing has the port, or nothing that can be seen from here, as the kernel's own
  /// WireGuard or a program of another process namespace.
  public static func describe(port: UInt16) -> String? {
    let inodes = Set(["udp", "udp6"].flatMap { sockets(in: "/proc/net/\($0)", port: port) })
    if inodes.isEmpty { return nil }
    let wanted = Set(inodes.map { "socket:[\($0)]" })
    for process in ((try? Directory.names(in: "/proc")) ?? []).filter({ Int32($0) != nil }) {
      let directory = "/proc/\(process)/fd"
      guard let descriptors = try? Directory.names(in: directory) else { continue }
      guard descriptors.contains(where: { wanted.contains(link("\(directory)/\($0)")) }) else { continue }
      let name = text(of: "/proc/\(process)/comm").prefix { $0 != "\n" }
      return "\(name) (process \(process))"
    }
    return nil
  }

  /// The inodes of the sockets that are bound to `port`; proc(5) has the columns.
  private static func sockets(in path: String, port: UInt16) -> [Substring] {
    text(of: path).split(separator: "\n").dropFirst().compactMap { line in
      let columns = line.split(separator: " ")
      guard columns.count > 9, let digits = columns[1].split(separator: ":").last, UInt16(digits, radix: 16) == port
      else { return nil }
      return columns[9]
    }
  }

  private static func link(_ path: String) -> String {
    var buffer = [CChar](repeating: 0, count: 64)
    let count = unsafe readlink(path, &buffer, buffer.count)
    return String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func text(of path: String) -> String {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = unsafe read(descriptor, &buffer, buffer.count)
      guard count > 0 else { return String(decoding: text, as: UTF8.self) }
      text += buffer[..<count]
    }
  }
}
