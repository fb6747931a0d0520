import Foundation

extension Scenario {
  /// The daemon as a drop-in for wireguard-go: how it is started.
  static let daemonStarts = Scenario(
    "daemon-starts", "into the background when ready, in the foreground, twice, with a bad name; and how fast"
  ) { lab in
    let host = try lab.host("server")
    let daemon = try lab.implementation.daemon()
    func gone() throws {
      try waitUntil("nothing stays", within: 10) { try host.remains(of: "wg0", lab.implementation).isEmpty }
    }

    // One command line: whoever gets the prompt back may use the interface at once.
    try host.shell("LOG_LEVEL=error \(daemon) wg0 >/dev/null 2>&1 && wg show wg0 && ip link set wg0 up")
    try lab.require(host.daemons(of: lab.implementation).count == 1, "it returns when the interface can be used")
    var socket = stat()
    stat(host.privateDirectory("/run/wireguard") + "/wg0.sock", &socket)
    try lab.require(socket.st_mode & 0o077 == 0, "the control socket is its owner's alone")
    let second = try host.attempt([daemon, "-f", "wg0"], within: 10)
    try lab.require(!second.succeeded, "a second daemon for the interface is refused", second.complaints)
    try lab.require(
      host.run("wg", "show", "interfaces").line == "wg0" && host.daemons(of: lab.implementation).count == 1,
      "and the first goes on")
    try host.ip("link", "del", "wg0")
    try gone()

    let long = try host.attempt([daemon, "-f", "a-name-that-is-far-too-long"], within: 10)
    try lab.require(!long.succeeded, "a name that is too long is refused")

    let staying = try host.start([daemon, "wg0"], environment: ["WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"])
    try waitUntil("WG_PROCESS_FOREGROUND=1 brings up wg0") { try host.attempt(["wg", "show", "wg0"]).succeeded }
    try lab.require(staying.isRunning, "with WG_PROCESS_FOREGROUND=1 it stays")
    try lab.require(staying.stop(SIGTERM) == 0, "SIGTERM ends it with status 0")
    try gone()

    let times = try (0..<10).map { _ in
      let took = try host.shell(
        "a=$(date +%s%N); LOG_LEVEL=error \(daemon) wg0 >/dev/null 2>&1; b=$(date +%s%N); echo $((b-a))")
      try host.ip("link", "del", "wg0")
      try gone()
      return Double(took.line)! / 1e6
    }
    let best = times.min()!
    let said = "from the command to a usable interface: \(best) ms at best, \(times.sorted()[5]) ms in the middle"
    try lab.require(best < 20 || lab.implementation != .wg6, said, "20 ms are allowed")
  }
}
