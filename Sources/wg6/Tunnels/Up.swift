import ArgumentParser
import WG6Config
import WG6Linux

struct Up: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Brings a tunnel up from its configuration file.",
    discussion: """
      TUNNEL is a file called after its interface, as wgnet.conf or ./wgnet.conf, or a name in /etc/wireguard. It is read \
      as wg-quick reads it:
        [Interface]  PrivateKey, ListenPort, FwMark, Address, MTU (1420),
                     Table (auto, off or a number)
        [Peer]       PublicKey (or @name), PresharedKey, AllowedIPs,
                     Endpoint, PersistentKeepalive
      DNS, PreUp, PostUp, PreDown, PostDown, SaveConfig and default routes with Table = auto are not supported yet; a \
      file that has them is refused.

      When it returns, the interface is up and a daemon serves it in the background. When something fails, it says what, \
      and leaves nothing behind.
        wg6 up wgnet
        wg6 up -v ./wgnet.conf
      """)

  @Argument(help: "A file, or a name in /etc/wireguard.")
  var tunnel: String

  @Flag(name: [.short, .long], help: "Tell every step.")
  var verbose = false

  @Flag(name: [.short, .long], help: "Stay, and take the tunnel down at SIGINT or SIGTERM.")
  var foreground = false

  @Option(
    help: ArgumentHelp(
      "Do without offloads, all or a list of names: see wg6d(8).", valueName: "all|list"),
    transform: Offloads.init(argument:))
  var noOffload: Offloads = []

  func run() throws {
    let source = ConfigurationSource(named: tunnel)
    let interface = try source.interface()
    let configuration = try source.read(.quick)
    source.warnIfWorldAccessible()
    let steps = Steps(interface: interface, areTold: verbose)
    try Tunnel.requireAbsence(of: interface, steps)
    steps.tell("resolving \(configuration.peers.count { $0.endpoint != nil }) endpoints")
    let endpoints = try configuration.endpoints(named: source.path)
    let daemon = try Daemon.locate()

    var signals = Signals.block()
    let tunnel = Tunnel(
      interface: interface, configuration: configuration,
      update: configuration.update(replacing: true, endpoints: endpoints),
      disabledOffloads: noOffload, steps: steps)
    let child = try tunnel.start(daemon, staying: foreground, &signals)
    guard let child else { return }
    steps.tell("serving until SIGINT or SIGTERM")
    let ending = try signals.wait(for: child)
    try Tunnel.awaitAbsence(of: interface)
    switch ending {
    case .exited(0): return
    case .exited(let status): throw ExitCode(status)
    case .signalled(let signal): throw failure("\(interface): the daemon ended by signal \(signal)")
    }
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

/// What is done for an interface, told where somebody wants to hear it.
struct Steps {
  let interface: String
  let areTold: Bool

  func tell(_ step: @autoclosure () -> String) {
    if areTold { complain("\(interface): \(step())") }
  }
}
