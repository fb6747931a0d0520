import Foundation

/// How a snapshot is taken: a function of shell asks the tools, all at once since a process costs more than its question;
/// what they answer becomes facts here.
enum SnapshotScript {
  /// Defines `snap FILE`, which writes down what the tools say, and `settle`, which waits until no address is tentative.
  static let function = """
    snap() {
      {
        echo '=== links'; ip -j -d link
        echo '=== addresses'; ip -j addr
        echo '=== routes IPv4'; ip -j -4 route show table all
        echo '=== routes IPv6'; ip -j -6 route show table all
        echo '=== rules IPv4'; ip -4 rule
        echo '=== rules IPv6'; ip -6 rule
        echo '=== firewall'; nft -j list ruleset
        echo '=== sysctl'; grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf
        echo '=== wg'; wg show all dump
        echo '=== resolver'; grep -r . /etc/wireguard/resolver
        echo '=== files'; find /run/wireguard /run/wg6 ! -type d
      } >"$1" 2>/dev/null
    }
    settle() {
      turns=0
      while ip -6 addr show tentative | grep -q . && [ $turns -lt 200 ]; do sleep 0.02; turns=$((turns + 1)); done
      # The process that watches over a tunnel follows its addresses a moment later.
      last= same=0 turns=0
      while [ $same -lt 5 ] && [ $turns -lt 60 ]; do
        now=$(nft list ruleset 2>/dev/null | cksum)
        if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0 last=$now; fi
        sleep 0.05
        turns=$((turns + 1))
      done
    }

    """
}

extension Snapshot {
  /// Reads what `snap` wrote. Throws where a tool's answer is not what it should be.
  init(script text: String) throws {
    self.init()
    let sections = Snapshot.sections(Snapshot.withoutChance(text))
    for (name, body) in sections { facts.formUnion(try Snapshot.facts(name, body)) }
    guard sections.count == 11 else { throw Unreadable(what: "\(sections.count) of 11 sections") }
  }

  struct Unreadable: Error, CustomStringConvertible {
    let what: String
    var description: String { "a snapshot could not be read: \(what)" }
  }

  private static func sections(_ text: String) -> [(String, String)] {
    var sections: [(name: String, body: String)] = []
    for line in text.split(separator: "\n") {
      if line.hasPrefix("=== ") {
        sections.append((String(line.dropFirst(4)), ""))
      } else if !sections.isEmpty {
        sections[sections.count - 1].body += line + "\n"
      }
    }
    return sections
  }

  /// The link-local address that the kernel made up for an interface without one of its own is called `fe80::auto`.
  private static func withoutChance(_ text: String) -> String {
    guard let body = sections(text).first(where: { $0.0 == "addresses" })?.1, let links = try? objects(body) else {
      return text
    }
    var text = text
    for link in links where link["link_type"] as? String == "none" {
      for address in link["addr_info"] as? [[String: Any]] ?? [] {
        let isMadeUp = address["stable-privacy"] as? Bool == true || address["protocol"] as? String == "kernel_ll"
        guard isMadeUp, let own = address["local"] as? String else { continue }
        text = text.replacingOccurrences(of: own, with: "fe80::auto")
      }
    }
    return text
  }

  private static func facts(_ section: String, _ body: String) throws -> [Fact] {
    let lines = body.split(separator: "\n").map(String.init)
    switch section {
    case "links": return try objects(body).flatMap(linkFacts)
    case "addresses": return try objects(body).flatMap(addressFacts)
    case "routes IPv4", "routes IPv6":
      return try objects(body).map { Fact(.route, routeText($0, family: String(section.dropFirst(7)))) }
    case "rules IPv4", "rules IPv6":
      return lines.map { Fact(.rule, section.dropFirst(6) + " " + words(of: $0)) }
    case "firewall": return try FirewallText.facts(body).map { Fact(.firewall, $0) }
    case "sysctl": return lines.compactMap(sysctlFact)
    case "wg": return lines.flatMap(deviceFacts)
    case "resolver": return lines.map { Fact(.resolver, "state " + $0.replacing("/etc/wireguard/resolver/", with: "")) }
    case "files": return lines.map { Fact(.file, $0) }
    default: throw Unreadable(what: "an unknown section \(section)")
    }
  }

