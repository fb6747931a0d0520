import Foundation
import Testing

/// What a program did.
struct Outcome: Equatable {
  var status: Int32
  var output: String
  var errors: String
}

extension Outcome {
  /// `wg`'s outcome in the style of wg6's messages: each begins with `wg6: `, and quotes with one kind of mark. Usage lines
  /// stay.
  var inOurStyle: Outcome {
    let lines = errors.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
      if line.isEmpty || line.hasPrefix("Usage: ") {
        return line.replacingOccurrences(of: Programs.wg!, with: Programs.wg6)
      }
      let text = line.replacingOccurrences(of: "\(Programs.wg!): ", with: "").replacingOccurrences(of: "`", with: "'")
        .replacingOccurrences(of: "Warning: ", with: "warning: ")
      return "wg6: \(text)"
    }
    return Outcome(status: status, output: output, errors: lines.joined(separator: "\n"))
  }
}

/// The programs under test, and those that they are compared with.
enum Programs {
  /// Where the build put its products: beside the test bundle.
  static let directory: String = {
    let bundle = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(fileURLWithPath: bundle ?? CommandLine.arguments[0]).deletingLastPathComponent().path
  }()

  static let wg6 = "\(directory)/wg6"
  static let wg = find("wg")
  static let wgQuick = find("wg-quick")
  static let wireguardGo = find("wireguard-go")
  static let ip = find("ip")
  static let nft = find("nft")
  static let bash = find("bash")
  static let zsh = find("zsh")
  static let fish = find("fish")
  static let unshare = find("unshare")
  static let setpriv = find("setpriv")
  /// `WG6_TEST_DAEMON` lets the command line be tried with another daemon, as wireguard-go.
  static let daemon: String? =
    ProcessInfo.processInfo.environment["WG6_TEST_DAEMON"].map { find($0) } ?? "\(directory)/wg6d"

  /// wireguard-go keeps its peers in a hash map: what it tells has no order to compare.
  static var daemonShufflesPeers: Bool { daemon?.hasSuffix("wireguard-go") ?? false }

  /// On a machine where nothing may be missing, what is missing fails.
  private static let mustRun = ProcessInfo.processInfo.environment["WG6_REQUIRE_ALL"] == "1"

  static var canCompareKeys: Bool { mustRun || wg != nil }
  static var canCompareDevices: Bool {
    if mustRun { return true }
    return wg != nil && ip != nil && daemon != nil && getuid() == 0
      && FileManager.default.fileExists(atPath: "/dev/net/tun")
  }
  static var canUseShells: Bool { mustRun || (canCompareDevices && bash != nil && zsh != nil && fish != nil) }
  static let shellsAbsence: Comment = "SKIPPED: needs root, bash, zsh and fish, and what the devices' tests need"
  static let keysAbsence: Comment = "SKIPPED: there is no wg to compare with (Debian: wireguard-tools)"
  static let devicesAbsence: Comment =
    "SKIPPED: needs root, /dev/net/tun, ip, wg and a daemon (WG6_TEST_DAEMON or wg6d)"

  private static func find(_ name: String) -> String? {
    if name.contains("/") { return FileManager.default.isExecutableFile(atPath: name) ? name : nil }
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin"
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }
}

/// A program that runs. Foundation's `Process` would wait until every descendant has ended, and a daemon does not.
struct Running {
  let processID: pid_t

  /// Starts `program`; standard streams are `/dev/null` unless files are named.
  init(
    _ program: String, _ arguments: [String], environment: [String: String] = [:], files: [String] = [],
    output: Int32? = nil
  ) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in 0..<3 {
      let path = Int(descriptor) < files.count ? files[Int(descriptor)] : "/dev/null"
      posix_spawn_file_actions_addopen(&actions, Int32(descriptor), path, descriptor == 0 ? O_RDONLY : O_WRONLY, 0)
    }
    if let output { posix_spawn_file_actions_adddup2(&actions, output, 1) }
    // The threads that tests run on block signals; a program must not inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    // The switch of scripts/mutate is for the commands, too.
    let variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("WG") || $0.key == "WG6_MUTANT" }
      .merging(["LOG_LEVEL": "silent", "WG6_KEYS": "/dev/null"]) { $1 }.merging(environment) { $1 }
    var argv = ([program] + arguments).map { strdup($0) } + [nil]
    var envp = variables.map { strdup("\($0)=\($1)") } + [nil]
    defer { (argv + envp).forEach { free($0) } }
    var identifier: pid_t = 0
    let result = posix_spawn(&identifier, program, &actions, &attributes, &argv, &envp)
    try #require(result == 0, "\(program): \(String(cString: strerror(result)))")
    processID = identifier
  }

  /// Waits for the end; the exit status, or 128 and the signal as a shell has it.
  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0, errno == EINTR {}
    return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F
  }

  func send(_ signal: Int32) {
    kill(processID, signal)
  }
}

/// Runs a program to its end. `output` lets standard output go to a file that is open.
@discardableResult
func run(
  _ program: String, _ arguments: [String], input: Data = Data(), environment: [String: String] = [:],
  output: FileHandle? = nil
) throws -> Outcome {
  // Files, not pipes: a daemon in the background would hold a pipe open.
  let files = (0..<3).map { _ in
    FileManager.default.temporaryDirectory.appendingPathComponent("wg6-\(UUID().uuidString)").path
  }
  for file in files {
    _ = FileManager.default.createFile(
      atPath: file, contents: file == files[0] ? input : nil, attributes: [.posixPermissions: 0o600])
  }
  defer { for file in files { try? FileManager.default.removeItem(atPath: file) } }
  let status = try Running(program, arguments, environment: environment, files: files, output: output?.fileDescriptor)
    .wait()
  func text(_ file: String) -> String {
    String(decoding: FileManager.default.contents(atPath: file) ?? Data(), as: UTF8.self)
  }
  return Outcome(status: status, output: text(files[1]), errors: text(files[2]))
}
