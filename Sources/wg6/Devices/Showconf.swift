import ArgumentParser
import WG6Config
import WG6Crypto
import WG6Protocol
import WG6Tunnel

struct Showconf: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints an interface's configuration as a file.",
    discussion: """
      The file is one for setconf, private keys included; addresses and routes are not in it.
        umask 077; wg6 showconf wgnet > wgnet.saved
      """)

  @Argument(help: "The interface.", completion: .interface)
  var interface: String

  func run() throws {
    let status: DeviceStatus
    do {
      status = try RemoteDevice(interface: interface).status()
    } catch {
      throw failure("Unable to access interface", error, of: interface)
    }
    var text = WipedBytes(minimumCapacity: 4096)
    status.writeConfiguration(to: &text)
    warnOfWorldAccessibleOutput()
    try text.print()
  }
}
