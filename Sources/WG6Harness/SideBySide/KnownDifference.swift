import Foundation

/// A way in which wg6 does not do what wg-quick does, on purpose. All of them stand in docs/wg-quick.md; what is not one of
/// them fails the scenario.
struct KnownDifference: Sendable {
  /// What it is about.
  let name: String
  let wgQuick: String
  let wg6: String
  let reason: String
  /// Takes the facts that it is the reason of out of the difference, and only those.
  let explain: @Sendable (QuickCase, inout Difference) -> Void
  /// Whether it is about what stays after `down`: then `left` is before, and `right` after wg-quick's.
  var isOfDown = false

  /// In the order of the documentation.
  static let all: [KnownDifference] =
    [
      protocolNumber, mtu, endpointRoutes, marks, spoofGuard, autoconfiguration, emptyAllowedIPs, failingPreDown,
      savedLinkLocal,
      savedSearchDomains, validMark,
    ] + ofFiles

  /// Takes out all that is known about a tunnel that is up. Returns the names of what was.
  static func explain(_ difference: inout Difference, of quick: QuickCase) -> [String] {
    all.filter { !$0.isOfDown }.filter { known in
      let before = difference.left.count + difference.right.count
      known.explain(quick, &difference)
      return difference.left.count + difference.right.count < before
    }.map(\.name)
  }

  /// The same for what wg-quick leaves behind.
  static func explainRemains(_ difference: inout Difference) -> [String] {
    all.filter(\.isOfDown).filter { known in
      let before = difference.left.count + difference.right.count
      known.explain(QuickCase(""), &difference)
      return difference.left.count + difference.right.count < before
    }.map(\.name)
  }

  /// As it stands in the documentation.
  static var table: String {
    let head = "| what | wg-quick | wg6 | why |\n|---|---|---|---|\n"
    return head + all.map { "| \($0.name) | \($0.wgQuick) | \($0.wg6) | \($0.reason) |\n" }.joined()
  }

  static let protocolNumber = KnownDifference(
    name: "who made a route or a rule (`ip route`, `ip rule`)",
    wgQuick: "protocol `boot`, as any script's",
    wg6: "protocol 108",
    reason: "network managers and people can tell wg6's from others, and leave them alone"
  ) { _, difference in
    let own = difference.right.filter { fact in
      fact.area == .route && fact.text.contains(" protocol 108")
        || fact.area == .rule && fact.text.contains(" proto 108")
    }
    let plain = own.map {
      Fact($0.area, $0.text.replacing(" protocol 108", with: "").replacing(" proto 108", with: ""))
    }
    difference.right.subtract(own)
    // What is not wg-quick's but for that stays a difference.
    difference.right.formUnion(Set(plain).subtracting(difference.left))
    difference.left.subtract(plain)
  }

  static let mtu = KnownDifference(
    name: "MTU without `MTU =`",
    wgQuick: "80 bytes less than the largest of the endpoints' routes takes",
    wg6: "60 bytes less for an IPv4 endpoint, 80 for an IPv6 one; the smallest of the endpoints wins",
    reason: "an IPv4 header is 20 bytes shorter; and the largest would be too large for the other endpoints"
  ) { quick, difference in
    guard let wanted = quick.mtu else { return }
    let ours = Fact(.link, "\(quick.interface) mtu \(wanted)")
    guard difference.right.contains(ours) else { return }
    difference.right.remove(ours)
    difference.left = difference.left.filter { !($0.area == .link && $0.text.hasPrefix("\(quick.interface) mtu ")) }
  }

