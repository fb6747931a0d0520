import ArgumentParser
import WG6Linux
import WG6Tunnel

struct Down: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Takes a tunnel down.",
    discussion: """
      Deletes the interface, and with it its addresses and routes, and waits until its daemon is gone. The file need not \
      exist any more.
        wg6 down wgnet
      """)

  @Argument(help: "The tunnel's file or name, as “up” had it.")
  var tunnel: String

  @Flag(name: [.short, .long], help: "Tell every step.")
  var verbose = false

  func run() throws {
    let interface = try ConfigurationSource(named: tunnel).interface()
    let steps = Steps(interface: interface, areTold: verbose)
    do {
      let netlink = try NetlinkSocket()
      guard let link = try netlink.link(named: interface) else {
        if ControlSocket.removeStale(interface) { steps.tell("removed the socket that a dead daemon left") }
        if ControlSocket.isAlive(interface) {
          throw failure("\(interface) is not up here; its daemon serves another network namespace")
        }
        try removeExecution(of: interface)
        throw failure("\(interface) is not up")
      }
      guard ControlSocket.isAlive(interface) else {
        throw failure("\(interface) is not a WireGuard interface: no daemon answers for it")
      }
      steps.tell("deleting the interface")
      try netlink.delete(link)
    } catch let error as NetlinkError {
      throw failure("\(interface): \(error)")
    }
    steps.tell("waiting for the daemon to go")
    try Tunnel.awaitAbsence(of: interface)
    try removeExecution(of: interface)
  }

  /// What “wg6 exec” made.
  private func removeExecution(of interface: String) throws {
    do throws(ExecutionError) {
      guard try TunnelExecution.remove(interface: interface) else { return }
    } catch {
      throw failure("\(interface): \(error)")
    }
    complain("\(interface): programs that “wg6 exec” started still run; they stay cut off until they end")
  }
}
