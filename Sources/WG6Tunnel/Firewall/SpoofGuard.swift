import WG6Config
import WG6Linux
import WG6Protocol

/// The guard against forged packets: what only the tunnel may bring is dropped where it comes by another interface.
///
/// That is a packet to an address of the interface, and one from an address that is routed through the tunnel. Where a packet
/// comes from is decided by the kernel's own routes, so what `wg set`, other tunnels and other programs change counts at
/// once, and a network that is reached by a longer prefix stays what it is. Rules that ask for a packet's mark are asked with
/// the mark that it has at that point (`. mark`); rules that ask where it comes from are not, since they are about questions and
/// this is about where answers go. A default route would make every source one of
/// the tunnel's: in its family only the sources in other prefixes are looked at.
extension FirewallRules {
  /// All chains and sets that the guard may have.
  static let chainsOfGuard = ["spoof-guard", "source-guard", "forged"]
  static let setsOfGuard = [("routed4", "ipv4_addr"), ("routed6", "ipv6_addr")].map { (name: $0.0, type: $0.1) }

  var hasGuard: Bool { !guardedAddresses.isEmpty || !guardedSources.isEmpty }

  /// Sets and chains: addresses are looked at before all else but the reassembly of fragments; sources when answers to
  /// marked packets have got their marks again.
  ///
  /// A packet on the loopback is this machine's own; its addresses prove nothing, since IPv6 takes packets from its own
  /// addresses on any interface. What comes out of a virtual router (VRF) went in by an interface that was looked at.
  /// Redirects are no peer's business (`Autoconfiguration`): IPv4's are taken as long as `net.ipv4.conf.all` says so.
  var spoofGuard: String {
    let addresses = [false, true].map { addressRules(isIPv6: $0) + groupRules(isIPv6: $0) }.joined()
    let sources = [false, true].map { sourceRule(isIPv6: $0) }.joined()
    return """
        chain spoof-guard {
          type filter hook prerouting priority -300; policy accept;
          iifname \(quotedInterface) icmp type redirect drop
          iifname { "lo", \(quotedInterface) } accept
          meta iifkind "vrf" accept
      \(addresses)  }
      \(sources.isEmpty ? "" : sourceGuard(sources))
      """
  }

  /// Puts other rules into the guard's chains, in one transaction, in a table that has them, and touches nothing else in it:
  /// sets that are made anew may be empty for a moment, which opens a kill switch to what they keep in.
  var guardReplacement: String {
    var (flushed, added) = ([String](), [String]())
    var chain: Substring?
    for line in spoofGuard.split(separator: "\n") {
      let words = line.split(separator: " ")
      if line.hasPrefix("  chain ") {
        chain = words[1]
        flushed.append("flush chain inet \(tableName) \(words[1])\n")
      } else if line == "  }" {
        chain = nil
      } else if let chain, words.first != "type" {
        added.append("add rule inet \(tableName) \(chain) \(words.joined(separator: " "))\n")
      }
    }
    return (flushed + added).joined()
  }

  /// What comes from such a source by another interface and is no forgery: answers to the tunnel's own datagrams, and to
  /// programs that bypass the tunnel; a DHCP server's; ICMP errors of routers on ways past the tunnel, which can't be told
  /// from errors of routers elsewhere; and neighbours on the link, which no router has forwarded (RFC 4861 §11.2), as none does
  /// what is for groups of that scope (RFC 5771 §4, RFC 4291 §2.7): an endpoint there may be among the allowed IPs. A peer
  /// that moves sends to a socket of this machine that it has not heard from yet.
  private func sourceGuard(_ rules: String) -> String {
    let marks = [mark, formerMark, ExecutionMark.outside(of: interface)].compactMap { $0 }.map { "\($0)" }
    let own = "{ \(marks.joined(separator: ", ")) }"
    return """
      \(routedSets)  chain forged {
          meta mark \(own) accept
          fib daddr type local socket mark \(own) accept
          udp sport 67 udp dport 68 accept
          udp sport 547 udp dport 546 accept
          icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
          icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
          icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
          ip daddr 224.0.0.0/24 accept
          ip6 daddr ff02::/16 accept
          drop
        }
        chain source-guard {
          type filter hook prerouting priority -145; policy accept;
          iifname { "lo", \(quotedInterface) } accept
          meta iifkind "vrf" accept
      \(rules)  }

      """
  }

