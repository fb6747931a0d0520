import ArgumentParser
import WG6Linux

/// What shells offer for the arguments of commands. The scripts for the shells are ArgumentParser's; they run this program
/// with the words that are there so far.
extension CompletionKind {
  /// A tunnel that has a file.
  static let tunnelFile = CompletionKind.words { _ in Candidates.files.map { Candidate(word: $0) } }

  /// A tunnel that has a file and is not up.
  static let tunnelToStart = CompletionKind.words { _ in
    let running = Swift.Set(Candidates.running)
    return Candidates.files.filter { !running.contains($0) }.map { Candidate(word: $0) }
  }

  /// A tunnel that is up.
  static let runningTunnel = CompletionKind.words { _ in Candidates.running.map { Candidate(word: $0) } }

  static let interface = CompletionKind.words(pathsToo: false) { _ in Candidates.interfaces.map { Candidate(word: $0) }
  }

  static let interfaceToShow = CompletionKind.words(pathsToo: false) { _ in
    Candidates.interfaces.map { Candidate(word: $0) } + [
      Candidate(word: "all", note: "every interface"), Candidate(word: "interfaces", note: "their names"),
    ]
  }

  static let shownField = CompletionKind.words(pathsToo: false) { line in
    line.words.last == "interfaces" ? [] : (Usage.showFields + ["drops"]).map { Candidate(word: $0) }
  }

  /// The words behind `set`.
  static let changes = CompletionKind.custom { words, index, prefix in
    let line = CommandLineSoFar(words, index, prefix)
    guard let offer = SetWords(line.words).offer else { return [FileOffer.any] }
    return offer.map { $0.line(for: CompletionShell.requesting) }
  }

  /// A name of the address book, or a tunnel that has a file. Without the '@', which bash takes for the end of a word.
  static let keyHolder = CompletionKind.words { _ in
    Candidates.bareNames + Candidates.files.map { Candidate(word: $0) }
  }

  /// A peer of the interface that the line names.
  static let peer = CompletionKind.words(pathsToo: false) { line in
    Candidates.peers(of: line.words.first { ControlSocket.isInterfaceName($0) && !$0.hasPrefix("-") } ?? "")
  }

  static let anyFile = CompletionKind.custom { _, _, _ in [FileOffer.any] }

  static let user = CompletionKind.words(pathsToo: false) { _ in Candidates.users.map { Candidate(word: $0) } }

  /// A program, and behind it what programs mostly take.
  static let program = CompletionKind.custom { words, index, prefix in
    let line = CommandLineSoFar(words, index, prefix)
    guard line.words.last == "--", !line.isPath else { return [FileOffer.any] }
    return Candidates.programs
  }

  /// Words of ours, or a file where a path is begun.
  private static func words(
    pathsToo: Bool = true, _ offer: @escaping @Sendable (CommandLineSoFar) -> [Candidate]
  ) -> CompletionKind {
    .custom { words, index, prefix in
      let line = CommandLineSoFar(words, index, prefix)
      if pathsToo, line.isPath { return [FileOffer.configurations] }
      return offer(line).map { $0.line(for: CompletionShell.requesting) }
    }
  }
}

/// Lines that have the shell offer files, which it does better: they are no words of ours.
enum FileOffer {
  static let any = ":files"
  static let configurations = ":files conf"
}

/// The words before the one that is completed, and the beginning of that.
struct CommandLineSoFar {
  /// Those behind the command's name.
  let words: [String]
  private let beginning: String

  init(_ words: [String], _ index: Int, _ beginning: String) {
    var line = words.prefix(max(index, 0) + 1).map(CommandLineSoFar.unquoted)
    if CompletionShell.requesting == .bash { line = CommandLineSoFar.joined(line) }
    let last = line.popLast() ?? ""
    // The program's name, and options before the command's.
    self.words = Array(line.dropFirst().drop { $0.hasPrefix("-") }.dropFirst())
    self.beginning = beginning.isEmpty ? last : beginning
  }

  /// Whether the word is a path and not a name.
  var isPath: Bool { beginning.contains("/") || beginning.hasPrefix(".") || beginning.hasPrefix("~") }

  private static func unquoted(_ word: String) -> String {
    word.filter { !"\\\"'".contains($0) }
  }

  /// bash cuts words at these characters too (`COMP_WORDBREAKS`), and says nothing of blanks.
  private static func joined(_ words: [String]) -> [String] {
    var result: [String] = []
    var isOpen = false
    for word in words {
      let isBreak = !word.isEmpty && word.allSatisfy { "@=:".contains($0) }
      let staysApart = word.hasPrefix("@")
      if isOpen || (isBreak && !staysApart), !result.isEmpty {
        result[result.count - 1] += word
      } else {
        result.append(word)
      }
      isOpen = isBreak && word != "="
    }
    return result
  }
}
