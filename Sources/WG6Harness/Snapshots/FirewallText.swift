import Foundation

/// The rules of `nft -j list ruleset` as what they do: one line a rule and address family, whatever the tables and chains
/// are called, and whether a set or several rules say it.
enum FirewallText {
  /// Sorted. A rule of an `inet` table counts for the family that it looks into, or for both.
  static func facts(_ json: String) throws -> [String] {
    if json.trimmed.isEmpty { return [] }
    guard let ruleset = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any],
      let entries = ruleset["nftables"] as? [[String: Any]]
    else { throw Snapshot.Unreadable(what: "not a ruleset: \(json.prefix(80))") }

    var places: [String: String] = [:]
    var sets: [String: [String]] = [:]
    var facts: Set<String> = []
    for entry in entries {
      if let chain = entry["chain"] as? [String: Any] {
        let place = place(of: chain)
        places[path(chain, "name")] = place
        if let policy = chain["policy"] as? String, policy != "accept" { facts.insert("\(place): policy \(policy)") }
      } else if let set = entry["set"] as? [String: Any] {
        sets[path(set, "name")] = (set["elem"] as? [Any] ?? []).map(canonical)
      }
    }
    for entry in entries {
      guard let rule = entry["rule"] as? [String: Any] else { continue }
      let table = "\(rule["family"] ?? "") \(rule["table"] ?? "")"
      let expressions = rule["expr"] as? [[String: Any]] ?? []
      let place = places[path(rule, "chain")] ?? "nowhere"
      for family in families(of: rule["family"] as? String ?? "", expressions) {
        for words in alternatives(expressions, sets: { sets["\(table) \($0)"] ?? [] }) {
          facts.insert("\(family) \(place): \(words.joined(separator: ", "))")
        }
      }
    }
    return facts.sorted()
  }

  /// A piece of JSON as text that is the same for the same content.
  static func canonical(_ value: Any) -> String {
    switch value {
    case let text as String: return text
    case let list as [Any]: return "[" + list.map(canonical).joined(separator: " ") + "]"
    case let object as [String: Any]:
      if let prefix = object["prefix"] as? [String: Any] { return "\(prefix["addr"] ?? "")/\(prefix["len"] ?? "")" }
      if let meta = object["meta"] as? [String: Any] { return "meta \(meta["key"] ?? "")" }
      if let mark = object["ct"] as? [String: Any] { return "ct \(mark["key"] ?? "")" }
      if let payload = object["payload"] as? [String: Any], let field = payload["field"] {
        return "\(payload["protocol"] ?? "") \(field)"
      }
      if let fib = object["fib"] as? [String: Any] {
        return "fib \(canonical(fib["flags"] ?? "")) \(fib["result"] ?? "")"
      }
      return "{" + object.keys.sorted().map { "\($0) \(canonical(object[$0]!))" }.joined(separator: " ") + "}"
    case is NSNull: return ""
    default: return "\(value)"
    }
  }

  private static func path(_ entry: [String: Any], _ name: String) -> String {
    "\(entry["family"] ?? "") \(entry["table"] ?? "") \(entry[name] ?? "")"
  }

  /// Where a chain stands in a packet's way; one without a hook is known by its name.
  private static func place(of chain: [String: Any]) -> String {
    guard let hook = chain["hook"] else { return "chain \(chain["name"] ?? "")" }
    return "\(chain["type"] ?? "") \(hook) \(chain["prio"] ?? "")"
  }

  private static func families(of table: String, _ expressions: [[String: Any]]) -> [String] {
    guard table == "inet" else { return [table] }
    let text = expressions.filter { $0["match"] != nil }.map(canonical).joined(separator: " ")
    if text.contains("left ip ") || text.contains("meta nfproto op == right ipv4") { return ["ip"] }
    if text.contains("left ip6 ") || text.contains("meta nfproto op == right ipv6") { return ["ip6"] }
    return ["ip", "ip6"]
  }

  /// A rule's expressions as words, once for each way in which its sets can be met.
  private static func alternatives(_ expressions: [[String: Any]], sets: (String) -> [String]) -> [[String]] {
    var ways: [[String]] = [[]]
    for expression in expressions {
      let options = options(of: expression, sets: sets)
      if !options.isEmpty { ways = ways.flatMap { way in options.map { way + [$0] } } }
    }
    return ways
  }

  /// What one expression says; nothing where it only counts, or names the family that the line begins with.
  private static func options(of expression: [String: Any], sets: (String) -> [String]) -> [String] {
    if let match = expression["match"] as? [String: Any] {
      let left = canonical(match["left"] ?? ""), compared = match["op"] as? String ?? ""
      if left == "meta nfproto" { return [] }
      var right = [canonical(match["right"] ?? "")]
      if let set = (match["right"] as? [String: Any])?["set"] as? [Any] { right = set.map(canonical) }
      if let name = match["right"] as? String, name.hasPrefix("@") { right = sets(String(name.dropFirst())) }
      // "None of them" is one condition; "one of them" is a way each.
      if compared == "!=" { right = [right.sorted().joined(separator: " or ")] }
      return right.map { "\(left) \(compared == "==" || compared == "in" ? "" : compared + " ")\($0)" }
    }
    if let mangle = expression["mangle"] as? [String: Any] {
      return ["\(canonical(mangle["key"] ?? "")) set \(canonical(mangle["value"] ?? ""))"]
    }
    if expression["counter"] != nil { return [] }
    return expression.keys.sorted().map { ($0 + " " + canonical(expression[$0]!)).trimmed }
  }
}
