import Glibc
import SystemPackage
import WG6Linux

/// The file's own commands, run as wg-quick runs them: by bash where there is one, `%i` being the interface, each told
/// before.
extension Tunnel {
  /// Runs them in turn; the first that fails ends it. A signal to this process ends the command that runs, with all that it
  /// has started, and throws `interrupted`. `prelude` stands before each: see `HookVariables`.
  func runHooks(_ commands: [String], _ prelude: String) throws(TunnelError) {
    for command in commands {
      let text = expand(command)
      announce("[#] \(text)")
      let ending: Child.Ending
      var isEnded = false
      do {
        ending = try Tunnel.start(text, prelude).wait {
          isEnded = isEnded || takeSignal()
          return isEnded
        }
      } catch {
        throw TunnelError("\(Tunnel.shell): \(error)")
      }
      if isEnded || takeSignal() { throw .interrupted(text) }
      switch ending {
      case .exited(0): continue
      case .exited(let status): throw TunnelError("'\(text)' ended with status \(status)")
      case .signalled(let signal): throw TunnelError("'\(text)' was ended by signal \(signal)")
      }
    }
  }

  /// Runs them all, whatever becomes of each, as the way down must not end half-way. A signal ends one of them, and the next
  /// runs.
  func tryHooks(_ commands: [String], of journal: borrowing Journal) {
    let prelude = journal.hookVariables().prelude(
      program: HookVariables.ownProgram, verb: "down", states: "HAVE_SET_DNS=0 HAVE_SET_FIREWALL=0")
    for command in commands {
      do throws(TunnelError) {
        try runHooks([command], prelude)
      } catch {
        warn("\(error)")
      }
    }
  }

  private func expand(_ command: String) -> String {
    var text = ""
    var rest = command[...]
    while let percent = rest.firstIndex(of: "%") {
      let next = rest.index(after: percent)
      guard next < rest.endIndex, rest[next] == "i" else {
        text += rest[...percent]
        rest = rest[next...]
        continue
      }
      text += rest[..<percent] + interface
      rest = rest[rest.index(after: next)...]
    }
    return text + rest
  }

  private static let bash = "/bin/bash"
  /// Bytes. An argument has 128 KiB at most, and a command has to be in it too.
  private static let longestPrelude = 64 << 10
  private static var hasBash: Bool { unsafe access(bash, X_OK) == 0 }
  private static var shell: String { hasBash ? bash : "/bin/sh" }

  /// As wg-quick has set its own shell when it evaluates a command.
  private static func start(_ command: String, _ prelude: String) throws(Errno) -> ProcessGroup {
    let locale = unsafe getenv("LC_ALL").map { unsafe String(cString: $0) }
    unsafe setenv("LC_ALL", "C", 1)
    defer { if let locale { unsafe setenv("LC_ALL", locale, 1) } else { unsafe unsetenv("LC_ALL") } }
    let options = hasBash ? ["-e", "-o", "pipefail", "-O", "extglob"] : ["-e"]
    return try ProcessGroup(
      shell, options + ["-c", (hasBash && prelude.utf8.count < longestPrelude ? prelude : "") + command])
  }
}

/// Who can write a file, and with it the commands in it.
public enum FileOwnership {
  /// Why commands of the file that was opened at `path`, from the root and without links, and read from `descriptor`, must
  /// not be run: somebody else than root could have put them in. `nil` where nobody could.
  public static func problem(of path: String, opened descriptor: Int32) -> String? {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return "\(path): \(Errno(rawValue: errno))" }
    if let problem = problem(of: path, status, isDirectory: false) { return problem }
    // Who may write a directory may put another file there under the name.
    var directory = path
    while let slash = directory.lastIndex(of: "/") {
      directory = String(directory[..<slash])
      let name = directory.isEmpty ? "/" : directory
      guard unsafe lstat(name, &status) == 0 else { return "\(name): \(Errno(rawValue: errno))" }
      if let problem = problem(of: name, status, isDirectory: true) { return problem }
    }
    return nil
  }

  /// Which file was read from `descriptor`, and when it was changed last: another text for other contents.
  public static func version(of descriptor: Int32) -> String? {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return nil }
    let changed = status.st_mtim
    return "\(status.st_dev):\(status.st_ino):\(status.st_size):\(changed.tv_sec).\(changed.tv_nsec)"
  }

  /// A link that has come there since is refused for its mode, which is everybody's.
  private static func problem(of path: String, _ status: stat, isDirectory: Bool) -> String? {
    if status.st_uid != 0 { return "\(path) belongs to user \(status.st_uid)" }
    // In a sticky directory nobody removes what is another's.
    let isSticky = isDirectory && status.st_mode & S_ISVTX != 0
    return status.st_mode & 0o022 != 0 && !isSticky ? "\(path) can be written by others than root" : nil
  }
}
