import Glibc
import SystemPackage
import WG6Linux

/// Whether an interface and its daemon are there, and how long until they are not.
extension Tunnel {
  /// What is found behind an interface's control socket.
  enum Occupant {
    case nobody, deadSocket, dyingDaemon, daemon, otherImplementation

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
      let device = RemoteDevice(interface: interface)
      do throws(RemoteDevice.Failure) {
        // The shortest question that there is.
        _ = try device.drops()
        self = .daemon
      } catch {
        self = error.isHangUp ? Occupant(otherThanOurs: device) : .daemon
      }
    }

    /// A daemon that hung up on our own question: others hang up on that alone, one that is about to end on every question.
    private init(otherThanOurs device: RemoteDevice) {
      do throws(RemoteDevice.Failure) {
        _ = try device.status()
        self = .otherImplementation
      } catch {
        self = error.isHangUp ? .dyingDaemon : .otherImplementation
      }
    }
  }

  /// Refuses if the interface is there already; with `clearing`, removes the socket of a daemon that was killed.
  func requireAbsence(clearing: Bool = true) throws(TunnelError) {
    let netlink = try openNetlink()
    let isFree = try wait(seconds: 5) { () throws(TunnelError) in
      let link = try link(netlink)
      switch (link != nil, Occupant(of: interface)) {
      case (true, .daemon): throw TunnelError("it is up already")
      case (true, .otherImplementation):
        throw TunnelError("it is up already, served by another implementation")
      case (true, .nobody) where link?.kind == "wireguard":
        throw TunnelError("it is up already, served by another implementation, the kernel's")
      case (true, .nobody):
        throw TunnelError("an interface of this name exists, and it is no WireGuard interface")
      case (false, .daemon), (false, .otherImplementation):
        throw TunnelError(
          "a daemon serves this name already, and its interface is not here: it was renamed, or is in another network "
            + "namespace")
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

  /// Stops the daemon, and waits until the interface is gone with it: also one that was renamed or moved to another network
  /// namespace. An interface of the tunnel's name that stays belongs to something else.
  func removeDevice() throws(TunnelError) {
    let netlink = try openNetlink()
    let before = try link(netlink)
    try stopDaemon()
    guard let before, before.kind == "tun" else { return }
    let isGone = try wait(seconds: 1) { () throws(TunnelError) in try link(netlink)?.index != before.index }
    if !isGone { tell("an interface of this name stays; it belongs to another program") }
  }

  /// Has the daemon end by removing its socket, as others than ours do too, and ends one that does not follow.
  private func stopDaemon() throws(TunnelError) {
    let connection: ControlConnection
    do {
      connection = try ControlConnection(to: interface, waits: false)
    } catch {
      if error == .timedOut {
        unsafe unlink(ControlSocket.path(of: interface))
        throw TunnelError("its daemon does not answer, and too many other programs wait for it too: end it by hand")
      }
      ControlSocket.removeStale(interface)
      return
    }
    let daemon = daemonProcess(connection)
    guard unsafe unlink(ControlSocket.path(of: interface)) == 0 || errno == ENOENT else {
      throw TunnelError("\(ControlSocket.path(of: interface)): \(Errno(rawValue: errno))")
    }
    var hasEnded = connection.waitForHangUp(milliseconds: 500)
    if !hasEnded, let daemon {
      tell("the daemon does not end by itself: killing process \(daemon.processID)")
      daemon.send(signal: SIGKILL)
      hasEnded = connection.waitForHangUp(milliseconds: 500)
    }
    guard hasEnded else {
      throw TunnelError("its daemon still runs, although its control socket was removed: end it by hand")
    }
    // It hangs up before it lets go of the interface.
    _ = daemon?.waitForEnd(milliseconds: 500)
  }

  /// The process behind the control socket; nil if there is any doubt: a daemon that was handed its socket is another one
  /// than the process that listened first, whose number may be anybody's since.
  func daemonProcess(_ connection: borrowing ControlConnection) -> ForeignProcess? {
    guard let process = connection.listener(), process.words.last == interface, process.hasTUN else {
      return nil
    }
    return process
  }

  func link(_ netlink: borrowing NetlinkSocket) throws(TunnelError) -> Link? {
    do {
      return try netlink.link(named: interface)
    } catch {
      throw TunnelError(error)
    }
  }
}
