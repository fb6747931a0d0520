import Glibc
import WG6Crypto

/// Text with the terminal's colours, which are left out where nobody would see them.
struct StyledText: ~Copyable {
  /// ECMA-48's "select graphic rendition".
  enum Style: String {
    case reset = "\u{1B}[0m"
    case bold = "\u{1B}[1m"
    case red = "\u{1B}[31m"
    case green = "\u{1B}[32m"
    case yellow = "\u{1B}[33m"
    case cyan = "\u{1B}[36m"
  }

  var bytes = WipedBytes(minimumCapacity: 4096)

  /// `WG_COLOR_MODE` always or never; otherwise whether standard output is a terminal.
  private let isColoured: Bool =
    switch environment("WG_COLOR_MODE") {
    case "always": true
    case "never": false
    default: isatty(STDOUT_FILENO) == 1
    }

  mutating func append(_ text: String) {
    bytes.append(text)
  }

  mutating func append(_ styles: Style...) {
    guard isColoured else { return }
    for style in styles { bytes.append(style.rawValue) }
  }

  func print() throws {
    try bytes.print()
  }

  /// What a block is about: 'interface: wgnet'.
  mutating func append(heading kind: String, _ name: String, _ color: Style) {
    append(color, .bold)
    append(kind)
    append(.reset)
    append(": ")
    append(color)
    append(name)
    append(.reset)
  }

  /// The name of a line of a block, up to where its value begins.
  mutating func append(field name: String) {
    append("  ")
    append(.bold)
    append(name)
    append(.reset)
    append(": ")
  }
}
