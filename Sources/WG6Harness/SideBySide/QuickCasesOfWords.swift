/// Hooks, the dialect's letters, what a peer can have, what is saved, and what is refused.
extension QuickCase {
  private static let inner = "Address = 10.66.0.2/24, fd66::2/64"
  private static let log = "/etc/wireguard/hooks.log"

  static let hooks: [QuickCase] = [
    QuickCase(
      "every hook",
      inner + """

        PreUp = echo preup %i >>\(log)
        PostUp = echo postup %i >>\(log)
        PreDown = echo predown %i >>\(log)
        PostDown = echo postdown %i >>\(log)
        """, "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "several hooks of a kind",
      inner + """

        PostUp = echo first >>\(log)
        PostUp = echo second %i%i >>\(log); echo third >>\(log)
        PreDown = echo fourth >>\(log)
        PreDown = echo fifth >>\(log)
        """, "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "what hooks see",
      inner + """

        PreUp = ip link show dev %i >/dev/null 2>&1 && echo there >>\(log) || echo not there >>\(log)
        PostUp = ip -4 route show dev %i | wc -l >>\(log); cat /sys/class/net/%i/mtu >>\(log)
        PreDown = wg show %i allowed-ips | wc -w >>\(log)
        PostDown = ip link show dev %i >/dev/null 2>&1 && echo there >>\(log) || echo gone >>\(log)
        """, "AllowedIPs = 10.70.0.0/16, 10.71.0.0/16"),
    QuickCase(
      "hooks of bash",
      inner + """

        PostUp = x=(one "two three"); [[ ${x[1]} == two* ]] && printf '%s\\n' "${x[@]}" >>\(log)
        PostUp = echo "a  b" 'c = d' $((6 * 7)) >>\(log)
        PostDown = shopt -q extglob && echo extglob >>\(log); echo $LC_ALL >>\(log)
        """, "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "hooks that change the tunnel",
      inner + """

        PostUp = wg set %i fwmark 0x99; ip route add 10.99.0.0/16 dev %i
        PreDown = echo $(wg show %i fwmark) >>\(log)
        """, "AllowedIPs = 10.70.0.0/16"),
    QuickCase("a PreUp that fails", inner + "\nPreUp = false\nPostDown = echo down >>\(log)"),
    QuickCase("a PostUp that fails", inner + "\nPostUp = echo up >>\(log); false\nPostDown = echo down >>\(log)"),
    QuickCase("a PostUp that fails in a pipe", inner + "\nPostUp = false | cat >>\(log)"),
    QuickCase("a PreDown that fails", inner + "\nPreDown = false\nPostDown = echo down >>\(log)"),
    QuickCase(
      "a PostUp that fails, default routes and DNS", inner + "\nDNS = 10.66.0.1\nPostUp = false",
      "AllowedIPs = 0.0.0.0/0, ::/0"),
  ]

  static let dialect: [QuickCase] = [
    QuickCase(
      "comments",
      file: """
        # A comment, [Peer]
        [Interface] # the section
          # PrivateKey = no
        PrivateKey = {private}   # the key
        Address = 10.66.0.2/24 # , 10.67.0.2/24

        [Peer]
        PublicKey = {a}#
        AllowedIPs = 10.70.0.0/16#, 10.71.0.0/16
        #AllowedIPs = 10.72.0.0/16

        """),
    QuickCase(
      "odd case",
      file: """
        [INTERFACE]
        privatekey={private}
        ADDRESS=10.66.0.2/24
        mtu=1333
        tAbLe=1234
        [pEER]
        PUBLICkey={a}
        allowedips=10.70.0.0/16
        PERSISTENTKEEPALIVE=OFF

        """),
    QuickCase(
      "odd spacing",
      file: """

        \t[Interface]\u{20}\u{20}
        \tPrivateKey\t=\t{private}
            Address=10.66.0.2/24 ,\tfd66::2/64\u{20}
        MTU   =   1333
        \u{20}
        [Peer]
        PublicKey   ={a}
        AllowedIPs=10.70.0.0/16,2001:db8:70::/48 , 10.71.0.0/16

        """),
    QuickCase(
      "white space inside of keys and values",
      file: """
        [Interface]
        Private Key = {private}
        Address = 10.66.0.2/24
        [Peer]
        Public Key = {a}
        Allowed IPs = 10.70.0.0 / 16

        """),
    QuickCase(
      "lines that end as in Windows",
      file: "[Interface]\r\nPrivateKey = {private}\r\nAddress = 10.66.0.2/24\r\n[Peer]\r\nPublicKey = {a}\r\n"
        + "AllowedIPs = 10.70.0.0/16\r\n"),
    QuickCase(
      "a last line without an end",
      file: "[Interface]\nPrivateKey = {private}\nAddress = 10.66.0.2/24\n[Peer]\nPublicKey = {a}\n"
        + "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "peers first",
      file: """
        [Peer]
        PublicKey = {a}
        AllowedIPs = 10.70.0.0/16
        [Interface]
        PrivateKey = {private}
        Address = 10.66.0.2/24

        """),
    QuickCase(
      "Interface twice",
      file: """
        [Interface]
        PrivateKey = {private}
        Address = 10.66.0.2/24
        [Peer]
        PublicKey = {a}
        AllowedIPs = 10.70.0.0/16
        [Interface]
        Address = fd66::2/64
        MTU = 1333

        """),
    QuickCase("keys that come twice", inner + "\nMTU = 1300\nMTU = 1310\nListenPort = 1000\nListenPort = 51820"),
    QuickCase("AllowedIPs several times", inner, "AllowedIPs = 10.70.0.0/16\nAllowedIPs = 10.71.0.0/16, fd70::/16"),
    QuickCase("SaveConfig false", inner + "\nSaveConfig = false", "AllowedIPs = 10.70.0.0/16"),
  ]

