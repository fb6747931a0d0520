extension Scenario {
  /// Whatever of the offloads a machine has, the same bytes arrive.
  static let offloads = Scenario(
    "offloads", "checked traffic with each offload off, all off, on one side only, by cipher and number of threads",
    needs: [.program("wireguard-go", package: "wireguard-go"), .program("ethtool", package: "ethtool")]
  ) { lab in
    let random = SeededGenerator.chosen()
    lab.say("seed \(random.seed) (WG6_SEED repeats it); sizes are those of a mean packet, there and back")
    for (index, setting) in OffloadSetting.all.enumerated() {
      try OffloadTrial(lab, setting, number: index + 1, random).play()
    }
  }
}

#if arch(x86_64)
  private let fastCipher = "vector"
#else
  private let fastCipher = "sodium"
#endif

/// How both ends of a tunnel and the cable between them are set up.
struct OffloadSetting {
  let title: String
  /// The daemons' environments.
  var client: [String: String] = [:]
  var server: [String: String] = [:]
  /// Whose the server is, if not the lab's.
  var serverImplementation: Implementation?
  /// What the network cards at both ends of the cable can't do, in `ethtool`'s words.
  var missingInCards: [String] = []

  /// What this process was started with says nothing here.
  static let nothingOff = ["WG6_NO_OFFLOAD": "", "WG6_CIPHER": "", "WG6_THREADS": ""]

  static let all =
    [OffloadSetting("nothing off")]
    + ["tso", "uso", "gso", "gro", "tun", "all"].map { OffloadSetting("\($0) off", both: ["WG6_NO_OFFLOAD": $0]) }
    + [
      OffloadSetting(title: "all off at the client", client: ["WG6_NO_OFFLOAD": "all"]),
      OffloadSetting(title: "all off at the server", server: ["WG6_NO_OFFLOAD": "all"]),
      OffloadSetting(
        title: "libsodium towards ipsec-mb", client: ["WG6_CIPHER": "sodium"], server: ["WG6_CIPHER": fastCipher]),
      OffloadSetting("4 threads", both: ["WG6_THREADS": "4"]),
      OffloadSetting("8 threads", both: ["WG6_THREADS": "8"]),
      OffloadSetting("8 threads, all off", both: ["WG6_THREADS": "8", "WG6_NO_OFFLOAD": "all"]),
      OffloadSetting(title: "towards wireguard-go", serverImplementation: .wireguardGo),
      OffloadSetting(
        title: "cards that segment nothing",
        missingInCards: ["tx-udp-segmentation", "tso", "gso", "gro"]),
      OffloadSetting(
        title: "cards without checksums either",
        missingInCards: ["tx-udp-segmentation", "tso", "gso", "gro", "tx"]),
    ]
}

extension OffloadSetting {
  init(_ title: String, both environment: [String: String] = [:]) {
    self.init(title: title, client: environment, server: environment)
  }

  func environment(isClient: Bool) -> [String: String] {
    OffloadSetting.nothingOff.merging(isClient ? client : server) { $1 }
  }

  /// Whether the client, or the server, uses an offload.
  func uses(_ offload: String, isClient: Bool) -> Bool {
    if !isClient, serverImplementation == .wireguardGo { return false }
    let disabled = (isClient ? client : server)["WG6_NO_OFFLOAD"]?.split(separator: ",") ?? []
    // Without the virtio header nothing can tell how a super-packet is to be split.
    let isCarried = !["tso", "uso"].contains(offload) || !disabled.contains("tun")
    return isCarried && !disabled.contains("all") && !disabled.contains { $0 == offload }
  }
}
