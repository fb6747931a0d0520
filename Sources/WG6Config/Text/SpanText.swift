import WG6Crypto

/// Reading text that may hold a key: bytes in place, never a copy that nobody wipes.
extension RawSpan {
  subscript(text index: Int) -> UInt8 { byte(at: index) }

  func firstIndex(of wanted: UInt8, from start: Int = 0) -> Int? {
    var index = start
    while index < byteCount {
      if byte(at: index) == wanted { return index }
      index += 1
    }
    return nil
  }

  func lastIndex(of wanted: UInt8) -> Int? {
    var index = byteCount
    while index > 0 {
      index -= 1
      if byte(at: index) == wanted { return index }
    }
    return nil
  }

  func equals(_ text: StaticString) -> Bool {
    guard text.utf8CodeUnitCount == byteCount else { return false }
    for index in 0..<byteCount where unsafe text.utf8Start[index] != byte(at: index) { return false }
    return true
  }

  /// Whether the bytes spell `word`, which is made of letters, in any case.
  func equalsIgnoringCase(_ word: String) -> Bool {
    guard word.utf8.count == byteCount else { return false }
    var index = 0
    for character in word.utf8 {
      if character | 0x20 != byte(at: index) | 0x20 { return false }
      index += 1
    }
    return true
  }

  /// The decimal number that the bytes spell; `nil` where they hold anything but digits, nothing, or more than `maximum`.
  func decimal(upTo maximum: UInt64) -> UInt64? {
    number(base: 10, upTo: maximum)
  }

  /// A decimal number, or a hexadecimal one behind `0x`.
  func decimalOrHexadecimal(upTo maximum: UInt64) -> UInt64? {
    if byteCount > 2, byte(at: 0) == UInt8(ascii: "0"), byte(at: 1) | 0x20 == UInt8(ascii: "x") {
      return extracting(2..<byteCount).number(base: 16, upTo: maximum)
    }
    return decimal(upTo: maximum)
  }

  private func number(base: UInt64, upTo maximum: UInt64) -> UInt64? {
    guard byteCount > 0 else { return nil }
    var value: UInt64 = 0
    for index in 0..<byteCount {
      let character = byte(at: index)
      let digit: UInt8
      switch character {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = character - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f") where base == 16: digit = character - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F") where base == 16: digit = character - UInt8(ascii: "A") + 10
      default: return nil
      }
      let (product, overflow) = value.multipliedReportingOverflow(by: base)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
      guard !overflow, !carry, sum <= maximum else { return nil }
      value = sum
    }
    return value
  }

  /// The bytes as a string. Only for text that holds no key.
  var string: String {
    unsafe withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
  }

  /// The bytes as a message may quote them: at most 60 characters, everything unprintable shown as `?`, and nothing that
  /// could be a key, or most of one, in the wrong place.
  var quotable: String {
    if resemblesKey { return "(\(counted(byteCount, "character")) that look like a key)" }
    var text = ""
    for index in 0..<Swift.min(byteCount, 60) {
      let character = byte(at: index)
      text.unicodeScalars.append((0x20..<0x7F).contains(character) ? Unicode.Scalar(character) : "?")
    }
    return byteCount > 60 ? text + "…" : text
  }

  /// Whether so many characters of base64 or hexadecimal follow one another that they may be a key, or most of one: 32 in
  /// a row, or 40 where a single other one has slipped in.
  private var resemblesKey: Bool {
    var run = 0
    var runBeforeSlip = 0
    for index in 0..<byteCount {
      switch byte(at: index) {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="):
        run += 1
        if run == 32 || run + runBeforeSlip == 40 { return true }
      default:
        (runBeforeSlip, run) = (run, 0)
      }
    }
    return false
  }

  /// How many bytes the mark takes up that some editors begin UTF-8 with.
  var byteOrderMarkLength: Int {
    byteCount >= 3 && byte(at: 0) == 0xEF && byte(at: 1) == 0xBB && byte(at: 2) == 0xBF ? 3 : 0
  }

  /// What to say of text that is not in UTF-8 but in one of the encodings with wider units; `nil` for all other text.
  var foreignEncoding: String? {
    guard byteCount >= 2 else { return nil }
    let encoding: String
    switch (byte(at: 0), byte(at: 1)) {
    case (0xFF, 0xFE) where byteCount >= 4 && byte(at: 2) == 0 && byte(at: 3) == 0: encoding = "UTF-32"
    case (0xFF, 0xFE), (0xFE, 0xFF): encoding = "UTF-16"
    // A section, a key or a comment without a mark before it.
    case (0x20..<0x7F, 0), (0, 0x20..<0x7F): encoding = "UTF-16"
    default: return nil
    }
    return "read text in \(encoding), expected UTF-8; 'iconv -f \(encoding) -t UTF-8' converts it"
  }

  /// Whether every byte is zero, looking at all of them.
  var isAllZero: Bool {
    var union: UInt8 = 0
    for index in 0..<byteCount { union |= byte(at: index) }
    return union == 0
  }

  /// Whether C's `isspace` holds for the byte at `index`.
  func isSpace(at index: Int) -> Bool {
    let character = byte(at: index)
    return character == UInt8(ascii: " ") || (9...13).contains(character)
  }

  /// Where the text is without the white space at the ends of `range`.
  func trimming(_ range: Range<Int>) -> Range<Int> {
    var start = range.lowerBound
    var end = range.upperBound
    while start < end, isSpace(at: start) { start += 1 }
    while end > start, isSpace(at: end - 1) { end -= 1 }
    return start..<end
  }

  /// Where the next word behind `index` is; `nil` where there is none.
  func word(from index: Int) -> Range<Int>? {
    var start = index
    while start < byteCount, isSpace(at: start) { start += 1 }
    var end = start
    while end < byteCount, !isSpace(at: end) { end += 1 }
    return start == end ? nil : start..<end
  }

  /// Where the words of a list are whose elements commas, white space or both separate.
  var listElements: [Range<Int>] {
    var elements: [Range<Int>] = []
    var start = 0
    for index in 0...byteCount
    where index == byteCount || isSpace(at: index) || byte(at: index) == UInt8(ascii: ",") {
      if index > start { elements.append(start..<index) }
      start = index + 1
    }
    return elements
  }
}

extension String {
  /// The text as a message may quote it.
  var quotable: String { unsafe Array(utf8).span.bytes.quotable }
}
