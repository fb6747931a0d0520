import WG6Linux
import WG6Protocol

/// The guard against forged packets: what only the tunnel may bring is dropped where it comes by another interface.
///
/// That is a packet to an address of the interface, and one from an address that is routed through the tunnel. Where a packet
/// comes from is decided by the kernel's own routes, so what `wg set`, other tunnels and other programs change counts at
/// once, and a network that is reached by a longer prefix stays what it is. A default route would make every source one of
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
    let addresses = [false, true].map { addressRules(isIPv6: $0) }.joined()
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

  /// What comes from such a source by another interface and is no forgery: answers to the tunnel's own datagrams, and to
  /// programs that bypass the tunnel; a DHCP server's; ICMP errors of routers on ways past the tunnel, which can't be told
  /// from errors of routers elsewhere; and neighbours on the link, which no router has forwarded (RFC 4861 §11.2): an endpoint
  /// there may be among the allowed IPs. A peer that moves sends to a socket of this machine that it has not heard from yet.
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
          drop
        }
        chain source-guard {
          type filter hook prerouting priority -145; policy accept;
          iifname { "lo", \(quotedInterface) } accept
      \(rules)  }

      """
  }

  /// To the interface's addresses, and from them. The kernel knows which interface has an address, also if that was renamed;
  /// where a filter can't ask it, the name alone counts. An address that another interface has too comes by that one as well.
  private func addressRules(isIPv6: Bool) -> String {
    let field = isIPv6 ? "ip6" : "ip"
    let shared = Dictionary(grouping: sharers, by: \.address)
    let own = guardedAddresses.filter { $0.isIPv6 == isIPv6 }
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

  private func guarded(isIPv6: Bool) -> [IPPrefix] { guardedSources.filter { $0.address.isIPv6 == isIPv6 } }

  /// No source at all is that of a machine that asks for an address.
  private func sourceRule(isIPv6: Bool) -> String {
    let prefixes = guarded(isIPv6: isIPv6)
    guard !prefixes.isEmpty else { return "" }
    let (field, version, none) = isIPv6 ? ("ip6", 6, "::") : ("ip", 4, "0.0.0.0")
    let within = prefixes.contains { $0.length == 0 } ? "" : "\(field) saddr @routed\(version) "
    return "    \(field) saddr != \(none) \(within)fib saddr oifname \(quotedInterface) jump forged\n"
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
