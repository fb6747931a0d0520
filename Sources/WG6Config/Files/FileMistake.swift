/// A place in a file and what is wrong there, or worth a warning.
public struct FileMistake: Error, Sendable, Equatable, CustomStringConvertible {
  public let file: String
  /// Counted from 1.
  public let line: Int
  /// What was read and what was expected. Holds no private and no preshared key.
  public let message: String
  /// The name of a warning; `nil` for a mistake.
  public let warning: Warning?

  public init(file: String, line: Int, message: String, warning: Warning? = nil) {
    self.file = file
    self.line = line
    self.message = message
    self.warning = warning
  }

  /// `file:line: message`, which editors and terminals know how to jump to, and a warning's name.
  public var description: String {
    "\(file):\(line): \(message)\(warning.map { " [\($0.rawValue)]" } ?? "")"
  }
}

/// Every mistake of a file, in the order of its lines: a person mends them all before the next try.
public struct FileMistakes: Error, Sendable, CustomStringConvertible {
  public let mistakes: [FileMistake]

  public init(_ mistakes: [FileMistake]) {
    self.mistakes = mistakes
  }

  public var description: String { mistakes.map(\.description).joined(separator: "\n") }
}

/// The word of `known` that a person who typed `word` most likely meant; `nil` where none is near.
public func nearestWord(to word: String, among known: [String]) -> String? {
  let wanted = Array(word.lowercased().utf8)
  let distances = known.map { (word: $0, distance: editDistance(wanted, Array($0.lowercased().utf8))) }
  guard let nearest = distances.min(by: { $0.distance < $1.distance }) else { return nil }
  return nearest.distance <= max(2, wanted.count / 3) ? nearest.word : nil
}

/// Levenshtein's distance: insertions, removals and replacements that turn one into the other.
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
  var row = Array(0...right.count)
  for (i, a) in left.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, b) in right.enumerated() {
      let replaced = diagonal + (a == b ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(replaced, diagonal + 1, row[j] + 1)
    }
  }
  return row[right.count]
}
