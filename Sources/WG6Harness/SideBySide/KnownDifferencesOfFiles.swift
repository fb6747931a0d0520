/// What one of the two refuses and the other takes, and what hooks and rules of other tunnels see of the difference.
extension KnownDifference {
  static let ofFiles: [KnownDifference] = [
    outcome(
      "a file without `[Interface]`, as an empty one", "is a tunnel without key, addresses and peers", "refuses it",
      "it is a file that was not written yet, or was cut short", onlyUpIn: .wgQuick
    ) { !$0.text.lowercased().contains("interface") && !$0.text.contains("\0") },
    outcome(
      "values of `Table` in capitals, as `AUTO`", "refuses them, although keys may be in capitals", "takes them",
      "what may be written in any case may be so everywhere", onlyUpIn: .wg6
    ) { ["AUTO", "OFF"].contains($0.value(of: "Table")) },
    outcome(
      "`yes`, `no`, `on` and `off` for `SaveConfig`; `no` and `false` for `off` in other keys", "refuses them",
      "takes them, and `export` writes the word that wg-quick knows", "a word means the same in every key",
      onlyUpIn: .wg6
    ) { $0.value(of: "SaveConfig") == "no" || $0.value(of: "FwMark") == "no" },
    outcome(
      "blanks inside of a section's name, as `[ Interface ]`",
      "does not see the section, and `wg setconf` refuses `Address` in it", "reads it as `wg setconf` does",
      "it is clear what is meant", onlyUpIn: .wg6
    ) { $0.text.hasPrefix("[ Interface ]") },
    outcome(
      "a byte order mark", "does not see the first section behind it", "skips it", "editors of Windows write it",
      onlyUpIn: .wg6
    ) { $0.text.unicodeScalars.first == "\u{FEFF}" },
    outcome(
      "UTF-16 without a mark", "reads it without its NUL bytes", "refuses it, and says what it is",
      "other than in ASCII, the file would mean something else", onlyUpIn: .wgQuick
    ) { $0.text.contains("\0") },
    outcome(
      "an endpoint's name that does not resolve", "gives up after fifteen times, and takes the interface away",
      "comes up without the endpoint, and goes on asking; with `KillSwitch` it gives up too",
      "a tunnel at boot may be there before the DNS is", onlyUpIn: .wg6
    ) { $0.text.contains("Endpoint = nobody.example:") },
    outcome(
      "commands in a file that others than root can write", "runs them",
      "refuses the file, or comes up with `--no-hooks`",
      "they would be others' commands, run by root", onlyUpIn: .wgQuick
    ) { $0.mode == "666" },
    outcome(
      "an IPv4 endpoint of fewer than four numbers, as `203.0.1281`", "reads it as `203.0.5.1`", "refuses it",
      "it is most often a slip; four numbers with zeros before them are octal in both", onlyUpIn: .wgQuick
    ) { $0.text.contains("Endpoint = 203.0.1281:") },
    outcome(
      "in `DNS`, what is neither an address nor a domain, as `10.66.0.1:53`", "hands it to `resolvconf`", "refuses it",
      "no resolver understands it", onlyUpIn: .wgQuick
    ) { ["10.66.0.1:53", "10.66.0.1, a/b"].contains($0.value(of: "DNS")) },
    outcome(
      "a peer with the interface's own key", "leaves the peer out without a word", "refuses the file",
      "it is the wrong machine's key", onlyUpIn: .wgQuick
    ) { $0.text.contains(QuickCase.ownPublicKey) },
    outcome(
      "the unspecified address, or one of multicast, as `Address`", "gives it to the interface", "refuses it",
      "nothing can be sent from it", onlyUpIn: .wgQuick
    ) { ["0.0.0.0/8", "224.0.0.1/32"].contains($0.value(of: "Address")) },
    outcome(
      "a `+` or `=` in the interface's name, with a default route", "fails, as `nft` refuses the name of its table",
      "comes up", "the name is allowed", onlyUpIn: .wg6
    ) { $0.interface.contains("+") && $0.text.contains("/0\n") },
    ofHooks, rulesOfOthers,
  ]

  private static let ofHooks = KnownDifference(
    name: "variables of wg-quick's script that hooks see: `WG_CONFIG`, and functions but for `cmd` and `die`",
    wgQuick: "are there: `WG_CONFIG` has the private key in it", wg6: "`WG_CONFIG` is empty; all others are there",
    reason: "no shell needs to have the key, and functions of a script are no interface"
  ) { quick, difference in
    guard quick.text.contains("$WG_CONFIG") else { return }
    let (theirs, ours) = (Fact(.hook, "1. 1"), Fact(.hook, "1. 0"))
    guard difference.left == [theirs], difference.right == [ours] else { return }
    difference.left = []
    difference.right = []
  }

  private static let rulesOfOthers = KnownDifference(
    name: "the rule `from all lookup main suppress_prefixlength 0` of another tunnel, at `down`",
    wgQuick: "is removed too",
    wg6: "stays", reason: "the other tunnel needs it",
    explain: { _, difference in
      difference.left = difference.left.filter { fact in
        fact.area != .rule || !fact.text.hasSuffix(": from all lookup main suppress_prefixlength 0")
      }
    }, isOfDown: true)

  private enum Side { case wgQuick, wg6 }

  /// A kind of file that comes up in one of the two alone.
  private static func outcome(
    _ name: String, _ wgQuick: String, _ wg6: String, _ reason: String, onlyUpIn side: Side,
    when isAbout: @escaping @Sendable (QuickCase) -> Bool
  ) -> KnownDifference {
    KnownDifference(name: name, wgQuick: wgQuick, wg6: wg6, reason: reason) { quick, difference in
      guard isAbout(quick) else { return }
      let fails: Set = [Fact(.outcome, "up fails")]
      let succeeds: Set = [Fact(.outcome, "up succeeds"), Fact(.outcome, "down succeeds")]
      let expected = side == .wg6 ? (fails, succeeds) : (succeeds, fails)
      guard (difference.left, difference.right) == expected else { return }
      difference.left = []
      difference.right = []
    }
  }
}

extension QuickCase {
  /// What stands behind the first `key = `.
  fileprivate func value(of key: String) -> String {
    let head = "\(key) = "
    return text.split(separator: "\n").first { $0.hasPrefix(head) }.map { String($0.dropFirst(head.count)) } ?? ""
  }
}
