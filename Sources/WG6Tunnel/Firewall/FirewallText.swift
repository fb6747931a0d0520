import WG6Config
import WG6Protocol

/// Rules as words of a journal, all but the interface, which is the journal's.
extension FirewallRules {
  var journalText: String {
    var words: [String] = []
    func add(_ name: String, _ values: [String]) { words.append("\(name)=\(values.joined(separator: ","))") }
    if let mark { add("mark", ["\(mark)"]) }
    if let formerMark { add("former", ["\(formerMark)"]) }
    if !guardedAddresses.isEmpty { add("guard", guardedAddresses.map { "\($0)" }) }
    if !guardedSources.isEmpty { add("sources", guardedSources.map { "\($0)" }) }
    if !sharers.isEmpty { add("sharers", sharers.map { "\($0.address)/\($0.interface)" }) }
    if savesMarks { words.append("marks") }
    if clampsMSS { words.append("clamp") }
    if let killSwitch {
      add("covered", killSwitch.covered.map { "\($0)" })
      if !killSwitch.networks.isEmpty { add("networks", killSwitch.networks.map { "\($0)" }) }
      if killSwitch.lan != .closed { add("opens", [killSwitch.lan.rawValue]) }
    }
    // An interface's name has neither a slash nor a comma.
    if !others.isEmpty { add("others", others.map { "\($0.mark)/\($0.interface)" }) }
    return words.joined(separator: " ")
  }

  /// `nil` for words that say something else.
  init?(journalText: some StringProtocol) {
    self.init(interface: "")
    for word in String(journalText).split(separator: " ") {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let values = parts.count > 1 ? parts[1].split(separator: ",").map(String.init) : []
      func all<Value>(_ read: (String) -> Value?) -> [Value]? {
        let found = values.compactMap(read)
        return found.count == values.count ? found : nil
      }
      switch parts[0] {
      case "mark": mark = values.first.flatMap { UInt32($0) }
      case "former": formerMark = values.first.flatMap { UInt32($0) }
      case "guard":
        guard let addresses = all({ IPAddress($0) }) else { return nil }
        guardedAddresses = addresses
      case "sources":
        guard let prefixes = all({ IPPrefix($0) }) else { return nil }
        guardedSources = prefixes
      case "sharers":
        guard let sharers = all(Sharer.init(journalText:)) else { return nil }
        self.sharers = sharers
      case "marks": savesMarks = true
      case "clamp": clampsMSS = true
      case "covered":
        guard let prefixes = all({ IPPrefix($0) }) else { return nil }
        killSwitch = KillSwitchRules(covered: prefixes)
      case "networks":
        guard let prefixes = all({ IPPrefix($0) }) else { return nil }
        killSwitch?.networks = prefixes
      case "opens":
        guard let lan = values.first.flatMap(KillSwitchRules.LAN.init) else { return nil }
        killSwitch?.lan = lan
      case "others":
        guard let tunnels = all(OtherTunnel.init(journalText:)) else { return nil }
        others = tunnels
      default: return nil
      }
    }
  }
}

extension Sharer {
  fileprivate init?(journalText: String) {
    let parts = journalText.split(separator: "/", maxSplits: 1)
    guard parts.count == 2, let address = IPAddress(String(parts[0])) else { return nil }
    self.init(address: address, interface: String(parts[1]))
  }
}

extension OtherTunnel {
  fileprivate init?(journalText: String) {
    let parts = journalText.split(separator: "/", maxSplits: 1)
    guard parts.count == 2, let mark = UInt32(parts[0]) else { return nil }
    self.init(interface: String(parts[1]), mark: mark)
  }
}
