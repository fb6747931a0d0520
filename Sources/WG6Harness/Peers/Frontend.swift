/// The command line that brings tunnels up and down: ours, or `wg` and `wg-quick` around another daemon.
struct Frontend {
  let implementation: Implementation

  /// `wg6`, or `wg`: the one with `genkey`, `pubkey` and `show`.
  func tool() throws -> String {
    implementation == .wg6 ? try Binaries.path(of: "wg6") : "wg"
  }

  func up(_ configuration: String, on host: Host) throws -> Outcome {
    try quick("up", configuration, host)
  }

  func down(_ configuration: String, on host: Host) throws -> Outcome {
    try quick("down", configuration, host)
  }

  /// What to type for `up` and `down`.
  var name: String { implementation == .wg6 ? "wg6" : "wg-quick" }

  private func quick(_ verb: String, _ configuration: String, _ host: Host) throws -> Outcome {
    switch implementation {
    case .wg6:
      return try host.attempt([tool(), verb, configuration], within: 30)
    case .wireguardGo, .kernel:
      let environment = ["WG_QUICK_USERSPACE_IMPLEMENTATION": try implementation.daemon()]
      return try host.attempt(["wg-quick", verb, configuration], environment: environment, within: 30)
    }
  }
}

extension Host {
  /// The pids of the daemons of an implementation in this host.
  func daemons(of implementation: Implementation) -> [Int32] {
    let name = implementation == .wg6 ? "wg6d" : implementation.rawValue
    return processes.filter { Files.text("/proc/\($0)/comm").trimmed == name }
  }

  /// What of a tunnel is left here: interface, control socket, routes, daemons. Empty when all is gone.
  func remains(of interface: String, _ implementation: Implementation) throws -> [String] {
    var left: [String] = []
    if has(interface: interface) { left.append("the interface") }
    if Files.exists(privateDirectory("/run/wireguard") + "/\(interface).sock") { left.append("the control socket") }
    for family in ["-4", "-6"] where try ip(family, "route", "show", "table", "all").contains("dev \(interface)") {
      left.append("a route (\(family))")
    }
    if !daemons(of: implementation).isEmpty { left.append("the daemon") }
    return left
  }
}
