import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Tunnel

// Every message on standard error is `PLACE: message` or `PLACE: warning: message`. The place is this program, an
// interface, or FILE:LINE.

/// Writes a line to standard error as it is.
func complain(_ line: some StringProtocol) {
  var text = WipedBytes()
  text.append("\(line)\n")
  try? text.writeAll(to: STDERR_FILENO)
}

/// Writes `PLACE: warning: message` to standard error.
func warn(_ message: some StringProtocol, at place: String = "wg6") {
  complain("\(place): warning: \(message)")
}

/// Warns of a place in a file.
func warn(_ finding: FileMistake) {
  let place = "\(finding.file):\(finding.line)"
  // With the warning's name behind it.
  warn(finding.description.dropFirst("\(place): ".count), at: place)
}

/// Gives `wg genkey`'s warning, for a secret key that is about to be written where everybody can read it. Each command that
/// prints one asks here first.
func warnOfWorldAccessibleOutput() {
  var status = stat()
  guard unsafe fstat(STDOUT_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_mode & S_IRWXO != 0
  else {
    return
  }
  warn("writing to world accessible file. Consider setting the umask to 077 and trying again.")
}

/// Writes `PLACE: message` to standard error, and ends the command with status 1.
func failure(_ message: some StringProtocol, at place: String = "wg6") -> ExitCode {
  complain("\(place): \(message)")
  return .failure
}

/// Says what is wrong with a file, a line for each mistake, and ends the command with status 1.
func failure(_ mistakes: FileMistakes) -> ExitCode {
  complain(mistakes.description)
  return .failure
}

/// Says why a file can't be read, and ends the command with status 1.
func failure(_ problem: FileFailure) -> ExitCode {
  failure("\(problem)\(Rights.hint(problem.errno))")
}

/// Says why an interface's daemon refused or did not answer, behind `wg`'s words, and ends the command with status 1.
func failure(_ words: String, _ problem: RemoteDevice.Failure, of interface: String) -> ExitCode {
  var hint = ControlSocket.nameProblem(interface).map { "; \($0)" } ?? ""
  if problem.errno == EADDRNOTAVAIL {
    hint += "; an allowed IP is another peer's address, or this interface's, by its key (LinkLocal, ula:)"
  }
  return failure("\(words) \(interface): \(problem.reason)\(hint)\(Rights.hint(problem.errno))")
}

/// Whether this process has root's rights, and what to say where they are missing.
enum Rights {
  static var areRoots: Bool { geteuid() == 0 }

  /// What follows the system's text for `number`, where root would not have been refused.
  static func hint(_ number: Int32) -> String {
    (number == EACCES || number == EPERM) && !areRoots ? "; this needs root" : ""
  }

  /// Refuses a command that reads or changes what is root's, before it begins.
  static func require(for command: String) throws {
    guard areRoots else { throw failure("'\(command)' needs root: run it as root, or with sudo") }
  }
}

/// What a person may have meant.
enum Suggestion {
  /// ` Did you mean 'show'?`, or nothing where no word is near.
  static func text(for word: String, among known: [String]) -> String {
    nearest(to: word, among: known).map(text) ?? ""
  }

  static func nearest(to word: String, among known: [String]) -> String? {
    // A short word with another first letter is another word.
    let fitting = word.count > 4 ? known : known.filter { $0.first == word.first }
    return nearestWord(to: word, among: fitting)
  }

  static func text(_ meant: String) -> String { " Did you mean '\(meant)'?" }
}