  /// To the interface's addresses, and from them. The kernel knows which interface has an address, also if that was renamed;
  /// where a filter can't ask it, the name alone counts. An address that another interface has too comes by that one as well.
  /// A link-local address of IPv6 is each link's own: what comes by another one is for, and from, another machine.
  private func addressRules(isIPv6: Bool) -> String {
    let field = isIPv6 ? "ip6" : "ip"
    let shared = Dictionary(grouping: sharers, by: \.address)
    let own = guardedAddresses.filter { $0.isIPv6 == isIPv6 && !$0.isLinkLocal }
    let alone = own.filter { shared[$0] == nil }.map(\.filterText)
    let elsewhere = guardedSources.isEmpty ? "" : "fib daddr . iif type != local "
    var rules = ""
    if !alone.isEmpty {
      let all = "{ \(alone.joined(separator: ", ")) }"
      rules = "    \(field) daddr \(all) \(elsewhere)drop\n    \(field) saddr \(all) drop\n"
    }
    for address in own {
      guard let names = shared[address]?.map({ "\"\($0.interface)\"" }).joined(separator: ", ") else { continue }
      let drop = "\(address.filterText) iifname != { \(names) } drop\n"
      rules += "    \(field) daddr \(drop)    \(field) saddr \(drop)"
    }
    return rules
  }

  /// To the addresses that the kernel takes for the interface's network. On a kernel where the network's own address is not
  /// one of them, that is a host's.
  private func groupRules(isIPv6: Bool) -> String {
    let shared = Dictionary(grouping: sharers, by: \.address)
    let condition =
      isIPv6 || guardedSources.isEmpty ? "" : "fib daddr type broadcast fib daddr . iif type != broadcast "
    return groupAddresses.filter { $0.isIPv6 == isIPv6 }.map { address in
      let names = shared[address]?.map { "\"\($0.interface)\"" }.joined(separator: ", ")
      let elsewhere = names.map { "iifname != { \($0) } " } ?? ""
      return "    \(isIPv6 ? "ip6" : "ip") daddr \(address.filterText) \(elsewhere)\(condition)drop\n"
    }.joined()
  }

  private func guarded(isIPv6: Bool) -> [IPPrefix] { guardedSources.filter { $0.address.isIPv6 == isIPv6 } }

  /// No source at all is that of a machine that asks for an address. A way back by the interface that a packet came by, as
  /// its virtual router (VRF) or a route with several next hops has it, makes it genuine.
  private func sourceRule(isIPv6: Bool) -> String {
    let prefixes = guarded(isIPv6: isIPv6)
    guard !prefixes.isEmpty else { return "" }
    let (field, version, none) = isIPv6 ? ("ip6", 6, "::") : ("ip", 4, "0.0.0.0")
    let within = prefixes.contains { $0.length == 0 } ? "" : "\(field) saddr @routed\(version) "
    let several = multipathRoutes.filter { $0.prefix.address.isIPv6 == isIPv6 }.map { $0.filterText(within: within) }
    return several.joined()
      + "    \(field) saddr != \(none) \(within)fib saddr . mark oifname \(quotedInterface) fib saddr . mark . iif oif missing "
      + "jump forged\n"
  }

  private var routedSets: String {
    [false, true].map { isIPv6 in
      let prefixes = guarded(isIPv6: isIPv6)
      guard !prefixes.isEmpty, prefixes.allSatisfy({ $0.length > 0 }) else { return "" }
      return """
          set routed\(isIPv6 ? 6 : 4) {
            type \(isIPv6 ? "ipv6_addr" : "ipv4_addr"); flags interval; auto-merge
            elements = { \(prefixes.map(\.filterText).joined(separator: ", ")) }
          }

        """
    }.joined()
  }
}
