import Glibc
import SystemPackage
import WG6Linux

/// Whether an interface and its daemon are there, and how long until they are not.
extension Tunnel {
  /// Who is found behind an interface's control socket.
  enum Occupant {
    case nobody, deadSocket, dyingDaemon, daemon

    init(of interface: String) {
      do {
        _ = try ControlConnection(to: interface)
      } catch {
        switch error {
        case .connectionRefused: self = .deadSocket
        case .timedOut: self = .daemon
        default: self = .nobody
        }
        return
      }
      do throws(RemoteDevice.Failure) {
        // The shortest question that there is.
        _ = try RemoteDevice(interface: interface).drops()
        self = .daemon
      } catch {
        // It hung up on a question, or stopped to listen since; other daemons than ours don't know this one.
        self = [ECONNRESET, EPIPE, ENODEV].contains(error.errno) ? .dyingDaemon : .daemon
      }
    }
  }

  /// Refuses where the interface is there already; clears the socket of a daemon that was killed.
  func requireAbsence(clearing: Bool = true) throws(TunnelError) {
    let netlink = try openNetlink()
    let isFree = try wait(seconds: 5) { () throws(TunnelError) in
      switch (try link(netlink) != nil, Occupant(of: interface)) {
      case (true, .daemon): throw TunnelError("it is up already")
      case (true, .nobody):
        throw TunnelError("an interface of this name exists, and it is no WireGuard interface")
      case (false, .daemon):
        throw TunnelError("a daemon serves this name already, in another network namespace")
      case (false, .nobody): return true
      case (false, .deadSocket):
        if clearing, ControlSocket.removeStale(interface) { tell("removed the socket that a dead daemon left") }
        return true
      // A daemon that was killed takes a moment to go, and its interface with it.
      case (true, .deadSocket), (_, .dyingDaemon): return false
      }
    }
    guard isFree else { throw TunnelError("its daemon does not answer, and the interface does not go away") }
  }

  /// Deletes the interface, if its daemon lives, and waits until both are gone.
  func removeDevice() throws(TunnelError) {
    let netlink = try openNetlink()
    do {
      if let link = try netlink.link(named: interface), ControlSocket.isAlive(interface) { try netlink.delete(link) }
    } catch {
      if !error.isMissing { throw TunnelError(error) }
    }
    try awaitAbsence()
    let isGone = try wait(seconds: 5) { () throws(TunnelError) in try link(netlink) == nil }
    guard isGone else { throw TunnelError("the interface does not go away, and no daemon answers for it") }
  }

  /// Waits until nobody answers for the interface any more, and removes the socket where the daemon did not.
  func awaitAbsence() throws(TunnelError) {
    let isGone = try wait(seconds: 5) { () throws(TunnelError) in !ControlSocket.isAlive(interface) }
    guard isGone else { throw TunnelError("the interface is gone, but its daemon still answers after 5 seconds") }
    ControlSocket.removeStale(interface)
  }

  func link(_ netlink: borrowing NetlinkSocket) throws(TunnelError) -> Link? {
    do {
      return try netlink.link(named: interface)
    } catch {
      throw TunnelError(error)
    }
  }
}
