import CLinux
import Logging
import SystemPackage
import WG6Linux
import WG6Protocol

/// Keeps router advertisements and redirects of peers, and the kernel itself, from configuring the interface
/// (`Autoconfiguration`).
///
/// The kernel forgets these settings when the interface moves to another network namespace, and those of IPv6 while the MTU
/// is too small for it; then they are made again.
struct InterfaceSettings {
  /// Where someone else opened the TUN, its settings are theirs.
  private let isOurs: Bool
  /// Whether the MTU, when it was last seen, left room for IPv6.
  private var hadIPv6 = true
  /// The inode of the namespace that the interface was last seen in; 0 for this process's.
  private var namespace: UInt64 = 0

  /// For an interface that was just made.
  init(_ interface: String, isOurs: Bool, _ log: Logger) {
    self.isOurs = isOurs
    if isOurs { turnOff(interface, log) }
  }

  /// Something about the interface has changed.
  ///
  /// - Parameter mtu: nil where it is not in this process's namespace.
  mutating func interfaceChanged(_ interface: String, mtu: Int?, _ tun: borrowing TUN, _ log: Logger) {
    guard isOurs else { return }
    guard let mtu else { return interfaceMoved(interface, tun, log) }
    let hasIPv6 = mtu >= Limits.smallestMTU
    if namespace != 0 || hasIPv6 && !hadIPv6 { turnOff(interface, log) }
    (namespace, hadIPv6) = (0, hasIPv6)
  }

  private mutating func interfaceMoved(_ interface: String, _ tun: borrowing TUN, _ log: Logger) {
    guard let there = try? tun.namespace(), let number = try? NamespaceNumber.of(there), number != namespace else {
      return
    }
    namespace = number
    // A namespace is a thread's: the sockets of this one must stay here.
    let descriptor = there.rawValue
    let thread = try? Thread(named: "wg6-settings") {
      let result = linux_enter_network(descriptor)
      if result == 0 {
        turnOff(interface, log)
      } else {
        log.warning(
          "cannot enter the network namespace that the interface was moved to (\(Errno(rawValue: -result))): peers' router advertisements may configure it there; set net.ipv6.conf.\(interface).accept_ra to 0"
        )
      }
    }
    thread?.join()
  }
}

private func turnOff(_ interface: String, _ log: Logger) {
  for problem in Autoconfiguration.turnOff(interface) {
    log.warning("\(problem): peers' router advertisements may configure the interface")
  }
}
