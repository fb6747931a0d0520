import Glibc
import WG6Config

/// The variables that wg-quick's hooks see, because it evaluates them in its own script: variables of the shell, which the
/// programs that a hook starts do not inherit. Of wg-quick's functions there are `cmd` and `die`.
///
/// One is not there: `WG_CONFIG` has the private key in it.
struct HookVariables: Hashable, Sendable {
  /// Assignments in bash, all in one line, so that the journal keeps them for `down`.
  let assignments: String

  init(assignments: String) {
    self.assignments = assignments
  }

  init(_ file: TunnelFile, interface: String) {
    let configuration = file.configuration
    func list(_ name: String, _ words: [String]) -> String {
      "\(name)=(\(words.map(HookVariables.quoted).joined(separator: " ")))"
    }
    func text(_ name: String, _ word: String) -> String { "\(name)=\(HookVariables.quoted(word))" }
    let resolver = configuration.resolver
    let hooks = configuration.hooks
    assignments = [
      text("INTERFACE", interface), text("CONFIG_FILE", file.path), list("ADDRESSES", configuration.addressTexts),
      text("MTU", configuration.mtuText), list("DNS", resolver.servers.map(\.description)),
      list("DNS_SEARCH", resolver.searchDomains + resolver.routingDomains.map { "~" + $0 }),
      text("TABLE", configuration.tableText ?? ""), text("SAVE_CONFIG", configuration.savesConfiguration ? "1" : "0"),
      list("PRE_UP", hooks.preUp), list("POST_UP", hooks.postUp), list("PRE_DOWN", hooks.preDown),
      list("POST_DOWN", hooks.postDown),
    ].joined(separator: " ")
  }

  /// What stands before a command: the assignments, what is of this process, and the functions. `states` are further
  /// assignments, as of `HAVE_SET_DNS`.
  func prelude(program: String, verb: String, states: String) -> String {
    let directory = program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
    return assignments
      + " WG_CONFIG= PROGRAM=wg6 SELF=\(HookVariables.quoted(program)) ARGS=(\(verb) \"$INTERFACE\") \(states)"
      + " PATH=\(HookVariables.quoted(directory)):$PATH;"
      + " cmd() { echo \"[#] $*\" >&2; \"$@\"; };"
      + " die() { echo \"$PROGRAM: $*\" >&2; exit 1; };\n"
  }

  /// Where this program is.
  static var ownProgram: String {
    guard let path = unsafe realpath("/proc/self/exe", nil) else { return "wg6" }
    defer { unsafe free(path) }
    return unsafe String(cString: path)
  }

  /// `word` as the shell reads it, whatever is in it.
  static func quoted(_ word: String) -> String {
    "'" + word.replacing("'", with: "'\\''") + "'"
  }
}

extension Journal {
  /// What `up` found in the file, for the commands of the way down.
  borrowing func hookVariables() -> HookVariables {
    for case .hookVariables(let assignments) in entries { return HookVariables(assignments: assignments) }
    return HookVariables(assignments: "")
  }
}
