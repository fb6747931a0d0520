import WG6Crypto
import WG6Protocol

/// Names for public keys: one peer a line, a name, its key, and perhaps a note (`keys.example` shows it).
public struct AddressBook: Sendable {
  /// Where the book lies unless `WG6_KEYS` says otherwise.
  public static let defaultPath = "/etc/wireguard/keys"

  public struct Entry: Sendable, Equatable {
    public let name: String
    public let publicKey: PublicKey
    /// Free text; empty where there is none.
    public let note: String
    public let line: Int
  }

  /// In the order of the file.
  public private(set) var entries: [Entry] = []
  private var byName: [String: Int] = [:]
  private var byKey: [PublicKey: Int] = [:]

  /// A book without entries.
  public init() {}

  /// Reads the book in `text`, called `file` in mistakes.
  public init(reading text: RawSpan, named file: String) throws(FileMistakes) {
    var mistakes: [FileMistake] = []
    if let encoding = text.foreignEncoding {
      throw FileMistakes([FileMistake(file: file, line: 1, message: encoding)])
    }
    var start = text.byteOrderMarkLength
    var line = 0
    while start < text.byteCount {
      let end = text.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? text.byteCount
      line += 1
      if let message = add(text.extracting(start..<end), line: line) {
        mistakes.append(FileMistake(file: file, line: line, message: message))
      }
      start = end + 1
    }
    guard mistakes.isEmpty else { throw FileMistakes(mistakes) }
  }

  public func publicKey(named name: String) -> PublicKey? {
    byName[name].map { entries[$0].publicKey }
  }

  public func name(of key: PublicKey) -> String? {
    byKey[key].map { entries[$0].name }
  }

  /// The name in the book that is spelled nearest to `name`.
  public func nearestName(to name: String) -> String? {
    nearestWord(to: name, among: entries.map(\.name))
  }

  /// Adds the peer of a line; returns what is wrong with it.
  private mutating func add(_ text: RawSpan, line: Int) -> String? {
    let content = text.extracting(0..<(text.firstIndex(of: UInt8(ascii: "#")) ?? text.byteCount))
    guard let nameRange = content.word(from: 0) else { return nil }
    let name = content.extracting(nameRange)
    guard AddressBook.isName(name) else {
      return "read the name '\(name.quotable)', expected 1 to 63 letters, digits, '_', '-' or '.'"
    }
    guard let keyRange = content.word(from: nameRange.upperBound) else {
      return "read '\(name.string)' and no key, expected a name, a public key and perhaps a note"
    }
    let keyText = content.extracting(keyRange)
    guard let key = KeyBase64.decode(keyText, { PublicKey(bytes: $0) }) ?? nil else {
      return
        "read a key of \(counted(keyText.byteCount, "character")), expected a public key of 44 characters of base64"
    }
    if let other = byName[name.string] {
      return "read the name '\(name.string)' again, expected another than on line \(entries[other].line)"
    }
    if let other = byKey[key] {
      return "read the key of '\(entries[other].name)' again, expected another than on line \(entries[other].line)"
    }
    let note = content.extracting(content.trimming(keyRange.upperBound..<content.byteCount)).string
    byName[name.string] = entries.count
    byKey[key] = entries.count
    entries.append(Entry(name: name.string, publicKey: key, note: note, line: line))
    return nil
  }

  /// Whether a name may be `text`; see `isName(RawSpan)`.
  public static func isName(_ text: String) -> Bool {
    unsafe isName(Array(text.utf8).span.bytes)
  }

  /// Names stand behind `@` in files and beside keys on terminals: nothing that either could trip over.
  static func isName(_ text: RawSpan) -> Bool {
    guard text.byteCount > 0, text.byteCount <= 63 else { return false }
    for index in 0..<text.byteCount {
      switch text[text: index] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
        continue
      default: return false
      }
    }
    return true
  }
}