  static let peers: [QuickCase] = [
    QuickCase(
      "every key of a peer", inner + "\nListenPort = 51820\nFwMark = 0x77",
      "PresharedKey = {psk}\nAllowedIPs = 10.70.0.0/16\nEndpoint = [2001:db8:5::5]:51820\nPersistentKeepalive = 25"),
    QuickCase("keepalive off", inner, "AllowedIPs = 10.70.0.0/16\nPersistentKeepalive = off"),
    QuickCase("keepalive 0", inner, "AllowedIPs = 10.70.0.0/16\nPersistentKeepalive = 0"),
    QuickCase("marks in decimal", inner + "\nFwMark = 119", "AllowedIPs = 10.70.0.0/16"),
    QuickCase(
      "three peers", inner, "AllowedIPs = 10.70.0.0/16\nEndpoint = 203.0.113.5:51820", "AllowedIPs = 10.71.0.0/16",
      "AllowedIPs = 10.72.0.0/16, 2001:db8:72::/48\nEndpoint = [2001:db8:5::5]:51820"),
    QuickCase(
      "a peer that comes twice",
      file: """
        [Interface]
        PrivateKey = {private}
        Address = 10.66.0.2/24
        [Peer]
        PublicKey = {a}
        AllowedIPs = 10.70.0.0/16
        [Peer]
        PublicKey = {a}
        AllowedIPs = 10.71.0.0/16

        """),
  ]

  static let saving: [QuickCase] = [
    QuickCase(
      "SaveConfig", inner + "\nSaveConfig = true\nListenPort = 51820", "AllowedIPs = 10.70.0.0/16, fd70::/16"),
    QuickCase(
      "SaveConfig with everything",
      inner + """

        SaveConfig = true
        ListenPort = 51820
        MTU = 1300
        Table = 1234
        FwMark = 0x77
        DNS = 10.66.0.1, fd66::1
        PreUp = true
        PostUp = echo up %i >>\(log)
        PreDown = true
        PostDown = true
        """,
      "PresharedKey = {psk}\nAllowedIPs = 10.70.0.0/16\nEndpoint = [2001:db8:5::5]:51820\nPersistentKeepalive = 25"),
    QuickCase(
      "SaveConfig after changes", inner + "\nSaveConfig = true\nListenPort = 51820\nMTU = 1300",
      "AllowedIPs = 10.70.0.0/16", "AllowedIPs = 10.71.0.0/16",
      meanwhile: """
        wg set wgq peer {b} remove peer {c} allowed-ips 10.73.0.0/16,fd73::/16 endpoint 203.0.113.7:9
        wg set wgq listen-port 1234 peer {a} persistent-keepalive 21
        ip addr add 10.69.0.2/24 dev wgq
        ip link set wgq mtu 1310
        """),
    QuickCase(
      "SaveConfig, default routes, DNS", inner + "\nSaveConfig = true\nListenPort = 51820\nDNS = 10.66.0.1, lan",
      "AllowedIPs = 0.0.0.0/0, ::/0"),
  ]

  /// Neither brings these up, and neither leaves anything behind.
  static let refused: [QuickCase] = [
    QuickCase("an unknown key", inner + "\nColour = blue"),
    QuickCase("an unknown key of a peer", inner, "Colour = blue"),
    QuickCase("a key that is none", file: "[Interface]\nPrivateKey = short\nAddress = 10.66.0.2/24\n"),
    QuickCase("an address that is none", "Address = 10.66.0.266/24"),
    QuickCase("an allowed IP that is none", inner, "AllowedIPs = 10.70.0.0/33"),
    QuickCase("an MTU that is none", inner + "\nMTU = large"),
    QuickCase("an address twice", "Address = 10.66.0.2/24, 10.66.0.2/24"),
    QuickCase("SaveConfig neither true nor false", inner + "\nSaveConfig = perhaps"),
    QuickCase("an unknown section", file: "[Interface]\nPrivateKey = {private}\n[Friend]\nPublicKey = {a}\n"),
    QuickCase(
      "a peer without its key", file: "[Interface]\nPrivateKey = {private}\n[Peer]\nAllowedIPs = 10.70.0.0/16\n"),
  ]
}
