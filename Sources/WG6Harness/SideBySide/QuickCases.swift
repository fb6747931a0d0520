/// The files that wg-quick and wg6 are compared by. Each is about one thing and has its name; `mtu` stands where wg6's
/// is another than wg-quick's, as it is with IPv4 endpoints only.
extension QuickCase {
  static let all: [QuickCase] =
    addresses + routes + tables + defaultRoutes + splitDefaults + outer + sizes + resolvers + hooks + dialect
    + peers + saving + refused + parity + variables + refusedForms + apart

  private static let v4 = "Endpoint = 203.0.113.5:51820"
  private static let v6 = "Endpoint = [2001:db8:5::5]:51820"
  private static let inner = "Address = 10.66.0.2/24, fd66::2/64"

  private static let addresses: [QuickCase] = [
    QuickCase("no address"),
    QuickCase("one IPv4 address", "Address = 10.66.0.2/24", "AllowedIPs = 10.66.0.0/24"),
    QuickCase("one IPv6 address", "Address = fd66::2/64", "AllowedIPs = fd66::/64"),
    QuickCase("addresses without a length", "Address = 10.66.0.2, fd66::2", "AllowedIPs = 10.66.0.0/24, fd66::/64"),
    QuickCase("several addresses of one subnet", "Address = 10.66.0.2/24, 10.66.0.3/24, fd66::2/64, fd66::3/64"),
    QuickCase("Address several times", "Address = 10.66.0.2/24\nAddress = 10.67.0.2/16\nAddress = fd66::2/64"),
    QuickCase("addresses apart by spaces", "Address = 10.66.0.2/24 fd66::2/64,10.67.0.2/32"),
    QuickCase("a link-local address", "Address = fe80::66/64, 169.254.6.6/16", "AllowedIPs = fe80::1/128"),
  ]

