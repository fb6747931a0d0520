import Glibc
import SystemPackage
import WG6Crypto
import WG6Linux

/// What stood in the way of a start, told to whoever asked for it.
public struct StartError: Error, CustomStringConvertible {
  public let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// The steps of a start that can fail on a user's machine, each with what to do about it.
enum Starting {
  /// What an interface carries before anyone says otherwise: 1500 less the overhead of an IPv6 path.
  static let defaultMTU = 1420

  static func checkCipher(_ wanted: TrainCipher.Kind?) throws(StartError) {
    guard wanted == .vector, let problem = TrainCipher.vectorProblem else { return }
    throw StartError("cannot use the vector cipher: \(problem). Without WG6_CIPHER the best that works is chosen")
  }

  static func openTUN(_ sources: Engine.Sources) throws(StartError) -> TUN {
    do {
      if let descriptor = sources.tunDescriptor { return try TUN(takingOver: descriptor, offloads: sources.offloads) }
      return try TUN(named: sources.interface, offloads: sources.offloads)
    } catch {
      if sources.tunDescriptor != nil {
        if error == .protocolNotSupported {
          throw StartError(
            "WG_TUN_FD has something before its packets: expected IFF_TUN and IFF_NO_PI, and nothing or 10 bytes of virtio header"
          )
        }
        throw StartError("WG_TUN_FD is no TUN descriptor: \(error)")
      }
      throw StartError("cannot make interface \(sources.interface): \(error)\(advice(for: error))")
    }
  }

  static func name(of tun: borrowing TUN) throws(StartError) -> String {
    do {
      return try tun.name()
    } catch {
      throw StartError("cannot find the interface's name: \(error)")
    }
  }

  static func setDefaultMTU(of name: String) throws(StartError) {
    do {
      try Interface.setMTU(defaultMTU, of: name)
    } catch {
      throw StartError("cannot set the MTU of \(name): \(error)")
    }
  }

  static func openServer(_ sources: Engine.Sources, for name: String) throws(StartError) -> ControlServer {
    if sources.controlDescriptor == nil, let problem = RootsDirectory.problem(of: ControlSocket.directory) {
      throw StartError("cannot listen on \(ControlSocket.path(of: name)): \(problem)")
    }
    do {
      if let descriptor = sources.controlDescriptor { return try ControlServer(takingOver: descriptor) }
      return try ControlServer(for: name)
    } catch {
      if sources.controlDescriptor != nil { throw StartError("WG_UAPI_FD is no listening socket: \(error)") }
      throw StartError("cannot listen on \(ControlSocket.path(of: name)): \(error)")
    }
  }

  private static func advice(for error: Errno) -> String {
    switch error {
    case .notPermitted, .permissionDenied: ". It takes root, or CAP_NET_ADMIN"
    case .resourceBusy: ". Something else uses an interface of that name"
    case .invalidArgument: ". An interface of that name exists and is no TUN, or the name is no interface name"
    case .noSuchFileOrDirectory, .noSuchAddressOrDevice:
      ". The kernel has no TUN: load the module (modprobe tun), or make /dev/net/tun"
    default: ""
    }
  }
}
