import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux

extension Tunnel {
  /// Writes what is running into its file, as `wg-quick save` does: peers and endpoints as they are by now, and what only
  /// the file has, as it has it. The file is
  /// replaced at once, and for root alone to read; one that can only be written in place has a backup meanwhile.
  public func save(_ configuration: ConfigurationFile, to path: String) throws(TunnelError) {
    tell("saving \(path)")
    var shown = WipedBytes(minimumCapacity: 4096)
    do throws(RemoteDevice.Failure) {
      try RemoteDevice(interface: interface).status().writeConfiguration(to: &shown)
    } catch {
      throw TunnelError(error.description)
    }
    var text = WipedBytes(minimumCapacity: 4096)
    let netlink = try openNetlink()
    guard let link = try link(netlink) else { throw TunnelError("the interface is not here") }
    do {
      let addresses = try netlink.addresses(of: link).map {
        InterfaceAddress($0.address, prefixLength: $0.prefixLength)
      }
      let coverage = Coverage(configuration, connected: try netlink.connectedNetworks(except: link.index))
      shown.withBytes {
        configuration.writeSaved($0, addresses: addresses, mtu: link.mtu, coverage: coverage, to: &text)
      }
    } catch {
      throw TunnelError(error)
    }
    try FileReplacement(path: path).write(text)
  }
}