  private static let routes: [QuickCase] = [
    QuickCase("routes of both families", inner, "AllowedIPs = 10.70.0.0/16, 2001:db8:70::/48\n\(v6)"),
    QuickCase("host routes", inner, "AllowedIPs = 10.70.0.1/32, 2001:db8:70::1/128, 10.70.0.9, 2001:db8:70::9\n\(v6)"),
    QuickCase("prefixes inside an address's own", inner, "AllowedIPs = 10.66.0.7/32, 10.66.0.128/25, fd66::7/128"),
    QuickCase("a prefix around an address's own", inner, "AllowedIPs = 10.66.0.0/16, fd66::/48"),
    QuickCase("overlapping prefixes of one peer", inner, "AllowedIPs = 10.70.0.0/16, 10.70.1.0/24, 10.70.1.1/32"),
    QuickCase(
      "overlapping prefixes of two peers", inner, "AllowedIPs = 10.70.0.0/16, 2001:db8:70::/48",
      "AllowedIPs = 10.70.3.0/24, 2001:db8:70:1::/64"),
    QuickCase("a prefix that two peers claim", inner, "AllowedIPs = 10.70.0.0/16", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("host bits set", "Address = 10.66.0.2/24", "AllowedIPs = 10.70.1.77/16, 2001:db8:70::77/48"),
    QuickCase("AllowedIPs empty", inner, "AllowedIPs ="),
    QuickCase("AllowedIPs not there", inner, v6),
    QuickCase("the uplink's own network", inner, "AllowedIPs = 198.51.100.0/25, 2001:db8:100:0:8000::/65"),
    QuickCase("multicast and link-local prefixes", inner, "AllowedIPs = 224.0.0.0/4, ff02::/16, fe80::/64"),
  ]

  private static let tables: [QuickCase] = [
    QuickCase("Table off", inner + "\nTable = off", "AllowedIPs = 10.70.0.0/16, 2001:db8:70::/48"),
    QuickCase("Table off with default routes", inner + "\nTable = off", "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase("Table auto", inner + "\nTable = auto", "AllowedIPs = 10.70.0.0/16, 2001:db8:70::/48"),
    QuickCase("Table a number", inner + "\nTable = 1234", "AllowedIPs = 10.70.0.0/16, 2001:db8:70::/48"),
    QuickCase(
      "Table a number, own prefixes", inner + "\nTable = 1234", "AllowedIPs = 10.66.0.0/24, fd66::/64, 10.66.0.9/32"),
    QuickCase("Table a number, default routes", inner + "\nTable = 1234", "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase("Table main by its number", inner + "\nTable = 254", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("Table main by its name", inner + "\nTable = main", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("Table in hexadecimal", inner + "\nTable = 0x4d2", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("Table large", inner + "\nTable = 4000000000", "AllowedIPs = 10.70.0.0/16, 2001:db8:70::/48"),
    QuickCase(
      "Table a number, a mark", inner + "\nTable = 1234\nFwMark = 77", "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
  ]

  private static let defaultRoutes: [QuickCase] = [
    QuickCase("default route of IPv4", inner, "AllowedIPs = 0.0.0.0/0\n\(v4)", mtu: 1440),
    QuickCase("default route of IPv6", inner, "AllowedIPs = ::/0\n\(v6)"),
    QuickCase("default routes of both", inner, "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase("default routes of both, over IPv4", inner, "AllowedIPs = 0.0.0.0/0, ::/0\n\(v4)", mtu: 1440),
    QuickCase("default routes without an endpoint", inner, "AllowedIPs = 0.0.0.0/0, ::/0"),
    QuickCase("default routes and a mark", inner + "\nFwMark = 0x1234", "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase("default routes, FwMark off", inner + "\nFwMark = off", "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase("default routes beside others", inner, "AllowedIPs = 0.0.0.0/0, 10.70.0.0/16, ::/0, fd70::/16\n\(v6)"),
    QuickCase(
      "default routes of two peers", inner, "AllowedIPs = 0.0.0.0/0\n\(v4)", "AllowedIPs = ::/0, 10.70.0.0/16\n\(v6)"),
    QuickCase("default route of IPv4 without its address", "Address = fd66::2/64", "AllowedIPs = 0.0.0.0/0\n\(v6)"),
    QuickCase(
      "default routes, several addresses", "Address = 10.66.0.2/24, 10.67.0.2/24, fd66::2/64, fd67::2/64",
      "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase(
      "default routes where table 51820 is taken", inner, "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)",
      more: ["route add 10.99.0.0/16 dev wan table 51820"]),
    QuickCase(
      "default routes where 51820 is taken in IPv6", inner, "AllowedIPs = 0.0.0.0/0\n\(v6)",
      more: ["route add 2001:db8:99::/48 dev wan table 51820", "route add 10.99.0.0/16 dev wan table 51821"]),
    QuickCase("default routes on IPv4 only", inner, "AllowedIPs = 0.0.0.0/0, ::/0\n\(v4)", on: .v4Only, mtu: 1440),
    QuickCase("default routes on IPv6 only", inner, "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)", on: .v6Only),
    QuickCase("default routes on no network", inner, "AllowedIPs = 0.0.0.0/0, ::/0", on: .isolated),
  ]

  private static let splitDefaults: [QuickCase] = [
    QuickCase("half defaults of IPv4", inner, "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1\n\(v6)"),
    QuickCase("half defaults around the endpoint", inner, "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1\n\(v4)", mtu: 1440),
    QuickCase("half defaults of IPv6 around the endpoint", inner, "AllowedIPs = ::/1, 8000::/1\n\(v6)"),
    QuickCase("a half default and a default", inner, "AllowedIPs = 0.0.0.0/1, ::/0\n\(v6)"),
    QuickCase("2000::/3", inner, "AllowedIPs = 2000::/3\n\(v4)", mtu: 1440),
  ]

  private static let outer: [QuickCase] = [
    QuickCase(
      "an endpoint by name, IPv4", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = four.example:51820", mtu: 1440),
    QuickCase("an endpoint by name, IPv6", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = six.example:51820"),
    QuickCase("an endpoint inside its allowed IPs", inner, "AllowedIPs = 203.0.113.0/24\n\(v4)", mtu: 1440),
    QuickCase(
      "an endpoint on the uplink's network", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = 198.51.100.1:51820",
      mtu: 1440),
    QuickCase("an endpoint that is an allowed IP itself", inner, "AllowedIPs = 203.0.113.5/32\n\(v4)", mtu: 1440),
  ]

  private static let sizes: [QuickCase] = [
    QuickCase("MTU given", inner + "\nMTU = 1300", "AllowedIPs = 10.70.0.0/16\n\(v4)"),
    QuickCase("MTU larger than the link's", inner + "\nMTU = 9000", "AllowedIPs = 10.70.0.0/16\n\(v4)"),
    QuickCase("MTU of a smaller link", inner, "AllowedIPs = 10.70.0.0/16\n\(v6)", on: .mtu(1400)),
    QuickCase("MTU of a smaller link, over IPv4", inner, "AllowedIPs = 10.70.0.0/16\n\(v4)", on: .mtu(1400), mtu: 1340),
    QuickCase("MTU of a larger link", inner, "AllowedIPs = 10.70.0.0/16\n\(v6)", on: .mtu(9000)),
    QuickCase(
      "MTU of the route", inner, "AllowedIPs = 10.70.0.0/16\n\(v6)",
      more: ["route add 2001:db8:5::/48 via 2001:db8:100::1 mtu 1380"]),
    QuickCase(
      "MTU of the route, over IPv4", inner, "AllowedIPs = 10.70.0.0/16\n\(v4)",
      more: ["route add 203.0.113.0/24 via 198.51.100.1 mtu 1380"], mtu: 1320),
    QuickCase(
      "MTU of two endpoints' routes", inner, "AllowedIPs = 10.70.0.0/16\n\(v4)", "AllowedIPs = 10.71.0.0/16\n\(v6)",
      more: ["route add 203.0.113.0/24 via 198.51.100.1 mtu 1380"], mtu: 1320),
    QuickCase(
      "MTU of the default route", inner, "AllowedIPs = 10.70.0.0/16",
      more: ["route replace default via 198.51.100.1 mtu 1390"]),
    QuickCase("MTU without any route", inner, "AllowedIPs = 10.70.0.0/16", on: .isolated),
  ]

  private static let resolvers: [QuickCase] = [
    QuickCase("DNS, one server", inner + "\nDNS = 10.66.0.1", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("DNS of both families", inner + "\nDNS = 10.66.0.1, fd66::1", "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "DNS and search domains", inner + "\nDNS = 10.66.0.1, corp.example, fd66::1, lan", "AllowedIPs = fd70::/16"),
    QuickCase("DNS several times, apart by spaces", inner + "\nDNS = 10.66.0.1 lan\nDNS=fd66::1,corp.example"),
    QuickCase("search domains only", inner + "\nDNS = corp.example", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("DNS and default routes", inner + "\nDNS = 10.66.0.1", "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
  ]
}