  static let endpointRoutes = KnownDifference(
    name: "an endpoint inside its peer's allowed IPs, no default route",
    wgQuick: "has the route in the main table, so that the tunnel's own packets go into the tunnel",
    wg6:
      "has the route in a table of its own, past which a mark and two rules lead the tunnel's own packets, as wg-quick's "
      + "past a default route",
    reason:
      "such a tunnel does not work; and without a route to that address, a forged name would lead a host out of the "
      + "tunnel"
  ) { quick, difference in
    // The first mark, and the table that goes with it.
    let mark = "0xca6c", number = 51820, table = 51820 ^ 0x4000_0000
    let theirs = difference.left.compactMap { InterfaceRoute($0) }.filter { route in
      quick.endpoints.contains { route.prefix.contains($0) }
    }
    guard !theirs.isEmpty else { return }
    var ours: Set<Fact> = [Fact(.device, "\(quick.interface) fwmark \(mark)")]
    for route in theirs {
      let (family, length) = (route.prefix.isIPv6 ? "IPv6" : "IPv4", route.prefix.length)
      ours.insert(
        Fact(
          .route, route.fact.text.replacing("dev \(quick.interface) ", with: "dev \(quick.interface) table \(table) ")))
      let destination = route.fact.text.split(separator: " ")[1]
      for rule in [
        "from all to \(destination) lookup main suppress_prefixlength \(length)",
        "not from all fwmark \(mark) lookup \(table) suppress_prefixlength \(length - 1)",
      ] {
        let own = difference.right.filter {
          $0.area == .rule && $0.text.hasPrefix(family) && $0.text.hasSuffix(": " + rule)
        }
        guard own.count == 1 else { return }
        ours.formUnion(own)
      }
      if !route.prefix.isIPv6 { ours.insert(Fact(.sysctl, "net/ipv4/conf/all/src_valid_mark = 1")) }
    }
    for family in ["ip", "ip6"] {
      ours.insert(
        Fact(
          .firewall, "\(family) filter postrouting -150: meta l4proto udp, meta mark \(number), ct mark set \(number)"))
      ours.insert(
        Fact(
          .firewall, "\(family) filter prerouting -150: meta l4proto udp, ct mark \(number), meta mark set \(number)"))
    }
    guard difference.right.isSuperset(of: ours) else { return }
    difference.right.subtract(ours)
    difference.right = difference.right.filter { !$0.marksWhatIsUnasked(with: "\(number)") }
    difference.left.subtract(theirs.map(\.fact))
    difference.left.remove(Fact(.device, "\(quick.interface) fwmark off"))
    difference.left.remove(Fact(.sysctl, "net/ipv4/conf/all/src_valid_mark = 0"))
  }

  static let marks = KnownDifference(
    name: "marks kept in conntrack, with a default route",
    wgQuick: "gives every incoming UDP packet the mark of its flow, most often 0",
    wg6:
      "gives the tunnel's mark to packets of flows that have it and to datagrams for its socket, of both families, and "
      + "leaves other marks alone",
    reason:
      "the marks of other programs' flows are theirs; and a strict reverse path filter drops the first datagram from a "
      + "peer's new address"
  ) { quick, difference in
    guard let mark = difference.left.firewallMark else { return }
    for family in ["ip", "ip6"] {
      // wg-quick has them for families with a default route; the tunnel's own packets may be of the other one.
      let theirs = [
        "\(family) filter postrouting -150: meta l4proto udp, meta mark \(mark), ct mark set meta mark",
        "\(family) filter prerouting -150: meta l4proto udp, meta mark set ct mark",
      ]
      let ours = [
        "\(family) filter postrouting -150: meta l4proto udp, meta mark \(mark), ct mark set \(mark)",
        "\(family) filter prerouting -150: meta l4proto udp, ct mark \(mark), meta mark set \(mark)",
      ]
      let all = ours.map { Fact(.firewall, $0) }
      guard difference.right.isSuperset(of: all) else { continue }
      difference.right.subtract(all)
      difference.left.subtract(theirs.map { Fact(.firewall, $0) })
    }
    difference.right = difference.right.filter { !$0.marksWhatIsUnasked(with: mark) }
  }

