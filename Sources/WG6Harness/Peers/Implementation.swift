import Foundation

/// Whose WireGuard it is. Switching a scenario to another one is this one value.
public enum Implementation: String, CaseIterable, Sendable {
  /// Ours: the daemon `wg6d`.
  case wg6
  /// Debian's package, in userspace as well.
  case wireguardGo = "wireguard-go"
  /// The Linux kernel's, in a virtual machine.
  case kernel

  /// The command that makes a bare interface and stays in the foreground; `nil` where that is no daemon's work.
  func command(interface: String) throws -> [String]? {
    switch self {
    case .wg6: [try Binaries.path(of: "wg6d"), "-f", interface]
    case .wireguardGo: [try Binaries.path(of: "wireguard-go"), "-f", interface]
    case .kernel: nil
    }
  }

  /// The daemon's own name or path, as `wg-quick` wants it in WG_QUICK_USERSPACE_IMPLEMENTATION.
  func daemon() throws -> String {
    try Binaries.path(of: self == .wg6 ? "wg6d" : "wireguard-go")
  }
}

/// Finds the programs under test.
public enum Binaries {
  /// The path of a program: from WG6_BIN, beside the running program, from the build directories, or from PATH.
  public static func path(of name: String) throws -> String {
    guard let path = places().map({ "\($0)/\(name)" }).first(where: { (path: String) in access(path, X_OK) == 0 })
    else {
      throw NotFound(name: name)
    }
    return path
  }

  /// The path of a program of ours as a debug build, which has fault points: from WG6_DEBUG_BIN, or .build/debug.
  public static func debugPath(of name: String) throws -> String {
    let chosen = ProcessInfo.processInfo.environment["WG6_DEBUG_BIN"]
    let path = (chosen ?? FileManager.default.currentDirectoryPath + "/.build/debug") + "/" + name
    guard access(path, X_OK) == 0 else { throw NotFound(name: name + " of a debug build (WG6_DEBUG_BIN)") }
    return path
  }

  public struct NotFound: Error, CustomStringConvertible {
    public let name: String
    public var description: String { "no program \(name) in WG6_BIN, .build/release, .build/debug or PATH" }
  }

  private static func places() -> [String] {
    let environment = ProcessInfo.processInfo.environment
    let here = FileManager.default.currentDirectoryPath
    if let chosen = environment["WG6_BIN"] { return [chosen] + searchPath(environment) }
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let beside = own.hasSuffix("/wg6-lab") ? [String(own.dropLast("/wg6-lab".count))] : []
    return beside + ["\(here)/.build/release", "\(here)/.build/debug"] + searchPath(environment)
  }

  private static func searchPath(_ environment: [String: String]) -> [String] {
    (environment["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin").split(separator: ":").map(String.init)
  }
}
