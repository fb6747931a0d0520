import Glibc
import SystemPackage
import WG6Linux

/// Before an interface comes, and after it has gone.
extension Tunnel {
  /// Refuses where the interface is there already; clears the socket of a daemon that was killed.
  static func requireAbsence(of interface: String, _ steps: Steps) throws {
    do {
      let isFree = try wait(seconds: 5) {
        switch (try NetlinkSocket().link(named: interface) != nil, Occupant(of: interface)) {
        case (true, .daemon): throw failure("\(interface) is up already")
        case (true, .nobody):
          throw failure("\(interface): an interface of this name exists, and it is no WireGuard interface")
        case (false, .daemon):
          throw failure("\(interface): a daemon serves this name already, in another network namespace")
        case (false, .nobody): return true
        case (false, .deadSocket):
          if ControlSocket.removeStale(interface) { steps.tell("removed the socket that a dead daemon left") }
          return true
        // A daemon that was killed takes a moment to go, and its interface with it.
        case (true, .deadSocket), (_, .dyingDaemon): return false
        }
      }
      guard isFree else {
        throw failure("\(interface): its daemon does not answer, and the interface does not go away")
      }
    } catch let error as NetlinkError {
      throw failure("\(interface): \(error)")
    }
  }

  /// Who is found behind an interface's control socket.
  private enum Occupant {
    case nobody, deadSocket, dyingDaemon, daemon

    init(of interface: String) {
      do {
        _ = try ControlConnection(to: interface)
      } catch {
        self = error == .connectionRefused ? .deadSocket : .nobody
        return
      }
      do throws(Device.Failure) {
        _ = try Device(interface: interface).status()
        self = .daemon
      } catch {
        // It hung up on a question, or stopped to listen since.
        self = [ECONNRESET, EPIPE, ENODEV].contains(error.errno) ? .dyingDaemon : .daemon
      }
    }
  }

  /// Waits until nobody answers for `interface` any more, and removes the socket where the daemon did not.
  static func awaitAbsence(of interface: String) throws {
    let gone = try wait(seconds: 5) { !ControlSocket.isAlive(interface) }
    guard gone else {
      throw failure("\(interface): the interface is gone, but its daemon still answers after 5 seconds")
    }
    ControlSocket.removeStale(interface)
  }

  /// Asks `condition` every 10 ms until it holds; returns whether it did in time.
  static func wait(seconds: Int, _ condition: () throws -> Bool) throws -> Bool {
    for _ in 0..<seconds * 100 {
      if try condition() { return true }
      usleep(10000)
    }
    return try condition()
  }
}
