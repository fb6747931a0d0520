import Foundation

/// Something on this machine that a scenario cannot do without.
public enum Prerequisite: Sendable, CustomStringConvertible {
  /// Running as root, and allowed to make network namespaces and TUN devices.
  case root
  /// A program of Debian's, and the package that brings it.
  case program(String, package: String)
  /// The daemon under test.
  case daemon
  /// Our command line, where ours is the implementation under test.
  case commandLine
  /// A debug build of the command line and the daemon, which can be told where to die.
  case faultPoints
  /// An emulator, and a kernel with WireGuard to boot in it.
  case kernelPeer
  /// The library that counts calls of malloc; `swift build` makes it.
  case allocationCounter

  /// What every scenario uses.
  static let always: [Prerequisite] = [
    .root, .daemon, .program("ip", package: "iproute2"), .program("wg", package: "wireguard-tools"),
    .program("ping", package: "iputils-ping"), .program("setpriv", package: "util-linux"),
    .program("sysctl", package: "procps"), .program("tcpdump", package: "tcpdump"),
  ]

  /// What the scenarios with a NAT box use besides.
  static let nat: [Prerequisite] = [
    .program("nft", package: "nftables"), .program("conntrack", package: "conntrack"),
  ]

  /// Whether it is there.
  public func isMet(_ implementation: Implementation) -> Bool {
    switch self {
    case .root: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0
    case .program(let name, _): (try? Binaries.path(of: name)) != nil
    case .daemon: (try? implementation.daemon()) != nil
    case .commandLine: implementation != .wg6 || (try? Binaries.path(of: "wg6")) != nil
    case .faultPoints: ["wg6", "wg6d"].allSatisfy { (try? Binaries.debugPath(of: $0)) != nil }
    case .kernelPeer: (try? Binaries.path(of: "qemu-system-x86_64")) != nil && GuestImage.isPossible
    case .allocationCounter: (try? Binaries.path(of: "libmalloc-counter.so")) != nil
    }
  }

  public var description: String {
    switch self {
    case .root: "root, and /dev/net/tun"
    case .program(let name, let package): "the program \(name) (package \(package))"
    case .daemon: "the daemon under test (swift build, or WG6_BIN)"
    case .commandLine: "the program wg6 (swift build, or WG6_BIN)"
    case .faultPoints: "wg6 and wg6d of a debug build (swift build, or WG6_DEBUG_BIN)"
    case .kernelPeer: "qemu-system-x86_64 (package qemu-system-x86) and linux-image-amd64"
    case .allocationCounter: "libmalloc-counter.so (swift build)"
    }
  }

  /// Whether a missing prerequisite shall be a failure, as in continuous integration.
  public static var allRequired: Bool {
    ProcessInfo.processInfo.environment["WG6_REQUIRE_ALL"] == "1"
  }

  /// A scenario that cannot be played here.
  public struct Missing: Error, CustomStringConvertible {
    public let scenario: String
    public let missing: [Prerequisite]
    public var description: String {
      "\(scenario) needs " + missing.map(\.description).joined(separator: ", ")
    }
  }
}
