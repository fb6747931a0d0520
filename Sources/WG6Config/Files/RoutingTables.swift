import Glibc
import WG6Crypto

/// The names of routing tables, as `ip route` knows them.
enum RoutingTables {
  static let path = "/etc/iproute2/rt_tables"

  /// Known without a file.
  private static let builtIn: KeyValuePairs<String, UInt64> = ["default": 253, "main": 254, "local": 255]

  /// The number of the table called `name`; `nil` where no table is. Files are looked at in this order: the
  /// administrator's, the distribution's (iproute2 6.5 and later), the administrator's additions.
  static func number(of name: RawSpan) -> UInt64? {
    guard name.byteCount > 0, name.byteCount <= 64 else { return nil }
    let word = name.string
    for file in [path, "/usr/share/iproute2/rt_tables"] + additions {
      guard let text = try? WipedBytes(contentsOf: file) else { continue }
      if let found = text.withBytes({ number(of: word, in: $0) }) { return found }
    }
    return builtIn.first { $0.key == word }?.value
  }

  /// Lines are a number, white space, and a name.
  static func number(of name: String, in text: RawSpan) -> UInt64? {
    var start = 0
    while start < text.byteCount {
      let end = text.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? text.byteCount
      let line = text.extracting(start..<end)
      start = end + 1
      guard let number = line.word(from: 0), let word = line.word(from: number.upperBound),
        line.extracting(word).string == name
      else { continue }
      if let number = line.extracting(number).decimalOrHexadecimal(upTo: UInt64(UInt32.max)) { return number }
    }
    return nil
  }

  private static var additions: [String] {
    var found = unsafe glob_t()
    defer { unsafe globfree(&found) }
    guard unsafe glob("\(path).d/*.conf", 0, nil, &found) == 0 else { return [] }
    return unsafe (0..<Int(found.gl_pathc)).compactMap { unsafe found.gl_pathv[$0].map { unsafe String(cString: $0) } }
  }
}
