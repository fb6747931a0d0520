import WG6Crypto

extension ConfigurationFile {
  /// Appends what `wg-quick strip` prints for a file: what is left for `wg setconf`. `text` has been read without mistakes.
  ///
  /// Byte for byte: each line without the blanks and tabs at its ends, and an empty one behind the last.
  public static func writeStripped(_ text: RawSpan, to output: inout WipedBytes) {
    var isInterface = false
    var start = 0
    while start < text.byteCount {
      let end = text.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? text.byteCount
      let line = text.extracting(text.trimmingBlanks(start..<end))
      start = end + 1
      // The shell's `read` sees no line in what is left behind the last line feed, if that is blank.
      if line.byteCount == 0, end == text.byteCount { break }
      let key = line.quickKey
      if key.hasPrefix("[") { isInterface = key == "[interface]" }
      if isInterface, ConfigurationKeys.quick.contains(where: { $0.lowercased() == key }) { continue }
      output.append(line)
      output.append(UInt8(ascii: "\n"))
    }
    output.append(UInt8(ascii: "\n"))
  }
}

extension RawSpan {
  /// A line's key in lower case: what stands before '#' and '=', white space left out, as the reader sees it; of long
  /// ones the beginning.
  fileprivate var quickKey: String {
    var key: [UInt8] = []
    for index in 0..<byteCount where !isSpace(at: index) {
      let character = self[text: index]
      if character == UInt8(ascii: "#") || character == UInt8(ascii: "=") { break }
      // Longer than any key of wg-quick's, and perhaps a secret one.
      if key.count == 16 { break }
      key.append(character)
    }
    return String(decoding: key, as: UTF8.self).lowercased()
  }

  /// Where the text is without what the shell's `read` takes away at the ends of `range`.
  fileprivate func trimmingBlanks(_ range: Range<Int>) -> Range<Int> {
    func isBlank(_ index: Int) -> Bool {
      self[text: index] == UInt8(ascii: " ") || self[text: index] == UInt8(ascii: "\t")
    }
    var (start, end) = (range.lowerBound, range.upperBound)
    while start < end, isBlank(start) { start += 1 }
    while end > start, isBlank(end - 1) { end -= 1 }
    return start..<end
  }
}
