/// The grammar of `set`, as far as a line that is not finished shows it.
struct SetWords {
  static let ofDevice = ["listen-port", "fwmark", "private-key"]
  static let ofPeer = ["remove", "preshared-key", "endpoint", "persistent-keepalive", "allowed-ips"]
  static let all = ofDevice + ["peer"] + ofPeer

  private var interface: String?
  /// The word whose value comes next.
  private var open: String?
  private var isPeer = false
  /// What the device, or the last peer, was given already.
  private var given: Swift.Set<String> = []

  /// Reads the words between `set` and the one that is to come.
  init(_ words: [String]) {
    interface = words.first
    for word in words.dropFirst() {
      if open != nil {
        open = nil
      } else if word == "peer" {
        (open, isPeer, given) = (word, true, [])
      } else if SetWords.all.contains(word) {
        given.insert(word)
        open = word == "remove" ? nil : word
      }
    }
  }

  /// What can come next; `nil` for a file.
  var offer: [Candidate]? {
    guard let interface else { return Candidates.interfaces.map { Candidate(word: $0) } }
    switch open {
    case nil:
      let fitting = (isPeer ? SetWords.ofPeer : SetWords.ofDevice).filter { !given.contains($0) } + ["peer"]
      return fitting.map { Candidate(word: $0) }
    case "private-key", "preshared-key": return nil
    case "peer": return Candidates.peers(of: interface)
    case "fwmark", "persistent-keepalive": return [Candidate(word: "off")]
    default: return []
    }
  }
}