  static let spoofGuard = KnownDifference(
    name: "the guard against forged packets",
    wgQuick:
      "with a default route, drops packets to the interface's addresses that come from elsewhere, unless from an "
      + "address of this machine",
    wg6: "drops them in every tunnel, whatever address they come from, and so it does packets from addresses that are "
      + "routed through the tunnel; leaves link-local IPv6 addresses alone, which other links may have as well; takes no "
      + "IPv4 redirects out of the tunnel; `SpoofGuard = no` turns it off",
    reason:
      "a neighbour on the uplink reaches the inside of a split tunnel as well, and IPv6 takes forged packets from a "
      + "machine's own addresses"
  ) { quick, difference in
    let places = [" prerouting -300: ", " prerouting -145: ", " chain forged: "]
    let ours = difference.right.filter { fact in fact.area == .firewall && places.contains { fact.text.contains($0) } }
    // What wg-quick guards must be guarded here.
    difference.left = difference.left.filter { fact in
      guard fact.area == .firewall, fact.text.hasSuffix(", fib [saddr] type != local, drop") else { return true }
      let condition = fact.text.split(separator: ", ").first { $0.contains(" daddr ") } ?? "nothing"
      // The guard takes an address for the interface's own also where the interface was renamed, if it can tell.
      let drops = ["", ", fib [daddr iif] type != local"].map { " prerouting -300: \(condition)\($0), drop" }
      return !ours.contains { fact in drops.contains { fact.text.hasSuffix($0) } }
    }
    difference.right.subtract(ours)
  }

  static let autoconfiguration = KnownDifference(
    name: "what the kernel configures on the interface by itself, or at the word of a peer",
    wgQuick: "a link-local address, which it guards against forged packets; with `wireguard-go`, what router "
      + "advertisements and redirects say",
    wg6: "nothing: no address but those of the file, `accept_ra`, `accept_redirects` and `send_redirects` are 0",
    reason: "a peer is no router of this machine; the kernel's WireGuard makes no such address either"
  ) { quick, difference in
    let interface = quick.interface
    difference.left.remove(
      Fact(
        .firewall,
        "ip6 filter prerouting -300: meta iifname != \(interface), ip6 daddr fe80::auto, fib [saddr] type != local, drop"
      ))
    let network = "IPv6 fe80::/64 dev \(interface) "
    let own = difference.left.filter { fact in
      [.address, .route].contains(fact.area)
        && ["\(interface) fe80::auto/64 ", "IPv6 local fe80::auto dev \(interface) ", network].contains {
          fact.text.hasPrefix($0)
        }
    }
    difference.left.subtract(own)
    // Where the file wants a route to the network of that address, wg-quick finds it there.
    if own.contains(where: { $0.text.hasPrefix(network) }) {
      difference.right = difference.right.filter { $0.area != .route || !$0.text.hasPrefix(network) }
    }
    // What it is with wireguard-go is the machine's own default, and ours takes its place.
    let settings = [
      ("ipv4", "accept_redirects", "0"), ("ipv4", "send_redirects", "0"), ("ipv6", "accept_ra", "0"),
      ("ipv6", "accept_redirects", "0"), ("ipv6", "addr_gen_mode", "1"),
    ]
    for (family, name, value) in settings {
      let head = "net/\(family)/conf/\(interface)/\(name) = "
      guard difference.right.remove(Fact(.sysctl, head + value)) != nil else { continue }
      difference.left = difference.left.filter { $0.area != .sysctl || !$0.text.hasPrefix(head) }
    }
    if difference.right.remove(Fact(.link, "\(interface) inet6_addr_gen_mode none")) != nil {
      difference.left = difference.left.filter {
        $0.area != .link || !$0.text.hasPrefix("\(interface) inet6_addr_gen_mode ")
      }
    }
  }

  static let emptyAllowedIPs = KnownDifference(
    name: "`AllowedIPs =` with nothing behind it",
    wgQuick: "refuses the file, as `wg setconf` does",
    wg6: "is a peer without allowed IPs, as with `wg set … allowed-ips \"\"`",
    reason: "a peer that nothing is routed to is no mistake"
  ) { quick, difference in
    let (failed, succeeded) = (Fact(.outcome, "up fails"), Fact(.outcome, "up succeeds"))
    guard quick.text.contains("AllowedIPs =\n"), difference.left == [failed], difference.right.contains(succeeded)
    else {
      return
    }
    difference.left = []
    difference.right.subtract([succeeded, Fact(.outcome, "down succeeds")])
  }

