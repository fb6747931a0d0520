import Glibc
import WG6Linux

/// The daemon's program.
enum Daemon {
  static let name = "wg6d"

  /// Where the daemon is: what `WG6D` says; beside this program; in `../libexec/wg6` from there; in `PATH`.
  static func locate() throws -> String {
    if let chosen = environment("WG6D") {
      guard let path = chosen.contains("/") ? chosen : inSearchPath(chosen), Program.isExecutable(path) else {
        throw failure("WG6D=\(chosen): no such program")
      }
      return path
    }
    var candidates: [String] = []
    if let directory = ownDirectory() { candidates = ["\(directory)/\(name)", "\(directory)/../libexec/wg6/\(name)"] }
    if let path = candidates.first(where: Program.isExecutable) ?? inSearchPath(name) { return path }
    throw failure("\(name) not found beside wg6, in ../libexec/wg6 or in PATH; WG6D can name it")
  }

  /// Where this program is.
  static func ownPath() throws -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    guard count > 0 else { throw failure("/proc/self/exe: \(systemText(errno)); is /proc mounted?") }
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func ownDirectory() -> String? {
    guard let path = try? ownPath() else { return nil }
    return path.lastIndex(of: "/").map { String(path[..<$0]) }
  }

  private static func inSearchPath(_ name: String) -> String? {
    Program.locate(name, in: environment("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin")
  }
}
