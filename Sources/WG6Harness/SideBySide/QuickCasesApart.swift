/// What one of the two takes and the other does not, and the odd forms that both take.
extension QuickCase {
  private static let inner = "Address = 10.66.0.2/24, fd66::2/64"
  private static let v6 = "Endpoint = [2001:db8:5::5]:51820"
  private static let log = "/etc/wireguard/hooks.log"

  /// Odd forms that both take alike.
  static let parity: [QuickCase] = [
    QuickCase(
      "an IPv4 address with two lengths", "Address = 10.66.0.2/24, 10.66.0.2/32, 10.67.0.2/16, 10.67.0.2/30",
      "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "an IPv4 address with two lengths, default routes", "Address = 10.66.0.2/24, 10.66.0.2/32",
      "AllowedIPs = 0.0.0.0/0\n\(v6)"),
    QuickCase(
      "an endpoint with zeros before its numbers", inner,
      "AllowedIPs = 10.70.0.0/16\nEndpoint = 203.000.0161.005:51820", mtu: 1440),
    QuickCase("a link-local name server", inner + "\nDNS = fe80::1%wan, 10.66.0.1", "AllowedIPs = 10.70.0.0/16"),
  ]

  /// What commands of the file find in their shell.
  static let variables: [QuickCase] = [
    QuickCase(
      "variables that hooks see",
      "Address = 10.66.0.2, fd66::2/64\nMTU = 1333\nTable = 1234\nDNS = 10.66.0.1 lan\nListenPort = 51820"
        + ["PreUp", "PostUp", "PreDown", "PostDown"].map {
          // There is no '#' in it: what stands behind one is a comment.
          "\n\($0) = echo \($0) $INTERFACE $CONFIG_FILE $MTU $TABLE $SAVE_CONFIG $HAVE_SET_DNS $HAVE_SET_FIREWALL $LC_ALL >>\(log); "
            + "printf '[%s]' \"${ADDRESSES[@]}\" \"${DNS[@]}\" \"${DNS_SEARCH[@]}\" \"${ARGS[@]}\" \"${PRE_UP[@]}\" \"${POST_DOWN[@]}\" >>\(log); "
            + "echo >>\(log)"
        }.joined(), "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "what of it a hook's programs inherit",
      inner
        + "\nPostUp = env | grep -c -e ^INTERFACE= -e ^ADDRESSES -e ^CONFIG_FILE= >>\(log) || true; echo $HAVE_SET_FIREWALL >>\(log)"
        + "\nPostUp = cmd echo \"it's $INTERFACE\" >>\(log)\nPostDown = (die no) || echo died >>\(log)",
      "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)"),
    QuickCase(
      "variables without values",
      "PostUp = echo x${ADDRESSES[*]}x${DNS[*]}x${MTU}x${TABLE}x $SAVE_CONFIG >>\(log)"),
  ]

  /// Odd forms that neither takes, or only one.
  static let refusedForms: [QuickCase] = [
    QuickCase("an IPv6 address with two lengths", "Address = fd66::2/64, fd66::2/128"),
    QuickCase("a minus in AllowedIPs", inner, "AllowedIPs = 10.70.0.0/16, -10.70.1.0/24"),
  ]

  /// Each is a known difference, or beside one.
  static let apart: [QuickCase] = [
    QuickCase(
      "a file in UTF-16",
      file: "[Interface]\nAddress = 10.66.0.2/24\n".unicodeScalars.map { "\($0)\0" }.joined()),
    QuickCase("an empty file", file: ""),
    QuickCase("a file with a comment alone", file: "# nothing\n"),
    QuickCase("Table in capitals", inner + "\nTable = AUTO", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("Table off in capitals", inner + "\nTable = OFF", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("SaveConfig in another word", inner + "\nSaveConfig = no", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("FwMark in another word", inner + "\nFwMark = no", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("a dot in the interface's name, default route", inner, "AllowedIPs = ::/0\n\(v6)").called("wg.q"),
    QuickCase("a plus in the interface's name, default route", inner, "AllowedIPs = ::/0\n\(v6)").called("wg+q"),
    QuickCase("a plus in the interface's name", inner, "AllowedIPs = 10.70.0.0/16").called("wg+r"),
    QuickCase(
      "default routes beside another tunnel's rules", inner, "AllowedIPs = 0.0.0.0/0, ::/0\n\(v6)",
      more: [
        "rule add table main suppress_prefixlength 0"
      ]),
    QuickCase(
      "an endpoint that does not resolve", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = nobody.example:51820",
      on: .isolated),
    QuickCase(
      "blanks inside of a section's name",
      file: "[ Interface ]\nPrivateKey = {private}\nAddress = 10.66.0.2/24\n[Peer]\nPublicKey = {a}\n"),
    QuickCase(
      "a byte order mark", file: "\u{FEFF}[Interface]\nPrivateKey = {private}\nAddress = 10.66.0.2/24\n"),
    QuickCase("commands that others can write", inner + "\nPostUp = true", "AllowedIPs = 10.70.0.0/16")
      .called(mode: "666"),
    QuickCase(
      "an endpoint of three numbers", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = 203.0.1281:51820", mtu: 1440),
    QuickCase(
      "an endpoint in hexadecimal", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = 0xcb.0.0x71.5:51820", mtu: 1440),
    QuickCase("a name server with a port", inner + "\nDNS = 10.66.0.1:53", "AllowedIPs = 10.70.0.0/16"),
    QuickCase("a search domain that is none", inner + "\nDNS = 10.66.0.1, a/b", "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "WG_CONFIG in a hook", inner + "\nPostUp = echo \"$WG_CONFIG\" | grep -c PrivateKey >>\(log) || true",
      "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "the interface's own key as a peer's",
      file:
        "[Interface]\nPrivateKey = {private}\nAddress = 10.66.0.2/24\n[Peer]\nPublicKey = {own}\nAllowedIPs = 10.70.0.0/16\n"
    ),
    QuickCase("an address that no interface should have", "Address = 224.0.0.1/32"),
    QuickCase("the unspecified address", "Address = 0.0.0.0/8"),
  ]
}