  static let failingPreDown = KnownDifference(
    name: "a `PreDown` that fails",
    wgQuick: "ends `down`; the tunnel stays up",
    wg6: "warns, and takes the tunnel down",
    reason: "who says `down` wants the tunnel gone, and it must not stay half-way"
  ) { quick, difference in
    let (failed, succeeded) = (Fact(.outcome, "down fails"), Fact(.outcome, "down succeeds"))
    guard quick.text.contains("PreDown = false"), difference.left == [failed], difference.right.contains(succeeded)
    else {
      return
    }
    difference.left = []
    // What comes after it is then done too.
    difference.right = difference.right.filter { $0 != succeeded && $0.area != .hook }
  }

  static let savedLinkLocal = KnownDifference(
    name: "`SaveConfig` and the interface's automatic link-local address",
    wgQuick: "writes it into the file as an `Address`",
    wg6: "has none to write",
    reason: "the kernel makes another one the next time, and the old ones would gather"
  ) { _, difference in
    difference.left.remove(Fact(.saved, "[Interface] Address = fe80::auto"))
  }

  static let savedSearchDomains = KnownDifference(
    name: "`SaveConfig` and search domains",
    wgQuick: "forgets them",
    wg6: "writes them, as it does servers",
    reason: "the file should bring up the same tunnel the next time"
  ) { quick, difference in
    difference.right = difference.right.filter { fact in
      guard fact.area == .saved, let domain = fact.text.split(separator: " ").last else { return true }
      return
        !(fact.text.hasPrefix("[Interface] DNS = ") && Prefix(domain) == nil && quick.text.contains(", \(domain)\n"))
    }
  }

  static let validMark = KnownDifference(
    name: "`net.ipv4.conf.all.src_valid_mark` after `down`, or after an `up` that failed",
    wgQuick: "stays 1",
    wg6: "is what it was before `up`",
    reason: "`down` takes back what `up` did",
    explain: { _, difference in
      difference.left.remove(Fact(.sysctl, "net/ipv4/conf/all/src_valid_mark = 0"))
      difference.right.remove(Fact(.sysctl, "net/ipv4/conf/all/src_valid_mark = 1"))
    }, isOfDown: true)
}

extension Fact {
  /// Whether it is a rule that marks datagrams for the tunnel's socket, or ARP requests, that a peer sends unasked.
  fileprivate func marksWhatIsUnasked(with mark: String) -> Bool {
    guard area == .firewall, text.hasSuffix(", meta mark set \(mark)") else { return false }
    return text.contains(" filter prerouting -150: ") && text.contains("socket")
      || text.hasPrefix("arp filter input 0: ")
  }
}

extension Set<Fact> {
  /// The mark that wg-quick's rule of a firewall looks for.
  fileprivate var firewallMark: String? {
    lazy.filter { $0.area == .firewall }.compactMap { fact in
      fact.text.split(separator: ", ").first { $0.hasPrefix("meta mark ") && !$0.contains("set") }?
        .split(separator: " ").last.map(String.init)
    }.first
  }
}

/// A route into the tunnel, read from a snapshot's fact: `IPv4 10.70.0.0/16 dev wgq protocol boot …`.
private struct InterfaceRoute {
  let fact: Fact
  let prefix: Prefix

  init?(_ fact: Fact) {
    let words = fact.text.split(separator: " ", maxSplits: 2)
    guard fact.area == .route, words.count == 3, words[2].hasPrefix("dev \(QuickCase.interface) "),
      let prefix = Prefix(words[1], isIPv6: words[0] == "IPv6")
    else { return nil }
    self.fact = fact
    self.prefix = prefix
  }
}
