import WG6Config
import WG6Crypto
import WG6Protocol

/// What a device dropped and why, for people.
struct DropReport: ~Copyable {
  private let book: AddressBook
  private var text = StyledText()

  init(book: AddressBook) {
    self.book = book
  }

  func print() throws {
    try text.print()
  }

  mutating func append(_ status: DeviceStatus, of interface: String) {
    text.append(heading: "interface", interface, .green)
    text.append("\n")
    append(status.drops)
    if status.drops.reasons.isEmpty { text.append("  nothing dropped\n") }
    for peer in status.peers where !peer.drops.reasons.isEmpty {
      text.append("\n")
      text.append(heading: "peer", peer.publicKey.base64, .yellow)
      text.append("\(book.suffix(for: peer.publicKey))\n")
      append(peer.drops)
    }
  }

  private mutating func append(_ drops: DropCounts) {
    for reason in drops.reasons {
      text.append(field: reason.name)
      text.append("\(drops[reason])")
      text.append(.cyan)
      text.append(" (\(reason.explanation))")
      text.append(.reset)
      text.append("\n")
    }
  }
}
