import WG6Crypto
import WG6Protocol

/// Reads a configuration file line by line, collecting mistakes.
struct ConfigurationReader: ~Copyable {
  enum Section { case none, interface, peer, unknown }

  /// A [Peer] section while it is read.
  struct Draft {
    let line: Int
    var publicKey: PublicKey?
    var publicKeyLine = 0
    /// A key was given, right or wrong.
    var namesPublicKey = false
    var presharedKey: KeyChange<PresharedKey> = .keep
    var endpoint: EndpointName?
    var endpointLine = 0
    var persistentKeepalive: UInt16?
    var keepaliveLine = 0
    var allowedIPs: [AllowedIPChange] = []
    var replacesAllowedIPs = true
    var excludedIPs = Exclusions()
    var allowedIPLines: [Int] = []
    var exclusionLines = ExclusionLines()
    var multicast: Bool?
  }

  let file: String
  let dialect: ConfigurationDialect
  var result = ConfigurationFile()
  var mistakes: [FileMistake] = []
  var line = 0
  var section = Section.none
  var interfaceLine: Int?
  var drafts: [Draft] = []
  /// Where each key of the section stood first.
  var seen: [String: Int] = [:]
  var interfaceSeen: [String: Int] = [:]
  private var book: AddressBook?
  private var triedBook = false

  init(file: String, dialect: ConfigurationDialect) {
    self.file = file
    self.dialect = dialect
  }

  mutating func read(
    _ text: RawSpan, addressBook: () throws(FileMistakes) -> AddressBook?
  ) throws(FileMistakes) -> ConfigurationFile {
    if let encoding = text.foreignEncoding {
      throw FileMistakes([FileMistake(file: file, line: 1, message: encoding)])
    }
    var content = WipedBytes()
    var start = text.byteOrderMarkLength
    while start < text.byteCount {
      let end = text.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? text.byteCount
      line += 1
      read(line: text.extracting(start..<end), content: &content, addressBook: addressBook)
      start = end + 1
    }
    check()
    guard mistakes.isEmpty else { throw FileMistakes(mistakes.sorted { $0.line < $1.line }) }
    result.warnings = result.withoutSilent(result.warnings)
    return result
  }

  /// Reads one line. Like `wg`, it takes all white space out of it first; `content` is where that is done.
  private mutating func read(
    line text: RawSpan, content: inout WipedBytes, addressBook: () throws(FileMistakes) -> AddressBook?
  ) {
    guard text.firstIndex(of: 0) == nil else { return refuse("read a NUL byte, expected text") }
    let uncommented = text.extracting(0..<(text.firstIndex(of: UInt8(ascii: "#")) ?? text.byteCount))
    content.removeAll()
    for index in 0..<uncommented.byteCount where !uncommented.isSpace(at: index) {
      content.append(uncommented[text: index])
    }
    guard !content.isEmpty else { return }
    content.withBytes { content in
      if content[text: 0] == UInt8(ascii: "[") { return startSection(content) }
      guard let equals = content.firstIndex(of: UInt8(ascii: "=")) else {
        return refuse(
          "read \(counted(content.byteCount, "character")) without '=', expected [Interface], [Peer] or Key = value")
      }
      let keyText = content.extracting(0..<equals)
      let value = content.extracting(equals + 1..<content.byteCount)
      switch section {
      case .none:
        refuse("read \(ConfigurationReader.quoted(keyText)) before any section, expected [Interface] or [Peer] first")
      case .unknown: break
      case .interface, .peer:
        guard let key = key(keyText) else { return }
        noteRepetition(of: key)
        // Words may be separated by blanks, and hooks are made of them: such keys see the line as it was.
        let plainEquals = uncommented.firstIndex(of: UInt8(ascii: "="))!
        let range = uncommented.trimming(plainEquals + 1..<uncommented.byteCount)
        let written = uncommented.extracting(range)
        if section == .peer {
          readPeer(key, value, written: written, addressBook: addressBook)
        } else {
          readInterface(key, value, written: written)
        }
      }
    }
  }

