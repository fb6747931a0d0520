import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Tunnel

struct Up: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Brings a tunnel up from its configuration file.",
    discussion: """
      TUNNEL is a file called after its interface, as wgnet.conf or ./wgnet.conf, or a name in /etc/wireguard. It is read \
      as wg-quick reads it, and has more to say than there:
        [Interface]  PrivateKey, ListenPort, FwMark, Address, MTU, Table, DNS,
                     PreUp, PostUp, PreDown, PostDown, SaveConfig,
                     ExcludedIPs, KillSwitch, ClampMSS, SpoofGuard, Multicast,
                     LinkLocal, AcceptRA, RouteSync, RouteSyncFilter, DeadAfter
        [Peer]       PublicKey (or @name), PresharedKey, AllowedIPs,
                     ExcludedIPs, Multicast, Endpoint, PersistentKeepalive
      wg6.conf(5) explains them; 'check' says what is wrong with a file, and 'routes' what would go where.

      When it returns, the interface is up and a daemon serves it in the background. When something fails, it says what, \
      and leaves nothing behind.
        wg6 up wgnet
        wg6 up -v ./wgnet.conf
      """)

  @Argument(help: "A file, or a name in /etc/wireguard.", completion: .tunnelToStart)
  var tunnel: String

  @Flag(
    name: [.short, .long],
    help: "Tell every step and its time, start a handshake with each peer, and wait six seconds at most for answers.")
  var verbose = false

  @Flag(name: [.short, .long], help: "Stay, and take the tunnel down at SIGINT or SIGTERM; SIGHUP reloads the file.")
  var foreground = false

  @Flag(help: "Run none of the file's commands, now or later.")
  var noHooks = false

  @Option(
    help: ArgumentHelp(
      "Do without offloads, all or a list of names: see wg6d(8).", valueName: "all|list"),
    completion: .list(["all"] + Offloads.kinds.map(\.name)),
    transform: Offloads.init(argument:))
  var noOffload: Offloads = []

  func run() throws {
    try Rights.require(for: "up")
    let source = ConfigurationSource(named: tunnel)
    let interface = try source.interface()
    var serving = try bringUp(interface, source)
    guard let child = serving.child else { return }
    // With the file its keys are gone, and what reading it has left behind.
    SecretMemory.wipeStack()
    if verbose { complain("\(interface): serving until SIGINT or SIGTERM") }
    // A second signal ends a command of the file, and nothing else: the tunnel would stay as it is.
    let tunnel = Tunnel(interface, isVerbose: verbose, isInterrupted: { false }, takeSignal: serving.signals.take)
    guard let ending = try serving.signals.wait(for: child) else {
      try tunnel.attempt {
        try tunnel.down(runsHooks: !noHooks, reading: ConfigurationSource.forSaving)
      }
      return
    }
    // Who deletes the interface has the daemon end well.
    try tunnel.attempt {
      try tunnel.daemonEnded(runsHooks: !noHooks, unexpectedly: ending != .exited(0))
    }
    switch ending {
    case .exited(0): return
    case .exited(let status): throw failure("the daemon ended with status \(status)", at: interface)
    case .signalled(let signal): throw failure("the daemon ended by signal \(signal)", at: interface)
    }
  }

  /// A tunnel that is up, and what its command goes on with.
  private struct Serving: ~Copyable {
    var signals: Signals
    /// The daemon, where the command stays.
    let child: Child?
  }

  /// Reads the file and brings the tunnel up. When it returns, the file's keys are in no memory of this process but, as words
  /// that were on their way, in the part of the stack that it had: so it is never part of its caller.
  @inline(never)
  private func bringUp(_ interface: String, _ source: ConfigurationSource) throws -> Serving {
    // Whoever reads what is told may go before the end.
    signal(SIGPIPE, SIG_IGN)
    let progress = Progress(interface, isVerbose: verbose)
    progress.tell("reading \(source.path)")
    var order = UpOrder(
      file: try source.tunnelFile(runsHooks: !noHooks), daemon: try Daemon.locate(), program: try Daemon.ownPath(),
      retries: try Resolution.retries(), waiting: Resolution.announce)
    order.disabledOffloads = noOffload
    order.stays = foreground
    let signals = Signals.block()
    let tunnel = Tunnel(
      interface, isInterrupted: signals.watch, takeSignal: signals.take, tell: { progress.tell($0) })
    let child = try signals.ending { try tunnel.attempt { try tunnel.up(order) } }
    if verbose {
      let names = try PeerNames()
      let isAnswered = tunnel.reportHandshakes(within: 6, name: names.name)
      complain(
        "\(interface): tunnel is up: \(progress.milliseconds) ms\(isAnswered == false ? ", without an answer" : "")")
    }
    return Serving(signals: signals, child: child)
  }
}

/// Tells steps on standard error, with the time since the command began.
private struct Progress {
  private let interface: String
  private let isVerbose: Bool
  private let start = Clock.monotonic

  init(_ interface: String, isVerbose: Bool) {
    self.interface = interface
    self.isVerbose = isVerbose
  }

  var milliseconds: UInt64 { (Clock.monotonic - start) / 1_000_000 }

  func tell(_ step: String) {
    if isVerbose { complain("\(interface): [\(milliseconds) ms] \(step)") }
  }
}

extension Offloads {
  /// What stands behind an option.
  fileprivate init(argument: String) throws {
    do throws(UnknownOffload) {
      try self.init(named: argument)
    } catch {
      throw ValidationError(error.description)
    }
  }
}

extension Tunnel {
  /// A tunnel whose steps are told on standard error, where somebody wants to hear them, and its warnings always.
  init(_ interface: String, isVerbose: Bool, _ signals: borrowing Signals) {
    self.init(interface, isVerbose: isVerbose, isInterrupted: signals.watch, takeSignal: signals.take)
  }

  init(
    _ interface: String, isVerbose: Bool, isInterrupted: @escaping () -> Bool, takeSignal: @escaping () -> Bool
  ) {
    self.init(
      interface, isInterrupted: isInterrupted, takeSignal: takeSignal,
      tell: { step in if isVerbose { complain("\(interface): \(step)") } })
  }

  init(
    _ interface: String, isInterrupted: @escaping () -> Bool, takeSignal: @escaping () -> Bool,
    tell: @escaping (String) -> Void
  ) {
    self.init(
      interface, tell: tell,
      warn: { wg6.warn($0, at: interface) }, announce: { complain($0) }, isInterrupted: isInterrupted,
      takeSignal: takeSignal)
  }

  /// Says on standard error why something did not work, and ends the command.
  func attempt<Result: ~Copyable>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let error as TunnelError {
      throw failure("\(error)", at: interface)
    }
  }
}
