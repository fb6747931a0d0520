import Glibc

/// The command that openresolv and Debian's resolvconf share, used as wg-quick uses it.
struct Resolvconf {
  let machine: ResolverSurroundings

  init(_ machine: ResolverSurroundings) {
    self.machine = machine
  }

  /// Before every other interface (`-m 0`), and alone where it can be (`-x`); Debian's resolvconf minds neither.
  func apply(_ request: ResolverRequest, to interface: String) throws(ResolverError) {
    var text = request.servers.map { "nameserver \($0)\n" }.joined()
    if !request.searchDomains.isEmpty { text += "search \(request.searchDomains.joined(separator: " "))\n" }
    try machine.run("resolvconf", ["-a", record(of: interface), "-m", "0", "-x"], input: text)
  }

  func revert(_ interface: String) throws(ResolverError) {
    try machine.run("resolvconf", ["-d", record(of: interface), "-f"])
  }

  /// Under which name it keeps what is said of an interface: one that Debian's resolvconf ranks as high as a tunnel's.
  private func record(of interface: String) -> String {
    let order = unsafe open(machine.interfaceOrder, O_RDONLY | O_CLOEXEC)
    return order < 0 ? interface : Resolvconf.prefix(inOrder: OwnedDescriptor(order).text()) + interface
  }

  /// What the first pattern of letters, digits and hyphens before an asterisk stands for: `tun*` gives `tun.`.
  static func prefix(inOrder text: String) -> String {
    for line in text.split(separator: "\n") {
      let words = line.split { $0 == " " || $0 == "\t" }
      guard words.count == 1, let name = words.first?.dropLast(), words[0].hasSuffix("*"), !name.isEmpty,
        name.utf8.allSatisfy(isLetterDigitOrHyphen)
      else { continue }
      return "\(name)."
    }
    return ""
  }

  private static func isLetterDigitOrHyphen(_ character: UInt8) -> Bool {
    switch character {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
      true
    default: false
    }
  }
}
