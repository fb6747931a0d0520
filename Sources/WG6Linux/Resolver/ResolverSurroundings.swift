import Glibc
import SystemPackage

/// Where the resolvers' programs and files are.
struct ResolverSurroundings: Sendable {
  /// Directories of programs, with colons between them.
  var searchPath: String
  /// The socket that systemd-resolved listens on, besides the bus, from version 246 on.
  var resolvedSocket = "/run/systemd/resolve/io.systemd.Resolve"
  /// In which order Debian's resolvconf takes interfaces, by patterns of their names.
  var interfaceOrder = "/etc/resolvconf/interface-order"

  static var machine: ResolverSurroundings { ResolverSurroundings(searchPath: Program.searchPath) }

  var service: ResolverService? {
    // Its directory and files outlive the service, and its programs may be there without it.
    if Program.locate("resolvectl", in: searchPath) != nil, isResolvedRunning { return .resolved }
    // systemd brings a resolvconf of its own, which is resolvectl again.
    if let path = Program.locate("resolvconf", in: searchPath), !isResolvectl(path) { return .resolvconf }
    return nil
  }

  /// Runs a program of the resolver's; what it says is in the error where it fails.
  func run(_ name: String, _ arguments: [String], input: String = "") throws(ResolverError) {
    guard let path = Program.locate(name, in: searchPath) else { throw ResolverError("\(name) is not in PATH") }
    let line = ([name] + arguments).joined(separator: " ")
    let result: (ending: Child.Ending, output: String)
    do throws(Errno) {
      result = try Program.run(path, arguments, input: input)
    } catch {
      throw ResolverError("\(line): \(error)")
    }
    let end: String
    switch result.ending {
    case .exited(0): return
    case .exited(let status): end = "status \(status)"
    case .signalled(let signal): end = "ended by signal \(signal)"
    }
    let said = result.output.split(separator: "\n").joined(separator: "; ")
    throw ResolverError("\(line): \(said.isEmpty ? end : said)")
  }

  private var isResolvedRunning: Bool {
    let descriptor = OwnedDescriptor(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard resolvedSocket.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: resolvedSocket.utf8) }
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(descriptor.rawValue, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
  }

  private func isResolvectl(_ path: String) -> Bool {
    guard let resolved = unsafe realpath(path, nil) else { return false }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved).hasSuffix("/resolvectl")
  }
}
