/// What makes a host a NAT box as found at home: masquerading, short memories, mappings that change.
extension Host {
  /// Hides everything that leaves through `interface` behind its IPv4 address.
  ///
  /// `udpTimeout` is how long a UDP mapping lives without traffic, in seconds; both of the kernel's timeouts get it.
  public func masquerade(out interface: String, udpTimeout: Int? = nil) throws {
    try forward()
    if let udpTimeout {
      try sysctl([
        "net.netfilter.nf_conntrack_udp_timeout": "\(udpTimeout)",
        "net.netfilter.nf_conntrack_udp_timeout_stream": "\(udpTimeout)",
      ])
    }
    try nft(
      """
      table ip nat {
        chain postrouting {
          type nat hook postrouting priority srcnat;
          oifname "\(interface)" masquerade
        }
      }
      # Nothing comes in from outside but answers: a mapping that timed out is a closed door.
      table inet filter {
        chain forward {
          type filter hook forward priority filter; policy accept;
          iifname "\(interface)" ct state new drop
        }
      }
      """)
  }

  /// Forgets every mapping and draws new ports from `ports`, as after a reboot of the box.
  public func remap(out interface: String, to ports: ClosedRange<Int>) throws {
    try nft(
      """
      flush chain ip nat postrouting
      add rule ip nat postrouting oifname "\(interface)" meta l4proto udp masquerade to :\(ports.lowerBound)-\(ports.upperBound)
      add rule ip nat postrouting oifname "\(interface)" masquerade
      """)
    try run("conntrack", "-F")
  }

  /// Feeds a script to `nft`.
  public func nft(_ script: String) throws {
    try run("nft", "-f", "-", input: script)
  }
}
