import CLinux
import Glibc
import SystemPackage

/// A program that we started.
///
/// Started with `posix_spawn`: a forked Swift process could do little before `exec` without danger.
public struct Child: Sendable {
  public let processID: pid_t

  /// How a program ended.
  public enum Ending: Sendable, Equatable {
    case exited(Int32)
    case signalled(Int32)
  }

  /// Starts the program at `path` with this process's environment, standard streams and directory; signals are neither
  /// blocked nor ignored in it. `arguments` do not include the program's name. Throws `posix_spawn`'s error.
  ///
  /// - Parameters:
  ///   - outlivesCaller: it stays when this process has ended, and keeps nothing of it: it gets a session of its own, the
  ///     root directory, and of the environment what `LastingEnvironment` has.
  ///   - newGroup: make it the leader of a new process group.
  ///   - terminal: a terminal that the new group is to have.
  ///   - silentOutput: its standard streams are /dev/null, rather than ours.
  ///   - input: a descriptor that it reads its standard input from.
  ///   - output: a descriptor that it writes its standard output and errors to.
  ///   - passing: a further descriptor, and the number that it has in the program.
  public init(
    _ path: String, _ arguments: [String], outlivesCaller: Bool = false, newGroup: Bool = false, terminal: Int32? = nil,
    silentOutput: Bool = false, input: Int32? = nil, output: Int32? = nil,
    passing: (descriptor: Int32, number: Int32)? = nil
  ) throws(Errno) {
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    var all = sigset_t()
    unsafe sigfillset(&all)
    unsafe posix_spawnattr_setsigdefault(&attributes, &all)
    let session = outlivesCaller ? linuxSpawnSetSession : 0
    let group = newGroup ? POSIX_SPAWN_SETPGROUP : 0
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | session | group))

    var files = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&files)
    defer { unsafe posix_spawn_file_actions_destroy(&files) }
    if let terminal { unsafe linux_spawn_with_terminal(&files, terminal) }
    if silentOutput {
      for stream in 0...Int32(2) { unsafe posix_spawn_file_actions_addopen(&files, stream, "/dev/null", O_RDWR, 0) }
    }
    if let input { unsafe posix_spawn_file_actions_adddup2(&files, input, 0) }
    if let output { for stream in Int32(1)...2 { unsafe posix_spawn_file_actions_adddup2(&files, output, stream) } }

    if outlivesCaller { unsafe linux_spawn_in_root(&files) }
    if let passing { unsafe posix_spawn_file_actions_adddup2(&files, passing.descriptor, passing.number) }

    var argv: [UnsafeMutablePointer<CChar>?] = unsafe ([path] + arguments).map { unsafe strdup($0) }
    unsafe argv.append(nil)
    defer { unsafe argv.forEach { unsafe free($0) } }
    let kept = outlivesCaller ? LastingEnvironment.variables : []
    var variables: [UnsafeMutablePointer<CChar>?] = unsafe kept.map { unsafe strdup($0) }
    unsafe variables.append(nil)
    defer { unsafe variables.forEach { unsafe free($0) } }
    var identifier: pid_t = 0
    let result =
      outlivesCaller
      ? unsafe posix_spawn(&identifier, path, &files, &attributes, argv, variables)
      : unsafe posix_spawn(&identifier, path, &files, &attributes, argv, environ)
    guard result == 0 else { throw Errno(rawValue: result) }
    processID = identifier
  }

  /// Waits until the program ends. Throws `waitpid`'s error.
  public func wait() throws(Errno) -> Ending {
    while true {
      if let ending = try ended(options: 0) { return ending }
    }
  }

  /// How the program ended; `nil` while it runs.
  public func poll() throws(Errno) -> Ending? {
    try ended(options: WNOHANG)
  }

  public func send(signal: Int32) {
    kill(processID, signal)
  }

  private func ended(options: Int32) throws(Errno) -> Ending? {
    var status: Int32 = 0
    let result = unsafe waitpid(processID, &status, options)
    if result == 0 { return nil }
    guard result > 0 else {
      if errno == EINTR { return nil }
      throw Errno(rawValue: errno)
    }
    // <bits/waitstatus.h>: the low seven bits are the signal, 0 for an exit.
    let signal = status & 0x7F
    return signal == 0 ? .exited(status >> 8 & 0xFF) : .signalled(signal)
  }
}

extension Child {
  /// The words by which a program of ours gets `word` as an argument, which would else be an option where it begins with a
  /// hyphen. Other words stand alone: not every daemon knows "--".
  public static func argument(_ word: String) -> [String] { word.hasPrefix("-") ? ["--", word] : [word] }
}

/// What a program that outlives its caller keeps of the environment. A shell has more in it, for which such a program has no
/// use: passwords, the way to a person's agent.
public enum LastingEnvironment {
  /// Whether a variable is kept: those that set wg6 and wg6d (`WG_`, `WG6_`, `WG6D`, `LOG_LEVEL`), and what programs need to
  /// be found and to start.
  public static func keeps(_ name: some StringProtocol) -> Bool {
    name.hasPrefix("WG_") || name.hasPrefix("WG6") || name.hasSuffix("SAN_OPTIONS")
      || ["LOG_LEVEL", "PATH", "LD_LIBRARY_PATH", "TZ"].contains(String(name))
  }

  /// `NAME=value`, each of this process's that is kept.
  static var variables: [String] {
    var variables: [String] = []
    var next = unsafe environ
    while let text = unsafe next.pointee {
      let variable = unsafe String(cString: text)
      if keeps(variable.prefix { $0 != "=" }) { variables.append(variable) }
      unsafe next += 1
    }
    return variables
  }
}

/// POSIX_SPAWN_SETSID, a GNU extension that Swift does not see.
private let linuxSpawnSetSession: Int32 = 0x80