  private static func linkFacts(_ link: [String: Any]) -> [Fact] {
    let name = link["ifname"] as? String ?? "?"
    let flags = (link["flags"] as? [String] ?? []).sorted().joined(separator: ",")
    let values = ["mtu", "txqlen", "operstate", "link_type", "inet6_addr_gen_mode"].compactMap { key in
      link[key].map { Fact(.link, "\(name) \(key) \($0)") }
    }
    return values + [Fact(.link, "\(name) flags \(flags)")]
  }

  private static func addressFacts(_ link: [String: Any]) -> [Fact] {
    (link["addr_info"] as? [[String: Any]] ?? []).map { address in
      let flags = address.filter { $0.value as? Bool == true && $0.key != "stable-privacy" }.keys.sorted()
      let more = ["address", "broadcast", "label", "metric"].compactMap { key in address[key].map { "\(key) \($0)" } }
      let words: [String] =
        [
          link["ifname"] as? String ?? "?", "\(address["local"] ?? "?")/\(address["prefixlen"] ?? "?")",
          "scope \(address["scope"] ?? "?")",
        ] + more + flags
      return Fact(.address, words.joined(separator: " "))
    }
  }

  /// As `ip route` has it: everything that it says, in an order of ours.
  private static func routeText(_ route: [String: Any], family: String) -> String {
    let order = ["type", "dst", "gateway", "dev", "table", "protocol", "scope", "metric", "prefsrc"]
    var route = route
    if (route["flags"] as? [Any])?.isEmpty == true { route["flags"] = nil }
    let rest = route.keys.filter { !order.contains($0) && $0 != "pref" }.sorted()
    return family + " "
      + (order + rest).compactMap { key in
        route[key].map { key == "dst" || key == "type" ? "\($0)" : "\(key) \(FirewallText.canonical($0))" }
      }.joined(separator: " ")
  }

  /// The MTU of an interface's IPv6 stands with the interface, and its secret is drawn.
  private static func sysctlFact(_ line: String) -> Fact? {
    let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
    guard parts.count == 2,
      !(parts[0].contains("/ipv6/") && ["/mtu", "/stable_secret"].contains { parts[0].hasSuffix($0) })
    else { return nil }
    return Fact(.sysctl, parts[0].dropFirst("/proc/sys/".count) + " = " + parts[1])
  }

  /// A line of `wg show all dump`: an interface has five columns, a peer nine. Private keys are left out; of a preshared
  /// key there is as much as tells two apart.
  private static func deviceFacts(_ line: String) -> [Fact] {
    let columns = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    guard columns.count >= 5 else { return [Fact(.device, "unreadable: \(line)")] }
    let texts: [String]
    if columns.count == 5 {
      texts = ["public key \(columns[2])", "listen port \(portText(columns[3]))", "fwmark \(columns[4])"]
    } else {
      let peer = "peer \(columns[1].prefix(8))"
      let prefixes = columns[4].split(separator: ",").sorted().joined(separator: " ")
      texts = [
        "\(peer) key \(columns[1])", "\(peer) preshared key \(columns[2].prefix(6))", "\(peer) endpoint \(columns[3])",
        "\(peer) allowed IPs \(prefixes)", "\(peer) keepalive \(columns[8])",
      ]
    }
    return texts.map { Fact(.device, "\(columns[0]) \($0)") }
  }

  /// Files that choose a port choose the usual one; any other in the kernel's range was drawn.
  static func portText(_ port: String) -> String {
    port != "51820" && (Int(port) ?? 0) >= 32_768 ? "drawn" : port
  }

  private static func objects(_ json: String) throws -> [[String: Any]] {
    if json.trimmed.isEmpty { return [] }
    guard let list = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]] else {
      throw Unreadable(what: "not a list: \(json.prefix(80))")
    }
    // `ip` answers a question about nothing with an empty object.
    return list.filter { !$0.isEmpty }
  }

  private static func words(of line: String) -> String {
    line.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }
}

extension Host {
  /// What of this host a tunnel could change, as it is now.
  func snapshot() throws -> Snapshot {
    try Snapshot(script: shell(SnapshotScript.function + "settle\nsnap /dev/stdout").output)
  }
}