  private mutating func startSection(_ text: RawSpan) {
    switch text.string.lowercased() {
    case "[interface]":
      if let interfaceLine {
        warn(.repeatedSection, "a second [Interface]; it adds to the one on line \(interfaceLine)")
      }
      interfaceLine = interfaceLine ?? line
      section = .interface
    case "[peer]":
      section = .peer
      seen = [:]
      drafts.append(Draft(line: line))
    default:
      section = .unknown
      refuse("read the section \(text.quotable), expected [Interface] or [Peer]")
    }
  }

  /// The key that `text` names, as the documentation spells it; refuses those that this section does not have.
  private mutating func key(_ text: RawSpan) -> String? {
    let known = ConfigurationKeys.known(in: section, dialect)
    if let key = known.first(where: { text.equalsIgnoringCase($0) }) {
      if ConfigurationKeys.extensions.contains(key) { result.extensions[line] = .key }
      return key
    }
    let word = text.byteCount <= 32 ? text.string.lowercased() : ""
    let sectionName = section == .peer ? "[Peer]" : "[Interface]"
    if let key = ConfigurationKeys.known(in: section, .quick).first(where: { text.equalsIgnoringCase($0) }) {
      refuse("read \(key), which only 'up' knows, expected \(ConfigurationKeys.list(known))")
    } else if let key = ConfigurationKeys.ofOtherSection(word, section: section) {
      refuse("read \(key) in \(sectionName), expected it in \(section == .peer ? "[Interface]" : "[Peer]")")
    } else {
      let near = nearestWord(to: word, among: known).map { "; \($0), perhaps" } ?? ""
      refuse(
        "read \(ConfigurationReader.quoted(text)) in \(sectionName), expected \(ConfigurationKeys.list(known))\(near)")
    }
    return nil
  }

  /// `wg` lets the last of several win; a person should hear of it.
  private mutating func noteRepetition(of key: String) {
    guard !ConfigurationKeys.repeatable.contains(key) else { return }
    if let first = section == .peer ? seen[key] : interfaceSeen[key] {
      warn(.repeatedKey, "\(key) again; it takes the place of the one on line \(first)")
    }
    if section == .peer { seen[key] = line } else { interfaceSeen[key] = line }
  }

  /// The public key behind `@name`.
  mutating func publicKey(named name: String, addressBook: () throws(FileMistakes) -> AddressBook?) -> PublicKey? {
    if !triedBook {
      triedBook = true
      do {
        book = try addressBook()
        if book == nil {
          refuse("read PublicKey = @\(name.quotable), expected an address book to look it up in; there is none")
        }
      } catch {
        mistakes += error.mistakes
      }
      guard book != nil else { return nil }
    }
    guard let book else { return nil }
    if let key = book.publicKey(named: name) { return key }
    let hint = book.nearestName(to: name).map { "; @\($0), perhaps" } ?? ""
    refuse("read PublicKey = @\(name.quotable), expected a name of the address book\(hint)")
    return nil
  }

  mutating func refuse(_ message: String, line: Int? = nil) {
    mistakes.append(FileMistake(file: file, line: line ?? self.line, message: message))
  }

  mutating func warn(_ warning: Warning, _ message: String, line: Int? = nil) {
    result.warnings.append(FileMistake(file: file, line: line ?? self.line, message: message, warning: warning))
  }

  /// A key's name as a message may show it: words are quoted, anything else may be a secret that lost its name.
  static func quoted(_ text: RawSpan) -> String {
    var isWord = text.byteCount > 0 && text.byteCount <= 32
    for index in 0..<text.byteCount where isWord {
      let character = text[text: index]
      isWord =
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(character | 0x20) || character == UInt8(ascii: "_")
        || character == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(character)
    }
    return isWord ? "the key '\(text.string)'" : "an unknown key of \(counted(text.byteCount, "character"))"
  }
}
